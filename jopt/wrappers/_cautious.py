"""`cautious`: only the updates that agree with the gradient."""

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
    """Set updates to zero that would, by the sign of the gradient, increase the loss.

        d = inner(g)
        s = 1 where d and g have opposite signs, 0 elsewhere
        u = d s / max(mean of s over the leaf, floor)

        tx = jopt.cautious(jopt.adam(1e-3))

    g is the gradient that this wrapper is given. Around a whole optimizer the weight
    decay is masked as well. The authors' C-AdamW, like the C-optimizers of others,
    masks the direction only:

        jopt.chain(
            jopt.cautious(jopt.scale_by_adam(), descending=False),
            jopt.add_decayed_weights(0.1),
            jopt.scale_by_learning_rate(1e-3),
        )

    Where the gradient is zero s is 0. In complex leaves s is 1 where the step's
    component along the gradient is negative. The state is inner's.

    Args:
      inner: transformation of jopt or optax.
      floor: least divisor, above 0: if a smaller share of a leaf's coordinates agrees,
        the leaf is not scaled up to its full step.
      descending: True if inner's updates are steps, with the minus of descent, as from
        whole optimizers. False if they are directions, to be multiplied by minus the
        learning rate, as from `scale_by_adam`; s is then 1 where the signs are the
        same. With the wrong choice only updates that increase the loss are kept.

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
            # A product of signs, because a product of small numbers underflows.
            product = (jnp.sign(g).conj() * jnp.sign(d)).real
            agrees = product < 0 if self.descending else product > 0
            share = jnp.sum(agrees) / max(agrees.size, 1)
            # A NaN or an infinity must not become an update of zero.
            kept = agrees | ~jnp.isfinite(d)
            return jnp.where(kept, d / jnp.maximum(share, self.floor), 0)

        return map_leaves(rule, updates, directions), state

    def parts(self, state):
        return {"inner": (self.inner, state)}


cautious = Cautious
