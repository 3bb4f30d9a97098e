"""Numbers side by side in one register: what doubles.hpp has from the compiler's vector types.

`load(width, array, index)` gives lanes of consecutive items of a flat C-contiguous array, to add lane by lane;
`store(array, index, lanes)` writes them. LLVM splits lanes into the registers that the processor has. Every lane keeps
the order of its own additions, so results are those of a loop over the lanes. No bounds are checked.
"""

from __future__ import annotations

import operator

from llvmlite import ir
from numba import types
from numba.core.errors import RequireLiteralValue
from numba.extending import intrinsic, models, overload, register_model
from numba.np.arrayobj import make_array

WORD = 64  # rows of a word of bits


class Lanes(types.Type):
    """`count` items of a Numba number type."""

    def __init__(self, item, count):
        self.item, self.count = item, count
        super().__init__(name=f"Lanes({item}, {count})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, lanes):
        item = manager.lookup(lanes.item).get_data_type()
        super().__init__(manager, lanes, ir.VectorType(item, lanes.count))


def _pointer(context, builder, array_type, array, index, vector):
    data = make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


@intrinsic(prefer_literal=True)
def load(typingctx, width, array, index):
    """Items [index, index + width) of an array."""
    if not isinstance(width, types.IntegerLiteral):
        raise RequireLiteralValue(width)
    lanes = Lanes(array.dtype, width.literal_value)

    def codegen(context, builder, signature, args):
        pointer = _pointer(context, builder, array, args[1], args[2], context.get_value_type(lanes))
        return builder.load(pointer, align=array.dtype.bitwidth // 8)

    return lanes(width, array, types.uint64), codegen


@intrinsic
def store(typingctx, array, index, lanes):
    """Writes lanes to items [index, index + width)."""

    def codegen(context, builder, signature, args):
        pointer = _pointer(context, builder, array, args[0], args[1], args[2].type)
        builder.store(args[2], pointer, align=array.dtype.bitwidth // 8)

    return types.void(array, types.uint64, lanes), codegen


@intrinsic
def _add(typingctx, a, b):
    def codegen(context, builder, signature, args):
        return (builder.fadd if isinstance(a.item, types.Float) else builder.add)(*args)

    return a(a, b), codegen


@overload(operator.add)
def _add_lanes(a, b):
    if isinstance(a, Lanes) and a == b:
        return lambda a, b: _add(a, b)
    return None


@intrinsic
def bits_equal(typingctx, array, index, value):
    """Bit t of a word says whether byte index + t of 64 equals a value."""

    def codegen(context, builder, signature, args):
        bytes_, lane = ir.VectorType(ir.IntType(8), WORD), ir.VectorType(ir.IntType(32), WORD)
        x = builder.load(_pointer(context, builder, array, args[0], args[1], bytes_), align=1)
        none = ir.Constant(bytes_, ir.Undefined)
        first = builder.insert_element(none, args[2], ir.Constant(ir.IntType(32), 0))
        same = builder.shuffle_vector(first, none, ir.Constant(lane, [0] * WORD))
        return builder.bitcast(builder.icmp_unsigned("==", x, same), ir.IntType(WORD))

    return types.uint64(array, types.uint64, types.uint8), codegen
