"""Which arrays of an optimizer's state belong to the params' own numbers.

A master copy, an average, where training began: no moments of gradients.
"""

from collections.abc import Callable

import jax

from jopt.core._pytree import PyTree


def made_of_numbers(init: Callable[[PyTree], PyTree], params: PyTree) -> PyTree:
    """Return for each array of the state that `init` makes whether it is such a one.

    It is if `init` computes it from the params' values, and not from their shapes.
    """
    program, shapes = jax.make_jaxpr(init, return_shape=True)(params)
    depend = set(program.jaxpr.invars)
    for step in program.jaxpr.eqns:
        if any(not hasattr(x, "val") and x in depend for x in step.invars):
            depend.update(step.outvars)
    found = (not hasattr(x, "val") and x in depend for x in program.jaxpr.outvars)
    return jax.tree.structure(shapes).unflatten(found)
