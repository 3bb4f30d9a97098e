"""Numbers side by side in one register: what doubles.hpp has from the compiler's vector types.

`load(width, array, index)` gives lanes of consecutive items of a flat C-contiguous array, to add lane by lane;
`store(array, index, lanes)` writes them; `load_some` and `store_some` leave out lanes from the n-th on, and never touch
their memory. Comparisons give lanes of truth, for `select`, `&`, `|` and `bits`. LLVM splits lanes into the registers
that the processor has. Every lane keeps the order of its own additions, so results are those of a loop over the lanes.
Indices are uint64; no bounds are checked.
"""

from __future__ import annotations

import operator

from llvmlite import ir
from numba import types
from numba.core.errors import RequireLiteralValue
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable
from numba.np.arrayobj import make_array

WORD = 64  # rows of a word of bits
_I32, _BIT = ir.IntType(32), ir.IntType(1)


class Lanes(types.Type):
    """`count` items of a Numba number type, or of truth."""

    def __init__(self, item, count):
        self.item, self.count = item, count
        super().__init__(name=f"Lanes({item}, {count})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, lanes):
        item = _BIT if lanes.item is types.boolean else manager.lookup(lanes.item).get_data_type()
        super().__init__(manager, lanes, ir.VectorType(item, lanes.count))


# Memory ---------------------------------------------------------------------------------------------------------------


def _pointer(context, builder, array_type, array, index, vector):
    data = make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


def _lanes(width, item):
    if not isinstance(width, types.IntegerLiteral):
        raise RequireLiteralValue(width)
    return Lanes(item, width.literal_value)


def _bytes(array):
    return array.dtype.bitwidth // 8


@intrinsic(prefer_literal=True)
def load(typingctx, width, array, index):
    """Items [index, index + width) of an array."""
    lanes = _lanes(width, array.dtype)

    def codegen(context, builder, signature, args):
        pointer = _pointer(context, builder, array, args[1], args[2], context.get_value_type(lanes))
        return builder.load(pointer, align=_bytes(array))

    return lanes(width, array, types.uint64), codegen


@intrinsic
def store(typingctx, array, index, lanes):
    """Writes lanes to items [index, index + width)."""

    def codegen(context, builder, signature, args):
        pointer = _pointer(context, builder, array, args[0], args[1], args[2].type)
        builder.store(args[2], pointer, align=_bytes(array))

    return types.void(array, types.uint64, lanes), codegen


def _splat(builder, value, count):
    """A value in every lane."""
    none = ir.Constant(ir.VectorType(value.type, count), ir.Undefined)
    first = builder.insert_element(none, value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, none, ir.Constant(ir.VectorType(_I32, count), [0] * count))


def _first(builder, n, count):
    """Whether a lane is among the first n."""
    numbers = ir.Constant(ir.VectorType(n.type, count), list(range(count)))
    return builder.icmp_unsigned("<", numbers, _splat(builder, n, count))


def _masked(builder, name, vector, result, args):
    item = {"double": "f64", "float": "f32"}.get(str(vector.element), str(vector.element))
    types_ = [value.type for value in args]
    name = f"llvm.masked.{name}.v{vector.count}{item}.p0"
    return builder.call(builder.module.declare_intrinsic(name, fnty=ir.FunctionType(result, types_)), args)


@intrinsic(prefer_literal=True)
def load_some(typingctx, width, array, index, n):
    """The same of n items, and zeros."""
    lanes = _lanes(width, array.dtype)

    def codegen(context, builder, signature, args):
        vector = context.get_value_type(lanes)
        pointer = _pointer(context, builder, array, args[1], args[2], vector)
        here = _first(builder, args[3], lanes.count)
        return _masked(builder, "load", vector, vector, [pointer, _I32(_bytes(array)), here, ir.Constant(vector, None)])

    return lanes(width, array, types.uint64, types.uint64), codegen


@intrinsic
def store_some(typingctx, array, index, lanes, n):
    """Writes the first n lanes."""

    def codegen(context, builder, signature, args):
        pointer = _pointer(context, builder, array, args[0], args[1], args[2].type)
        here = _first(builder, args[3], lanes.count)
        _masked(builder, "store", args[2].type, ir.VoidType(), [args[2], pointer, _I32(_bytes(array)), here])

    return types.void(array, types.uint64, lanes, types.uint64), codegen


@intrinsic
def prefetch(typingctx, array, index):
    """Brings the item's cache line near."""

    def codegen(context, builder, signature, args):
        data = make_array(array)(context, builder, args[0]).data
        pointer = builder.bitcast(builder.gep(data, [args[1]]), ir.IntType(8).as_pointer())
        function = builder.module.declare_intrinsic(
            "llvm.prefetch.p0", fnty=ir.FunctionType(ir.VoidType(), [pointer.type, _I32, _I32, _I32])
        )
        builder.call(function, [pointer, _I32(0), _I32(3), _I32(1)])

    return types.void(array, types.uint64), codegen


# Lane by lane ---------------------------------------------------------------------------------------------------------


@intrinsic(prefer_literal=True)
def fill(typingctx, width, value):
    """A value in every lane."""
    value = types.unliteral(value)
    lanes = _lanes(width, value)

    def codegen(context, builder, signature, args):
        item = builder.trunc(args[1], _BIT) if value is types.boolean and args[1].type != _BIT else args[1]
        return _splat(builder, item, lanes.count)

    return lanes(width, value), codegen


def _operator(operation, build, truth=False):
    """Lowered as it stands: an overload of an operator is typed, inlined and compiled anew wherever it is used."""

    @type_callable(operation)
    def type_operation(context):
        def typer(a, b):
            if isinstance(a, Lanes) and a == b:
                return Lanes(types.boolean, a.count) if truth else a
            return None

        return typer

    @lower_builtin(operation, Lanes, Lanes)
    def lower(context, builder, signature, args):
        return build(builder, signature.args[0].item, *args)


def _is_float(item):
    return isinstance(item, types.Float)


_operator(operator.add, lambda b, item, x, y: b.fadd(x, y) if _is_float(item) else b.add(x, y))
_operator(operator.sub, lambda b, item, x, y: b.fsub(x, y) if _is_float(item) else b.sub(x, y))
_operator(operator.mul, lambda b, item, x, y: b.fmul(x, y) if _is_float(item) else b.mul(x, y))
_operator(operator.truediv, lambda b, item, x, y: b.fdiv(x, y))
_operator(operator.and_, lambda b, item, x, y: b.and_(x, y))
_operator(operator.or_, lambda b, item, x, y: b.or_(x, y))
_operator(operator.eq, lambda b, item, x, y: b.icmp_unsigned("==", x, y), truth=True)
_operator(
    operator.gt,
    lambda b, item, x, y: b.fcmp_ordered(">", x, y) if _is_float(item) else b.icmp_unsigned(">", x, y),
    truth=True,
)


@type_callable(operator.invert)
def _type_invert(context):
    return lambda a: a if isinstance(a, Lanes) else None


@lower_builtin(operator.invert, Lanes)
def _invert(context, builder, signature, args):
    return builder.not_(args[0])


@intrinsic
def select(typingctx, truth, a, b):
    """a where it is true, else b."""

    def codegen(context, builder, signature, args):
        return builder.select(*args)

    return a(truth, a, b), codegen


@intrinsic
def convert(typingctx, lanes, dtype):
    """Unsigned integers as others, or truth as 0 and 1."""
    to = Lanes(dtype.dtype, lanes.count)

    def codegen(context, builder, signature, args):
        vector = context.get_value_type(to)
        wider = vector.element.width - args[0].type.element.width
        change = builder.zext if wider > 0 else builder.trunc
        return change(args[0], vector) if wider else args[0]

    return to(lanes, dtype), codegen


@intrinsic
def bits(typingctx, truth):
    """Bit t of a word says what lane t does; at most 64 lanes."""

    def codegen(context, builder, signature, args):
        word = builder.bitcast(args[0], ir.IntType(truth.count))
        return builder.zext(word, ir.IntType(WORD)) if truth.count < WORD else word

    return types.uint64(truth), codegen


@intrinsic(prefer_literal=True)
def truth(typingctx, width, word):
    """Lane t is true where bit t of a word is set: the inverse of bits."""
    lanes = _lanes(width, types.boolean)

    def codegen(context, builder, signature, args):
        word = builder.trunc(args[1], ir.IntType(lanes.count)) if lanes.count < WORD else args[1]
        return builder.bitcast(word, ir.VectorType(_BIT, lanes.count))

    return lanes(width, types.uint64), codegen


@intrinsic
def bits_equal(typingctx, array, index, value):
    """Bit t of a word says whether byte index + t of 64 equals a value."""

    def codegen(context, builder, signature, args):
        vector = ir.VectorType(ir.IntType(8), WORD)
        x = builder.load(_pointer(context, builder, array, args[0], args[1], vector), align=1)
        return builder.bitcast(builder.icmp_unsigned("==", x, _splat(builder, args[2], WORD)), ir.IntType(WORD))

    return types.uint64(array, types.uint64, types.uint8), codegen


@intrinsic
def interleave(typingctx, a, b):
    """a[0], b[0], a[1], b[1], …"""
    both = Lanes(a.item, 2 * a.count)

    def codegen(context, builder, signature, args):
        order = [i // 2 + i % 2 * a.count for i in range(both.count)]
        return builder.shuffle_vector(*args, ir.Constant(ir.VectorType(_I32, both.count), order))

    return both(a, a), codegen
