"""Rows of the factories of optax that `jopt/interop/` lifts."""

import optax

import jopt
from rows import Row, contrib, cosine

ROWS = {
    # _lift.py
    "lift(adan)": Row(
        lambda lib: (lib.adan if lib is optax else jopt.lift(optax.adan))(
            1e-2, weight_decay=0.1
        ),
        reference=False,
    ),
    # With constants optax's own update is the less precise one, as Adam's is.
    "lift(acprop)": Row(
        lambda lib: contrib(lib).acprop(1e-2, eps=1e-3, weight_decay=0.1),
        reference=False,
        scale=1e-5,
    ),
    "lift(lbfgs)": Row(
        lambda lib: lib.lbfgs(cosine(lib), linesearch=None), reference=False
    ),
}
