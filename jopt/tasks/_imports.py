"""`imports`: recommend the modules that a file of Python's library imports."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jopt.sweep import Task
from jopt.tasks._arguments import check_least
from jopt.tasks._library_imports import parts_of_imports, rivals
from jopt.tasks._scores import of_ranks, on_valid_and_test, ranks_of

WIDTH = 32  # the default
KEPT = 0.5  # share of known modules that are inputs in training; others are targets


class Factors(nnx.Module):
    """A factorization; a file's vector is the sum of its known modules' vectors.

        s[u, j] = sum over known i of p[i] . q[j] / sqrt(known of u) + b[j] + c[u]

    Koren 2008, Factorization meets the neighborhood, https://dl.acm.org/doi/
    10.1145/1401890.1401944, section 4 (asymmetric SVD), for implicit feedback.
    """

    def __init__(self, files: int, modules: int, width: int, rngs: nnx.Rngs):
        def vectors() -> nnx.Param:
            normal = jax.random.normal(rngs.params(), (modules, width))
            return nnx.Param(0.1 * normal)

        self.known, self.asked = vectors(), vectors()
        self.of_module = nnx.Param(jnp.zeros(modules))
        self.of_file = nnx.Param(jnp.zeros(files))

    def __call__(self, file: jax.Array, known: jax.Array) -> jax.Array:
        """Return scores (batch, modules) of files (batch,) and bool[batch, modules]."""
        told = known.astype(jnp.float32)
        told = told / jnp.sqrt(jnp.maximum(told.sum(axis=1, keepdims=True), 1))
        scores = told @ self.known[...] @ self.asked[...].T + self.of_module[...][None]
        return scores + self.of_file[...][file][:, None]


def imports(width: int = WIDTH, split: int = 0) -> Task:
    """Return the task of recommending the modules that a file imports.

    The files are those of Python's standard library, with its tests if they are
    installed. The modules are those of the library that a file imports at its left
    margin. Files with fewer than 4 modules, and modules of fewer than 3 files, are left
    out. They differ from one version of Python to the next. Two modules of each file
    are held out, one for validation and one for the test; training sees the others. A
    held-out module is ranked among all modules that training did not see in its file.

    HR@10, the share of held-out modules among the first ten, ranks trials; NDCG@10
    weighs their places. The baselines are the most popular modules, and the nearest
    ones: the sum of the cosines between the files of a module and those of each known
    one. The imports are cached in the user's cache directory. Equal calls return the
    same object.

    Args:
      width: dimensions of a module's vector, at least 1.
      split: the seed by which modules are held out, at least 0.

    Raises:
      ValueError: if an argument is below its least value.
    """
    check_least("imports", 1, width=width)
    check_least("imports", 0, split=split)
    return _task(width, split)


@functools.cache
def _task(width: int, split: int) -> Task:
    parts, known = parts_of_imports(split)

    def loss(model: Factors, batch: Any, key: Any) -> jax.Array:
        file, known, _ = batch
        told = known & jax.random.bernoulli(key, KEPT, known.shape)
        wrong = optax.sigmoid_binary_cross_entropy(model(file, told), known & ~told)
        return jnp.mean(jnp.where(told, 0.0, wrong))

    def evaluate(model: Factors, batch: Any) -> dict[str, jax.Array]:
        file, known, held = batch
        held_out = jax.nn.one_hot(held, known.shape[1], dtype=bool)
        return score(model(file, known & ~held_out), batch)

    def score(scores: Any, batch: Any) -> dict[str, jax.Array]:
        _, known, held = batch
        right = jax.nn.one_hot(held, known.shape[1], dtype=bool)
        wrong = optax.sigmoid_binary_cross_entropy(scores, right)
        others = known & ~right
        rank = ranks_of(scores, held, others)
        return {"loss": jnp.where(others, 0.0, wrong).mean(axis=1), **of_ranks(rank)}

    def beside(scores: np.ndarray) -> dict[str, float]:
        ranked = functools.partial(score, jnp.asarray(scores, jnp.float32))
        names = "hr10", "ndcg10"
        means = lambda *batch: {n: ranked(batch)[n].mean() for n in names}  # noqa: E731
        return on_valid_and_test(parts, means)

    return Task.from_model(
        "imports",
        lambda key: Factors(len(known), known.shape[1], width, nnx.Rngs(key)),
        loss,
        evaluate,
        predict=lambda model, batch: model(batch[0], batch[1]),
        score=score,
        metric="hr10",
        mode="max",
        **parts,
        epochs=60,
        baseline={name: beside(found) for name, found in rivals(known).items()},
        source="jopt.tasks:imports" if (width, split) == imports.__defaults__ else None,
    )
