"""`cautious`: only the updates that the gradient agrees with."""

import jax
import jax.numpy as jnp

from jopt.core import (
    GradientTransformation,
    Number,
    Transformation,
    as_transformation,
    check,
    field,
    map_leaves,
    pytree,
    static,
    wide,
)


@pytree
class Cautious(GradientTransformation):
    """Leave out the updates that would climb, by the sign of the gradient.

        d = inner(g)
        s = 1 where d and g have opposite signs, 0 elsewhere
        u = d s / max(mean of s over the leaf, floor)

        tx = jopt.cautious(jopt.adam(1e-3))

    inner: jopt's transformation or optax's. g is the gradient as it comes to this
    wrapper. descending: True: inner's updates are steps, with the minus of descent, as
    whole optimizers make them. False: they are directions, to be multiplied by minus
    the learning rate, as `scale_by_adam` makes them; then s is 1 where the signs are
    the same. With the wrong one all that is kept climbs. floor: above 0, of the mean: a
    leaf where fewer coordinates than that agree is not scaled up to its full step.

    Around a whole optimizer its weight decay is masked as well. The authors' C-AdamW,
    like others' C-optimizers, masks the direction alone:

        jopt.chain(
            jopt.cautious(jopt.scale_by_adam(), descending=False),
            jopt.add_decayed_weights(0.1),
            jopt.scale_by_learning_rate(1e-3),
        )

    Zero gradients agree with nothing. In complex leaves s is 1 where the step's
    component along the gradient is negative. The state is inner's.

    Liang et al. 2024, https://arxiv.org/abs/2411.16085, Algorithm 1; the floor is that
    of the authors' code. (The paper's own scale adds 1 to the count of agreements.)
    """

    inner: Transformation = field(converter=as_transformation)
    floor: Number = 1e-3
    descending: bool = static(default=True, kw_only=True)

    def __post_init__(self):
        check(self, "floor", above=0)

    def init(self, params):
        return self.inner.init(params)

    def update(self, updates, state, params=None, **extra):
        grads = jax.tree.map(wide, updates)
        directions, state = self.inner.update(grads, state, params, **extra)

        def rule(g, d):
            # Of the signs, since a product of small numbers underflows.
            product = (jnp.sign(g).conj() * jnp.sign(d)).real
            agrees = product < 0 if self.descending else product > 0
            share = jnp.sum(agrees) / max(agrees.size, 1)
            # What is not finite must not look like an update of zero.
            kept = agrees | ~jnp.isfinite(d)
            return jnp.where(kept, d / jnp.maximum(share, self.floor), 0)

        return map_leaves(rule, updates, directions), state

    def parts(self, state):
        return {"inner": (self.inner, state)}


cautious = Cautious
