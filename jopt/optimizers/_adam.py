"""Adam and its variants with weight decay or Nesterov's momentum."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jopt.core import (
    Chain,
    DType,
    GradientTransformation,
    Number,
    PyTree,
    ScalarOrSchedule,
    abs_sq,
    bias,
    chain,
    check,
    checked,
    debiased,
    full_like,
    increment,
    map_leaves,
    mix,
    pytree,
    root,
    static,
)
from jopt.optimizers._decoupled_decay import Decay, rate_and_decay
from jopt.transforms import scale_by_learning_rate


class ScaleByAdamState(NamedTuple):
    """Running means of the gradients and of their squares."""

    count: jax.Array  # int32[], updates made
    mu: PyTree  # like params
    nu: PyTree  # like params, real


@pytree
class ScaleByAdam(GradientTransformation):
    """Divide the mean gradient by the root of the mean square.

        m <- b1 m + (1 - b1) g            v <- b2 v + (1 - b2) |g|^2
        u = m' / (sqrt(v' + eps_root) + eps)
        m' = m / (1 - b1^t)               v' = v / (1 - b2^t)

    and with Nesterov's momentum

        m' = b1 m / (1 - b1^(t+1)) + (1 - b1) g / (1 - b1^t)

    A coordinate without gradients so far has the update 0/eps. float16 updates are
    safe: the division is made in float32.

    Args:
      b1: share of m that a step keeps, in [0, 1).
      b2: share of v that a step keeps, in [0, 1).
      eps: added outside the root, at least 0, in units of the gradients.
      eps_root: added inside the root, at least 0, in units of the gradients squared.
      mu_dtype: dtype of m. None is the params' dtype, but at least float32.
      nesterov: whether m' has Nesterov's momentum, as above.
      nu_dtype: dtype of v. None is the params' dtype, but at least float32. In bfloat16
        v rises but does not fall: a decrease by a thousandth is rounded away.

    Kingma & Ba 2014, https://arxiv.org/abs/1412.6980, Algorithm 1; Dozat 2016,
    https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ, without its momentum schedule.
    """

    b1: Number = 0.9
    b2: Number = 0.999
    eps: Number = 1e-8
    eps_root: Number = 0.0
    mu_dtype: DType = static(default=None)
    nesterov: bool = static(default=False, kw_only=True)
    nu_dtype: DType = static(default=None, kw_only=True)

    shapeless = True

    def __post_init__(self):
        check(self, "b1", "b2", least=0, below=1)
        check(self, "eps", "eps_root", least=0)

    def init(self, params):
        return ScaleByAdamState(
            count=jnp.zeros((), jnp.int32),
            mu=full_like(params, dtype=self.mu_dtype),
            nu=full_like(params, dtype=self.nu_dtype, real=True),
        )

    def update(self, updates, state, params=None, **extra):
        count = increment(state.count)
        # Multiply by the inverse of a scalar: a division by it takes as long as a root.
        weight1, growth2 = bias(self.b1, count), 1 / bias(self.b2, count)
        ahead = bias(self.b1, increment(count)) if self.nesterov else None

        def rule(g, m, v):
            m, v = mix(m, g, self.b1), mix(v, abs_sq(g), self.b2)
            mean = debiased(m, g, self.b1, weight1, ahead)
            return mean / (root(v * growth2 + self.eps_root) + self.eps), m, v

        updates, mu, nu = map_leaves(rule, updates, state.mu, state.nu)
        return updates, ScaleByAdamState(count=count, mu=mu, nu=nu)


scale_by_adam = ScaleByAdam


@checked
def adam(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    eps_root: Number = 0.0,
    mu_dtype: DType = None,
    *,
    nesterov: bool = False,
    nu_dtype: DType = None,
) -> Chain:
    """Step along the mean gradient, divided by the root of the mean square.

        p <- p - learning_rate u,  u of `ScaleByAdam`

    PyTorch's defaults are the same.

        tx = jopt.adam(1e-3)

    Args:
      learning_rate: step size, at least 0, in units of params; a number or a schedule.
      b1, b2, eps, eps_root, mu_dtype, nesterov, nu_dtype: see `ScaleByAdam`.

    Kingma & Ba 2014, https://arxiv.org/abs/1412.6980, Algorithm 1.
    """
    moments = (b1, b2, eps, eps_root, mu_dtype)
    direction = scale_by_adam(*moments, nesterov=nesterov, nu_dtype=nu_dtype)
    return chain(direction, scale_by_learning_rate(learning_rate))


@checked
def adamw(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    eps_root: Number = 0.0,
    mu_dtype: DType = None,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: PyTree | Callable[[PyTree], PyTree] | None = None,
    *,
    nesterov: bool = False,
    decay: Decay = "rate",
    nu_dtype: DType = None,
) -> Chain:
    """Step as Adam does, and decay the parameters apart from Adam's scaling.

        p <- p - learning_rate (u + weight_decay p),  u of `ScaleByAdam`

    and with decay="independent"

        p <- p - learning_rate u - weight_decay p

        tx = jopt.adamw(3e-4, weight_decay=0.1)

    Args:
      learning_rate: step size, at least 0, in units of params; a number or a schedule.
      b1, b2, eps, eps_root, mu_dtype, nesterov, nu_dtype: see `ScaleByAdam`.
      weight_decay: at least 0; a number or a schedule. PyTorch's default is 1e-2.
      mask: which parameters decay, see `add_decayed_weights`.
      decay: "rate" multiplies weight_decay by the learning rate, as optax and PyTorch
        do. "independent" does not: weight_decay is then the fraction of p that a step
        takes away, 1e-5 rather than 1e-2, and a schedule of the learning rate does not
        change it. In the paper one schedule multiplies both: to have that, give both
        numbers that schedule.

    Raises:
      ValueError: if `decay` is neither "rate" nor "independent".

    Loshchilov & Hutter 2017, https://arxiv.org/abs/1711.05101, Algorithm 2.
    """
    moments = (b1, b2, eps, eps_root, mu_dtype)
    direction = scale_by_adam(*moments, nesterov=nesterov, nu_dtype=nu_dtype)
    return chain(direction, *rate_and_decay(learning_rate, weight_decay, mask, decay))


@checked
def nadam(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    eps_root: Number = 0.0,
    mu_dtype: DType = None,
    *,
    nesterov: bool = True,
    nu_dtype: DType = None,
) -> Chain:
    """Step as Adam with Nesterov's momentum does.

        p <- p - learning_rate u,  u of `ScaleByAdam` with nesterov

    The paper's schedule of the momentum, which PyTorch has, is left out, as in optax.

    Args:
      learning_rate: step size, at least 0, in units of params; a number or a schedule.
      b1, b2, eps, eps_root, mu_dtype, nesterov, nu_dtype: see `ScaleByAdam`.

    Dozat 2016, https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ, Algorithm 8.
    """
    moments = (b1, b2, eps, eps_root, mu_dtype)
    return adam(learning_rate, *moments, nesterov=nesterov, nu_dtype=nu_dtype)


@checked
def nadamw(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    eps_root: Number = 0.0,
    mu_dtype: DType = None,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: PyTree | Callable[[PyTree], PyTree] | None = None,
    *,
    nesterov: bool = True,
    decay: Decay = "rate",
    nu_dtype: DType = None,
) -> Chain:
    """Step as AdamW with Nesterov's momentum does.

    The paper's schedule of the momentum is left out, see `nadam`.

    Args:
      learning_rate, weight_decay, mask, decay: see `adamw`.
      b1, b2, eps, eps_root, mu_dtype, nesterov, nu_dtype: see `ScaleByAdam`.

    Raises:
      ValueError: if `decay` is neither "rate" nor "independent".

    Dozat 2016, https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ, Algorithm 8.
    """
    moments = (b1, b2, eps, eps_root, mu_dtype)
    return adamw(
        learning_rate,
        *moments,
        weight_decay,
        mask,
        nesterov=nesterov,
        decay=decay,
        nu_dtype=nu_dtype,
    )
