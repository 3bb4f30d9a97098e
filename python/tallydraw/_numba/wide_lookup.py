"""Tables of float64 in registers, looked up by eight indices at once: the twin of wide_lookup.hpp."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from tallydraw._numba.lanes import Lanes

# Whether the processor has that instruction: look_up may be called nowhere else.
WIDE_LOOKUP = "+avx512f" in cpu_target.target_context.codegen().magic_tuple()[2].split(",")
_DOUBLES = ir.VectorType(ir.DoubleType(), 8)
_PLACES = ir.VectorType(ir.IntType(64), 8)


def _call(builder, name, *args):
    function = ir.FunctionType(_DOUBLES, [arg.type for arg in args])
    return builder.call(get_or_insert_function(builder.module, function, f"llvm.x86.avx512.{name}.512"), args)


@intrinsic
def look_up(typingctx, places, table):
    """table[places[l]] of eight entries in every lane l, by the last three bits of a place."""

    def codegen(context, builder, signature, args):
        return _call(builder, "permvar.df", args[1], args[0])

    return Lanes(types.float64, 8)(places, table), codegen


@intrinsic
def look_up_in_four(typingctx, places, a, b, c, d):
    """The same of 32 entries, of which each table has eight, by the last five bits."""

    def codegen(context, builder, signature, args):
        places, a, b, c, d = args
        low = _call(builder, "vpermi2var.pd", a, places, b)
        high = _call(builder, "vpermi2var.pd", c, places, d)
        is_high = builder.and_(places, ir.Constant(_PLACES, [16] * 8))
        return builder.select(builder.icmp_unsigned("!=", is_high, ir.Constant(_PLACES, [0] * 8)), high, low)

    return Lanes(types.float64, 8)(places, a, b, c, d), codegen
