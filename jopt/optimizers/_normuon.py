"""NorMuon: Muon, with a second moment for each neuron."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jopt.core import (
    DType,
    GradientTransformation,
    Number,
    PyTree,
    ScalarOrSchedule,
    abs_sq,
    check,
    checked,
    leaves_like,
    map_leaves,
    mix,
    pytree,
    reduced_zeros,
    root,
    static,
    wide_dtype,
)
from jopt.optimizers._muon import matrices_and_rest, scale_by_muon
from jopt.transforms import (
    QUINTIC,
    MuonDimensionNumbers,
    Preconditioning,
    as_dimensions,
    matrices_of,
)
from jopt.wrappers import Partition


class NormalizeNeuronsState(NamedTuple):
    """Running mean of the squares of each neuron's updates."""

    nu: PyTree  # like params, real, with 1 for the inputs' axes


@pytree
class NormalizeNeurons(GradientTransformation):
    """Divide the step of each neuron, an output of a matrix, by its root mean square.

        v <- b2 v + (1 - b2) mean of |g|^2 over the inputs
        n = g / (sqrt(v) + eps)
        u = consistent_rms n / rms(n),  rms over the matrix
        u = sqrt(max(1, outputs / inputs)) n |g| / |n|    if consistent_rms is None

    v has no bias correction: a common factor of v cancels. A matrix of zeros stays 0.

    Args:
      b2: share of v that a step keeps, in [0, 1).
      eps: added outside the root, at least 0, in units of g.
      consistent_rms: root mean square of each matrix of the updates, at least 0. None
        keeps the norm of g, but for the scale of `scale_by_shape`.
      weight_dimension_numbers: see `orthogonalize`. Batches of matrices are normalized
        one by one.

    Raises:
      ValueError: a leaf is not a matrix.

    Li et al. 2025, https://arxiv.org/abs/2510.05491, Algorithm 1, lines 6 to 9; the
    formula without consistent_rms is that of the authors' code.
    """

    b2: Number = 0.95
    eps: Number = 1e-8
    consistent_rms: Number | None = 0.2
    weight_dimension_numbers: PyTree | Callable[..., PyTree] | None = static(
        converter=as_dimensions, default=None, kw_only=True
    )

    def __post_init__(self):
        check(self, "b2", least=0, below=1)
        check(self, "eps", "consistent_rms", least=0)

    def init(self, params):
        leaves, structure = jax.tree.flatten(params)
        nu = []
        for leaf, numbers in zip(leaves, matrices_of(self, params), strict=True):
            _, inputs, _ = numbers.axes(leaf.shape)
            kind = jnp.finfo(wide_dtype(leaf)).dtype
            nu.append(reduced_zeros(leaf, inputs, kind, keepdims=True))
        return NormalizeNeuronsState(structure.unflatten(nu))

    def update(self, updates, state, params=None, **extra):
        leaves, structure = jax.tree.flatten(updates)
        rows = zip(
            leaves,
            leaves_like(updates, state.nu),
            matrices_of(self, updates),
            strict=True,
        )
        made = [map_leaves(self._rule(leaf, axes), leaf, v) for leaf, v, axes in rows]
        return (
            structure.unflatten(u for u, _ in made),
            NormalizeNeuronsState(structure.unflatten(v for _, v in made)),
        )

    def _rule(
        self, leaf: jax.Array, numbers: MuonDimensionNumbers
    ) -> Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
        _, inputs, outputs = numbers.axes(leaf.shape)
        fans = numbers.fans(leaf.shape)

        def rule(g, v):
            def norm(x):
                axes = (*inputs, *outputs)
                return root(jnp.sum(abs_sq(x), axes, keepdims=True))

            squares = jnp.sum(abs_sq(g), inputs, keepdims=True) / max(1, fans[0])
            v = mix(v, squares, self.b2)
            size = root(v) + self.eps
            n = g / jnp.where(size == 0, 1, size)
            if self.consistent_rms is None:
                wanted = numbers.width_scale(leaf.shape) * norm(g)
            else:
                wanted = self.consistent_rms * (fans[0] * fans[1]) ** 0.5
            length = norm(n)
            return n * (wanted / jnp.where(length == 0, 1, length)), v

        return rule


normalize_neurons = NormalizeNeurons


@checked
def normuon(
    learning_rate: ScalarOrSchedule,
    ns_coeffs: Any = QUINTIC,
    ns_steps: int = 5,
    beta: Number = 0.95,
    b2: Number = 0.95,
    eps: Number = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: PyTree | Callable[..., PyTree] | None = None,
    mu_dtype: DType = None,
    *,
    nesterov: bool = True,
    preconditioning: Preconditioning = "frobenius",
    adam_b1: Number = 0.9,
    adam_b2: Number = 0.999,
    adam_eps_root: Number = 0.0,
    adam_weight_decay: ScalarOrSchedule = 0.0,
    adam_learning_rate: ScalarOrSchedule | None = None,
    muon_weight_dimension_numbers: PyTree | Callable[..., PyTree] | None = None,
    consistent_rms: Number | None = 0.2,
    ns_dtype: DType = None,
) -> Partition:
    """Step as Muon does, normalized for each neuron; AdamW for the rest.

        p <- p - learning_rate (n + weight_decay p)

    where n is `NormalizeNeurons` of `ScaleByMuon`. Muon's steps have neurons of very
    different norms; this evens them out.

        tx = jopt.normuon(3e-4, weight_decay=0.1)

    Neurons are the outputs: columns of a JAX weight, whose rows are the inputs; see
    `MuonDimensionNumbers`. The paper decays by 0.1, without Nesterov's momentum; its
    authors' code has that momentum, as here.

    Args:
      learning_rate: at least 0; a number or a schedule. AdamW's own, with
        consistent_rms.
      b2, consistent_rms: see `NormalizeNeurons`.
      ns_coeffs, ns_steps, beta, eps, preconditioning, ns_dtype: see `muon`.
      weight_decay, weight_decay_mask, mu_dtype, nesterov: see `muon`.
      adam_b1, adam_b2, adam_eps_root, adam_weight_decay, adam_learning_rate: see
        `muon`.
      muon_weight_dimension_numbers: see `muon`.

    Li et al. 2025, https://arxiv.org/abs/2510.05491, Algorithm 1.
    """
    direction = scale_by_muon(
        ns_coeffs,
        ns_steps,
        beta,
        eps,
        mu_dtype,
        nesterov=nesterov,
        preconditioning=preconditioning,
        weight_dimension_numbers=muon_weight_dimension_numbers,
        ns_dtype=ns_dtype,
    )
    adam = (adam_b1, adam_b2, eps, adam_eps_root, mu_dtype, adam_weight_decay)
    return matrices_and_rest(
        direction,
        normalize_neurons(
            b2,
            eps,
            consistent_rms,
            weight_dimension_numbers=muon_weight_dimension_numbers,
        ),
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        weight_decay_mask=weight_decay_mask,
        adam_learning_rate=adam_learning_rate,
        adam=adam,
        nesterov=nesterov,
        weight_dimension_numbers=muon_weight_dimension_numbers,
    )
