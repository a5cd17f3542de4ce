"""One update of all parameters: the equations of the optimisers, sixteen elements at a time, in one kernel launch.

The parameters are not gathered into one array.  The kernel is given a table of their arrays instead,

    objects[p] = (data, new data, gradient, state 0, state 1, state 2) of parameter p, each as id(array),

and reads from each array's head where its elements are.  The elements of all parameters, one after the other, are cut
into as many equal parts as there are threads.  Element by element nothing depends on the cut, so neither do the bits.

The letters and equation numbers are those of the classes' docstrings.
"""

import ctypes
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from minicnn.optim.together import ADADELTA_RULE, ADAGRAD_RULE, ADAM_RULE, RMSPROP_RULE, SGD_RULE
from minicnn.simd import (
    LANES,
    array,
    broadcast,
    f32,
    i64,
    inner,
    load,
    load_part,
    maximum,
    shared,
    square_root,
    store,
    store_part,
)

HEAD = object.__basicsize__  # NumPy's C interface: the address of the elements follows the head of the Python object


def _address_of(typing_context, array_id):
    """The address of the elements of the float32 array with this id."""

    def generate(context, builder, signature, values):
        field = builder.inttoptr(builder.add(values[0], ir.Constant(values[0].type, HEAD)), ir.IntType(8).as_pointer())
        pointer = context.get_value_type(signature.return_type)
        return builder.load(builder.bitcast(field, pointer.as_pointer()))

    return types.CPointer(types.float32)(types.int64), generate


_address: Any = intrinsic(_address_of)
_numba_config: Any = numba.config

if _numba_config.DISABLE_JIT:

    def elements(array_id, size):
        address = ctypes.c_size_t.from_address(int(array_id) + HEAD).value
        return np.ctypeslib.as_array((ctypes.c_float * int(size)).from_address(address))

else:

    @inner
    def elements(array_id, size):
        """The elements of the float32 array with this id, as one row."""
        return numba.carray(_address(array_id), (size,))


@inner
def _decayed(g, theta, weight_decay):
    return g + broadcast(weight_decay) * theta if weight_decay != 0 else g


@inner
def _sgd(theta, g, v, o):
    rate, momentum, weight_decay, kept, taken, nesterov = o[0], o[1], o[2], o[3], o[4], o[5]
    g = _decayed(g, theta, weight_decay)  # (1)
    d = g
    if momentum != 0:
        v = broadcast(kept) * v + broadcast(taken) * g  # (2)
        d = g + broadcast(momentum) * v if nesterov != 0 else v  # (3)
    return theta - broadcast(rate) * d, v  # (4)


@inner
def _adam(theta, g, m, v, u, o):
    rate, beta1, rest1, beta2, rest2, eps = o[0], o[1], o[2], o[3], o[4], o[5]
    weight_decay, unbiased, amsgrad, shrunk = o[6], o[7], o[8], o[9]
    g = _decayed(g, theta, weight_decay)  # (2)
    m = broadcast(beta1) * m + broadcast(rest1) * g  # (3)
    v = broadcast(beta2) * v + broadcast(rest2) * g * g  # (4)
    u = maximum(u, v) if amsgrad != 0 else v  # (5)
    theta = broadcast(shrunk) * theta  # AdamW (1)
    return theta - broadcast(rate) * m / (square_root(u) * broadcast(unbiased) + broadcast(eps)), m, v, u  # (6)


@inner
def _adagrad(theta, g, s, o):
    rate, weight_decay, eps = o[0], o[1], o[2]
    g = _decayed(g, theta, weight_decay)  # (2)
    s = s + g * g  # (3)
    return theta - broadcast(rate) * g / (square_root(s) + broadcast(eps)), s  # (4)


@inner
def _rmsprop(theta, g, v, m, b, o):
    rate, alpha, rest, eps, weight_decay, momentum, centered = o[0], o[1], o[2], o[3], o[4], o[5], o[6]
    g = _decayed(g, theta, weight_decay)  # (1)
    v = broadcast(alpha) * v + broadcast(rest) * g * g  # (2)
    variance = v
    if centered != 0:
        m = broadcast(alpha) * m + broadcast(rest) * g  # (3)
        variance = maximum(broadcast(np.float32(0)), v - m * m)
    d = g / (square_root(variance) + broadcast(eps))  # (4)
    if momentum != 0:
        b = broadcast(momentum) * b + d  # (5)
        d = b
    return theta - broadcast(rate) * d, v, m, b  # (6)


@inner
def _adadelta(theta, g, v, w, o):
    rate, rho, rest, eps, weight_decay = o[0], o[1], o[2], o[3], o[4]
    g = _decayed(g, theta, weight_decay)  # (1)
    v = broadcast(rho) * v + broadcast(rest) * g * g  # (2)
    d = square_root(w + broadcast(eps)) / square_root(v + broadcast(eps)) * g  # (3)
    w = broadcast(rho) * w + broadcast(rest) * d * d  # (4)
    return theta - broadcast(rate) * d, v, w  # (5)


@inner
def _average(a, theta, o):
    return a + broadcast(o[0]) * (theta - a)  # EMA (2)


@inner
def _updated(rule, theta, g, a, b, c, o):
    """The new (θ, state 0, state 1, state 2) by a rule; a state that the rule has not comes back as it is."""
    if rule == SGD_RULE:
        theta, a = _sgd(theta, g, a, o)
    elif rule == ADAM_RULE:
        theta, a, b, c = _adam(theta, g, a, b, c, o)
    elif rule == ADAGRAD_RULE:
        theta, a = _adagrad(theta, g, a, o)
    elif rule == RMSPROP_RULE:
        theta, a, b, c = _rmsprop(theta, g, a, b, c, o)
    elif rule == ADADELTA_RULE:
        theta, a, b = _adadelta(theta, g, a, b, o)
    else:
        theta = _average(theta, g, o)
    return theta, a, b, c


@inner
def _part(rule, objects, o, start, stop, size):
    """Elements start to stop of one parameter.  A state it has not got stands as its gradient, and is not written."""
    theta, new, g = elements(objects[0], size), elements(objects[1], size), elements(objects[2], size)
    a, b, c = elements(objects[3], size), elements(objects[4], size), elements(objects[5], size)
    has_a, has_b, has_c = objects[3] != objects[2], objects[4] != objects[2], objects[5] != objects[2]
    whole = stop - (stop - start) % LANES
    for i in range(start, whole, LANES):
        y, p, q, r = _updated(rule, load(theta, i), load(g, i), load(a, i), load(b, i), load(c, i), o)
        store(new, i, y)
        if has_a:
            store(a, i, p)
        if has_b:
            store(b, i, q)
        if has_c:
            store(c, i, r)
    if whole < stop:
        i, n = whole, stop - whole
        p, q, r = load_part(a, i, n), load_part(b, i, n), load_part(c, i, n)
        y, p, q, r = _updated(rule, load_part(theta, i, n), load_part(g, i, n), p, q, r, o)
        store_part(new, i, y, n)
        if has_a:
            store_part(a, i, p, n)
        if has_b:
            store_part(b, i, q, n)
        if has_c:
            store_part(c, i, r, n)


@shared((i64, array(2, i64), array(1, i64), array(1, i64), array(2, f32), i64))
def update_all(rule, objects, starts, rows, options, threads, thread):
    """Every parameter p by the rule with the numbers options[rows[p]]; starts are the sums of sizes before each.

    A thread takes its part of all elements; a cut inside a parameter lies at a multiple of LANES.
    """
    total = starts[len(rows)]
    first, last = total * thread // threads, total * (thread + 1) // threads
    for p in range(len(rows)):
        size = starts[p + 1] - starts[p]
        start, stop = min(max(first - starts[p], 0), size), min(max(last - starts[p], 0), size)
        if start < size:
            start -= start % LANES
        if stop < size:
            stop -= stop % LANES
        if start < stop:
            _part(rule, objects[p], options[rows[p]], start, stop, size)
