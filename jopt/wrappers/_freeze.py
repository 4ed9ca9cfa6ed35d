"""`freeze` and `selective_transform`: frozen leaves."""

from collections.abc import Callable

from jopt.core import Mask, PyTree, Transformation, TreePath, checked
from jopt.transforms import set_to_zero
from jopt.wrappers._masked import Masked, masked
from jopt.wrappers._partition import Partition, partition


class _FrozenOrTrained(Mask):
    """A mask whose bools become the labels of `partition`."""

    def checked(self, words: TreePath, label: object) -> str:
        if label in ("freeze", "train"):
            return label
        return "freeze" if super().checked(words, label) else "train"


@checked
def freeze(mask: PyTree | Callable[..., PyTree]) -> Masked:
    """Set the updates of the chosen leaves to zero.

        tx = jopt.chain(jopt.sgd(0.1), jopt.freeze({"encoder": True, "head": False}))

    Last in a chain it stops decay and momentum too. The transformations before it still
    see the frozen leaves and keep state for them; with `selective_transform` they do
    not.

    Args:
      mask: True where a leaf is frozen: a bool, a tree of bools or a function, see
        `masked`.

    Returns:
      A `Masked`.
    """
    return masked(set_to_zero(), mask)


@checked
def selective_transform(
    optimizer: Transformation, *, freeze_mask: PyTree | Callable[..., PyTree]
) -> Partition:
    """Train the leaves that are not frozen, and keep no state of the others.

        tx = jopt.selective_transform(
            jopt.adamw(1e-3), freeze_mask=lambda path, p: path.startswith("encoder/")
        )

    Frozen leaves may be of any dtype. (optax takes a function for a mask that is true
    everywhere, and freezes all leaves.)

    Args:
      optimizer: transformation of jopt or optax.
      freeze_mask: True where a leaf is frozen: a bool, a tree of bools or a function,
        see `masked`.

    Returns:
      A `partition` whose labels are "train" and "freeze".
    """
    transforms = {"train": optimizer, "freeze": set_to_zero()}
    return partition(transforms, _FrozenOrTrained(freeze_mask))
