"""Find the arrays of an optimizer's state that copy the params, in a wide sense.

Examples are a master copy, a running average and the initial params. Moments of the
gradients are not copies.
"""

from collections.abc import Callable

import jax

from jopt.core._pytree import PyTree


def depends_on_values(init: Callable[[PyTree], PyTree], params: PyTree) -> PyTree:
    """Return for each array of a state whether it is computed from the params' values.

    Args:
      init: returns the state for params.
      params: a tree of arrays or shapes.

    Returns:
      A tree of bools like the state. False means that the array depends on the shapes
      of the params only.
    """
    program, shapes = jax.make_jaxpr(init, return_shape=True)(params)
    depend = set(program.jaxpr.invars)
    for step in program.jaxpr.eqns:
        if any(not hasattr(x, "val") and x in depend for x in step.invars):
            depend.update(step.outvars)
    found = (not hasattr(x, "val") and x in depend for x in program.jaxpr.outvars)
    return jax.tree.structure(shapes).unflatten(found)
