"""Sixteen numbers at once: the vector type that kernels use beside scalars.

    v = load(a, i)              a[i], a[i+1], ..., a[i+15] of a float32 array, counted in elements from its first
    store(a, i, v)              the reverse
    load_part(a, i, n)          a[i:i+n], zeros in the other lanes;  store_part(a, i, v, n) writes n lanes
    broadcast(x)                x in every lane;  spread(k) the same for an integer;  lanes() is 0, 1, ..., 15
    + - * /, fma(x, y, z)       lane by lane; fma is x y + z, rounded once
    maximum, minimum            lane by lane; where x is NaN, or neither is larger, y
    greater(x, y), equal, unordered, unsigned_less      a mask: which lanes; unordered: where x or y is NaN
    select(mask, x, y)          x where the mask is set, else y;  both(m, n) is the lanes set in both masks
    load_bytes, store_bytes     sixteen uint8 of memory as integers
    address(a)                  its memory, in its place in all of these: costs nothing to pass on, keeps nothing alive
    prefetch(a, i)              fetch the cache line of a[i], if it exists, while other work goes on

A first array axis of any stride is the caller's business: offsets count elements from the array's first element, so
`a` may be a strided view and i = n * stride.  Nothing checks bounds.
"""

import operator
from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils, types, typing
from numba.core.typing.templates import ConcreteTemplate, infer_global
from numba.extending import intrinsic, lower_builtin, models, register_model

from minicnn.simd import plain

LANES = 16
_I1, _I8, _I32, _I64, _FLOAT = ir.IntType(1), ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.FloatType()
_FLOATS, _INTS, _BYTES, _BITS = (ir.VectorType(t, LANES) for t in (_FLOAT, _I32, _I8, _I1))


class _Lanes(types.Type):
    """Sixteen values of one LLVM type, as Numba sees them."""

    def __init__(self, name: str):
        super().__init__(name=f"minicnn.{name}x{LANES}")


FLOATS, INTS, MASK = _Lanes("float32"), _Lanes("int32"), _Lanes("mask")


class _Model(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, {FLOATS: _FLOATS, INTS: _INTS, MASK: _BITS}[kind])


register_model(_Lanes)(_Model)


# the instructions, as LLVM has them


def pointer(context, builder, array_type, array, offset) -> Any:
    """The address of element `offset` of an array, or of what `address` made of one."""
    return builder.gep(_first(context, builder, array_type, array), [offset])


def _first(context, builder, array_type, array) -> Any:
    if isinstance(array_type, types.CPointer):
        return array
    return cgutils.create_struct_proxy(array_type)(context, builder, value=array).data


def read(builder, address, kind=_FLOATS, align: int = 4) -> Any:
    """The vector in memory at an address."""
    return builder.load(builder.bitcast(address, kind.as_pointer()), align=align)


def write(builder, value, address, align: int = 4) -> None:
    """Put a vector into memory."""
    builder.store(value, builder.bitcast(address, value.type.as_pointer()), align=align)


def repeat(builder, scalar, kind=_FLOATS) -> Any:
    """A scalar in every lane."""
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(_I32, 0))
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), ir.Constant(_INTS, [0] * LANES))


def constant(x: float) -> Any:
    """A number in every lane."""
    return ir.Constant(_FLOATS, [float(x)] * LANES)


def multiply_add(builder, x, y, z) -> Any:
    """x y + z."""
    return _call(builder, "llvm.fma.v16f32", _FLOATS, [x, y, z])


def first_lanes(builder, n) -> Any:
    """The mask of the first n lanes."""
    index = ir.Constant(_INTS, list(range(LANES)))
    return builder.icmp_signed("<", index, repeat(builder, builder.trunc(n, _I32), _INTS))


def read_part(builder, address, n, kind=_FLOATS, align: int = 4) -> Any:
    """The first n lanes from memory, zeros in the others; nothing beyond them is touched."""
    suffix = {_FLOATS: "v16f32", _BYTES: "v16i8"}[kind]
    args = [builder.bitcast(address, kind.as_pointer()), ir.Constant(_I32, align), first_lanes(builder, n)]
    name = f"llvm.masked.load.{suffix}.p0"
    return _call(builder, name, kind, [*args, ir.Constant(kind, [0] * LANES)])


def write_part(builder, value, address, n, align: int = 4) -> None:
    """The first n lanes to memory."""
    suffix = {_FLOATS: "v16f32", _BYTES: "v16i8"}[value.type]
    address = builder.bitcast(address, value.type.as_pointer())
    args = [value, address, ir.Constant(_I32, align), first_lanes(builder, n)]
    _call(builder, f"llvm.masked.store.{suffix}.p0", ir.VoidType(), args)


def read_where(builder, address, mask) -> Any:
    """The lanes that a mask sets from memory, zeros in the others; nothing there is touched."""
    args = [builder.bitcast(address, _FLOATS.as_pointer()), ir.Constant(_I32, 4), mask, constant(0)]
    return _call(builder, "llvm.masked.load.v16f32.p0", _FLOATS, args)


def write_where(builder, value, address, mask) -> None:
    """The lanes that a mask sets to memory."""
    args = [value, builder.bitcast(address, _FLOATS.as_pointer()), ir.Constant(_I32, 4), mask]
    _call(builder, "llvm.masked.store.v16f32.p0", ir.VoidType(), args)


def _call(builder, name: str, result, args) -> Any:
    kind = ir.FunctionType(result, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


def emit_prefetch(builder, address) -> None:
    """Ask for the cache line at an address, for reading, into the nearest cache."""
    kinds = [ir.IntType(8).as_pointer(), _I32, _I32, _I32]
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), kinds), "llvm.prefetch.p0")
    builder.call(function, [builder.bitcast(address, kinds[0]), *(ir.Constant(_I32, k) for k in (0, 3, 1))])


# the functions that kernels call


def _define(name: str, signature, instructions) -> Any:
    """A function for kernels: `signature(argument types) -> (result type, argument types)` or None where they do not
    fit, `instructions(context, builder, types, values) -> value or None` write it."""

    def build(*given):
        found = signature(*given)
        if found is None:
            return None
        result, arguments = found

        def generate(context, builder, sig, args):
            value = instructions(context, builder, sig.args, args)
            return context.get_dummy_value() if value is None else value

        return result(*arguments), generate

    if numba.config.DISABLE_JIT:
        return getattr(plain, name)
    names = signature.__code__.co_varnames[: signature.__code__.co_argcount]
    text = f"def {name}(typing_context, {', '.join(names)}):\n    return build({', '.join(names)})\n"
    scope: dict[str, Any] = {"build": build}
    exec(text, scope)  # Numba reads the names of an intrinsic's arguments
    return intrinsic(scope[name])


_index = types.int64


def _elementwise(name: str, kind, count: int, instructions) -> Any:
    """A function of `count` vectors of one kind, giving the same kind."""
    checks = {
        1: lambda x: (kind, (kind,)) if x is kind else None,
        2: lambda x, y: (kind, (kind,) * 2) if x is kind and y is kind else None,
        3: lambda x, y, z: (kind, (kind,) * 3) if x is kind and y is kind and z is kind else None,
    }
    return _define(name, checks[count], lambda context, builder, kinds, values: instructions(builder, *values))


load = _define("load", lambda a, i: (FLOATS, (a, _index)), lambda c, b, k, v: read(b, pointer(c, b, k[0], *v)))
store = _define(
    "store",
    lambda a, i, v: (types.void, (a, _index, FLOATS)),
    lambda c, b, k, v: write(b, v[2], pointer(c, b, k[0], v[0], v[1])),
)
load_part = _define(
    "load_part",
    lambda a, i, n: (FLOATS, (a, _index, _index)),
    lambda c, b, k, v: read_part(b, pointer(c, b, k[0], v[0], v[1]), v[2]),
)
store_part = _define(
    "store_part",
    lambda a, i, v, n: (types.void, (a, _index, FLOATS, _index)),
    lambda c, b, k, v: write_part(b, v[2], pointer(c, b, k[0], v[0], v[1]), v[3]),
)
load_bytes = _define(
    "load_bytes",
    lambda a, i: (INTS, (a, _index)),
    lambda c, b, k, v: b.zext(read(b, pointer(c, b, k[0], *v), _BYTES, 1), _INTS),
)
store_bytes = _define(
    "store_bytes",
    lambda a, i, v: (types.void, (a, _index, INTS)),
    lambda c, b, k, v: write(b, b.trunc(v[2], _BYTES), pointer(c, b, k[0], v[0], v[1]), 1),
)
load_bytes_part = _define(
    "load_bytes_part",
    lambda a, i, n: (INTS, (a, _index, _index)),
    lambda c, b, k, v: b.zext(read_part(b, pointer(c, b, k[0], v[0], v[1]), v[2], _BYTES, 1), _INTS),
)
store_bytes_part = _define(
    "store_bytes_part",
    lambda a, i, v, n: (types.void, (a, _index, INTS, _index)),
    lambda c, b, k, v: write_part(b, b.trunc(v[2], _BYTES), pointer(c, b, k[0], v[0], v[1]), v[3], 1),
)

address = _define(
    "address",
    lambda a: (types.CPointer(a.dtype), (a,)),
    lambda c, b, k, v: _first(c, b, k[0], v[0]),
)
prefetch = _define(
    "prefetch",
    lambda a, i: (types.void, (a, _index)),
    lambda c, b, k, v: emit_prefetch(b, pointer(c, b, k[0], *v)),
)

broadcast = _define("broadcast", lambda x: (FLOATS, (types.float32,)), lambda c, b, k, v: repeat(b, v[0]))
spread = _define("spread", lambda x: (INTS, (_index,)), lambda c, b, k, v: repeat(b, b.trunc(v[0], _I32), _INTS))
lanes = _define("lanes", lambda: (INTS, ()), lambda c, b, k, v: ir.Constant(_INTS, list(range(LANES))))
whole = _define("whole", lambda x: (FLOATS, (INTS,)) if x is INTS else None, lambda c, b, k, v: b.uitofp(v[0], _FLOATS))

fma = _elementwise("fma", FLOATS, 3, multiply_add)
square_root = _elementwise("square_root", FLOATS, 1, lambda b, x: _call(b, "llvm.sqrt.v16f32", _FLOATS, [x]))
maximum = _elementwise("maximum", FLOATS, 2, lambda b, x, y: b.select(b.fcmp_ordered(">", x, y), x, y))
minimum = _elementwise("minimum", FLOATS, 2, lambda b, x, y: b.select(b.fcmp_ordered("<", x, y), x, y))


def _mask(name: str, kind, instructions) -> Any:
    """A comparison of two vectors of one kind."""
    return _define(
        name,
        lambda x, y: (MASK, (kind, kind)) if x is kind and y is kind else None,
        lambda c, b, k, v: instructions(b, *v),
    )


greater = _mask("greater", FLOATS, lambda b, x, y: b.fcmp_ordered(">", x, y))
unordered = _mask("unordered", FLOATS, lambda b, x, y: b.fcmp_unordered("uno", x, y))
equal = _mask("equal", INTS, lambda b, x, y: b.icmp_signed("==", x, y))
unsigned_less = _mask("unsigned_less", INTS, lambda b, x, y: b.icmp_unsigned("<", x, y))
both = _mask("both", MASK, lambda b, x, y: b.and_(x, y))
select = _define(
    "select",
    lambda m, x, y: (x, (MASK, x, x)) if m is MASK and x is y and x in (FLOATS, INTS) else None,
    lambda c, b, k, v: b.select(*v),
)
shift_right = _define(
    "shift_right",
    lambda x, n: (INTS, (INTS, _index)) if x is INTS else None,
    lambda c, b, k, v: b.lshr(v[0], repeat(b, b.trunc(v[1], _I32), _INTS)),
)
total = _define(
    "total",
    lambda x: (types.float32, (FLOATS,)) if x is FLOATS else None,
    lambda c, b, k, v: _sum_of_lanes(b, v[0]),
)


def _sum_of_lanes(builder, x) -> Any:
    """Halves added to halves: a fixed order."""
    width = LANES
    while width > 1:
        width //= 2
        order = [i + width if i < width else i for i in range(LANES)]
        half = builder.shuffle_vector(x, x, ir.Constant(_INTS, order))
        x = builder.fadd(x, half)
    return builder.extract_element(x, ir.Constant(_I32, 0))


_OPERATORS = {
    operator.add: {FLOATS: "fadd", INTS: "add"},
    operator.sub: {FLOATS: "fsub", INTS: "sub"},
    operator.mul: {FLOATS: "fmul", INTS: "mul"},
    operator.truediv: {FLOATS: "fdiv"},
    operator.xor: {INTS: "xor"},
}


def _teach(symbol, kind, name: str) -> None:
    """Let kernels write x + y, and the like, of two vectors."""
    infer_global(symbol)(type(name, (ConcreteTemplate,), {"cases": [typing.signature(kind, kind, kind)]}))
    lower_builtin(symbol, kind, kind)(lambda context, builder, sig, args: getattr(builder, name)(*args))


for _symbol, _kinds in _OPERATORS.items():
    for _kind, _name in _kinds.items():
        _teach(_symbol, _kind, _name)
