"""`Task`: the model, loss and data of a sweep, as pure functions and arrays."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jopt.core import PyTree, checked, checked_class, is_integer, noted
from jopt.training import form_of, pure_loss


@checked_class
@dataclasses.dataclass(frozen=True)
class Task:
    """A model, its loss and its data, as pure functions and arrays.

    Args:
      name: shown in tables, the report and errors.
      init: key -> (params, model_state).
      loss: (params, model_state, batch, key) -> (scalar loss, model_state), training.
      evaluate: (params, model_state, batch) -> dict of arrays, one value an example,
        `loss` among them; `accuracy`, if it is there, is shown everywhere.
      train, valid, test: trees of arrays whose first axis is the example. `test` is
        used once, by the winner.
      batch_size: examples a step, unless a sweep says otherwise.
      epochs: passes over `train`, unless a sweep says otherwise.
      diverged_above: training loss above which a trial counts as diverged; a loss that
        is not finite always does.
      predict: (params, model_state, batch) -> predictions that may be averaged over
        models, a tree of arrays with the examples on the first axis: probabilities,
        not logits. For ensembles; may be left out.
      score: (predictions, batch) -> as `evaluate`. For ensembles; may be left out.
      source: "module:name" of the task, or of a function without arguments that returns
        it, by which a resumed sweep finds it.
    """

    name: str
    init: Callable[[Any], tuple[PyTree, PyTree]]
    loss: Callable[[PyTree, PyTree, PyTree, Any], tuple[Any, PyTree]]
    evaluate: Callable[[PyTree, PyTree, PyTree], dict[str, Any]]
    train: PyTree
    valid: PyTree
    test: PyTree | None = None
    batch_size: int = 64
    epochs: int = 10
    diverged_above: float = math.inf
    predict: Callable[[PyTree, PyTree, PyTree], PyTree] | None = None
    score: Callable[[PyTree, PyTree], dict[str, Any]] | None = None
    source: str | None = None

    @classmethod
    @checked
    def from_model(
        cls,
        name: str,
        make: Callable[[Any], Any],
        loss_fn: Callable[..., Any],
        evaluate: Callable[[Any, PyTree], dict[str, Any]],
        predict: Callable[[Any, PyTree], PyTree] | None = None,
        **data: Any,
    ) -> "Task":
        """Return the task of a Flax model.

        The functions `evaluate` and `predict` get nnx modules, alone or in a tree, in
        `eval()` mode, and a linen module in `nnx.bridge.ToNNX` with the fields
        deterministic and use_running_average True where they are False. Linen's mode is
        an argument of its call.

        Args:
          name: as the field.
          make: key -> nnx module, linen's variables, or a tree of parameters.
          loss_fn: (model, batch, key) -> loss, as `train_step` takes it.
          evaluate: (model, batch) -> as the field.
          predict: (model, batch) -> as the field.
          data: `train`, `valid` and the other fields.
        """
        forms: list[Any] = []

        def trace(key: Any) -> Any:
            forms.append(form_of(model := make(key)))
            return forms[0].split(model)

        with noted(f"In make of the task {name}."):
            jax.eval_shape(trace, jax.random.key(0))
        form = forms[0]

        @jax.jit
        def init(key: Any) -> tuple[PyTree, PyTree]:
            return form.split(make(key))

        def pure(function: Callable[[Any, PyTree], Any]) -> Callable[..., Any]:
            def called(params: PyTree, model_state: PyTree, batch: PyTree) -> Any:
                model = form.evaluated(form.join(params, model_state))
                return function(model, batch)

            return called

        predicted = None if predict is None else pure(predict)
        loss = pure_loss(loss_fn, form)
        return cls(name, init, loss, pure(evaluate), predict=predicted, **data)

    def check(self) -> None:
        """Raise a ValueError if the functions and the data do not fit together."""
        for name in ("batch_size", "epochs"):
            if not is_integer(value := getattr(self, name)):
                raise ValueError(
                    f"Task {self.name}: {name} must be an integer, got {value!r}."
                )
        params, model_state = self._shapes(0)
        if (params, model_state) != self._shapes(1):
            raise ValueError(
                f"Task {self.name}: init must give the same shapes whatever the key, "
                "got others for another key; trials of one program have one shape."
            )
        if not jax.tree.leaves(params):
            raise ValueError(
                f"Task {self.name}: init made params with no leaves; it must return "
                "(params, model_state) with at least one array of parameters."
            )
        if (self.predict is None) != (self.score is None):
            raise ValueError(
                f"Task {self.name}: predict and score must be given together, or "
                "neither: score says how good the mean of predictions is."
            )
        splits = ["train", "valid", *(["test"] if self.test is not None else [])]
        rows = {split: self._first_rows(split) for split in splits}
        self._check_loss(params, model_state, rows["train"])
        for split, batch in rows.items():
            self._check_evaluate(params, model_state, batch, split)

    def _first_rows(self, split: str) -> PyTree:
        """Return the first two examples, or the only one."""
        data = getattr(self, split)
        sizes = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(data)}
        if not sizes:
            raise ValueError(
                f"Task {self.name}: {split} must have at least one array of examples, "
                f"got {data!r}."
            )
        if len(sizes) > 1 or () in sizes or (0,) in sizes:
            raise ValueError(
                f"Task {self.name}: the arrays of {split} must have one number of "
                f"examples, at least 1, on their first axis, got {sizes}."
            )
        return jax.tree.map(lambda array: jnp.asarray(array[:2]), data)

    def _check_loss(self, params: PyTree, model_state: PyTree, batch: PyTree) -> None:
        key = jax.random.key(0)
        with noted(f"In loss of the task {self.name}, on the first examples of train."):
            found = jax.eval_shape(self.loss, params, model_state, batch, key)
        if not _is_pair(found):
            raise ValueError(
                f"Task {self.name}: loss must return (loss, model_state), got {found}."
            )
        loss, _ = found
        if getattr(loss, "shape", None) != ():
            raise ValueError(
                f"Task {self.name}: loss must be a scalar, got "
                f"{_described(loss)}; take the mean over the batch."
            )
        if not jnp.issubdtype(loss.dtype, jnp.floating):
            raise ValueError(
                f"Task {self.name}: loss must be a real number of a floating dtype, to "
                f"have a gradient, got {loss.dtype}."
            )

    def _check_evaluate(
        self, params: PyTree, model_state: PyTree, batch: PyTree, split: str
    ) -> None:
        with noted(
            f"In evaluate of the task {self.name}, on the first examples of {split}; "
            "it must take train, valid and test alike, with arrays of the same shapes "
            "but for their first axis."
        ):
            values = jax.eval_shape(self.evaluate, params, model_state, batch)
        size = len(jax.tree.leaves(batch)[0])
        named = values if isinstance(values, dict) else {}
        fits = all(getattr(v, "shape", None) == (size,) for v in named.values())
        if "loss" not in named or not fits:
            shapes = {name: _described(value) for name, value in named.items()}
            raise ValueError(
                f"Task {self.name}: evaluate must return a dict of one value an "
                f"example, loss among them (shape ({size},) for {size} examples of "
                f"{split}), got {shapes or values}."
            )

    def _shapes(self, seed: int) -> tuple[PyTree, PyTree]:
        """Return the shapes that init gives; a new function is traced anew."""
        with noted(
            f"In init of the task {self.name}; it must not look at the key but by "
            "jax.random: shapes and branches must be the same for every key."
        ):
            made = jax.eval_shape(lambda key: self.init(key), jax.random.key(seed))
        if not _is_pair(made):
            raise ValueError(
                f"Task {self.name}: init must return (params, model_state), {{}} for a "
                f"model without a state, got {made}."
            )
        return made


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2


def _described(value: Any) -> str:
    return f"shape {value.shape}" if hasattr(value, "shape") else repr(value)


def examples(data: PyTree) -> int:
    """Return the number of examples in a tree of arrays."""
    return len(jax.tree.leaves(data)[0])
