"""`KeptEpochs`: the last and the best epoch of a run, on the disk."""

from pathlib import Path

from jax.tree_util import keystr, tree_leaves_with_path

from jopt.core import FilePath, dtype_of
from jopt.training._state import TrainState


class KeptEpochs:
    """Orbax checkpoints, each written whole or not at all: DIR/N after N epochs.

    Args:
      directory: created if it does not exist.
      metric: name of the number that ranks the epochs.
      mode: which of its values are better.
    """

    def __init__(self, directory: FilePath, metric: str, mode: str):
        import orbax.checkpoint as ocp  # slow to load

        self.path, self.args = Path(directory).absolute(), ocp.args
        self.asked = {"metric": metric, "mode": mode}
        options = ocp.CheckpointManagerOptions(
            enable_async_checkpointing=False, cleanup_tmp_directories=True
        )
        names = ("state", "notes")
        self.manager = ocp.CheckpointManager(
            self.path, options=options, item_names=names
        )

    def write(
        self, state: TrainState, rows: list[dict[str, float]], keep: int | None
    ) -> None:
        """Write a checkpoint after these epochs; then remove all others but `keep`.

        Args:
          state: the state.
          rows: the numbers of each epoch by name.
          keep: number of epochs of a checkpoint that stays; None for none.
        """
        items = {
            "state": self.args.StandardSave(state.by_leaf()),
            "notes": self.args.JsonSave({"rows": rows, "of": self._described(state)}),
        }
        self.manager.save(len(rows), args=self.args.Composite(**items))
        for other in self.manager.all_steps():
            if other not in (len(rows), keep):
                self.manager.delete(other)

    def rows(self, state: TrainState) -> list[dict[str, float]]:
        """Return the numbers of the saved epochs, an empty list at first.

        Raises:
          ValueError: they are of another metric, mode or state; the first leaf of the
            state that differs is named.
        """
        last = self.manager.latest_step()
        if last is None:
            return []
        items = self.args.Composite(notes=self.args.JsonRestore())
        notes = self.manager.restore(last, args=items)["notes"]
        ours, theirs = self._described(state), notes["of"]
        for name in theirs | ours:
            there, here = (each.get(name, "missing") for each in (theirs, ours))
            if there != here:
                raise ValueError(
                    f"fit: {name} must be {there}, as in the checkpoint {self.path}, "
                    f"but is {here}; continue with what it was made with, or give "
                    "another directory."
                )
        return notes["rows"]

    def state(self, like: TrainState, epochs: int) -> TrainState:
        """Return the state after some epochs, laid out as `like` is."""
        items = self.args.Composite(state=self.args.StandardRestore(like.by_leaf()))
        return like.filled(self.manager.restore(epochs, args=items)["state"])

    def _described(self, state: TrainState) -> dict[str, str]:
        """Return the metric, the mode, and the dtype and shape of each leaf."""
        leaves = tree_leaves_with_path(state.by_leaf())
        return self.asked | {
            f"state{keystr(path)}": f"{dtype_of(leaf)}{list(leaf.shape)}"
            for path, leaf in leaves
        }
