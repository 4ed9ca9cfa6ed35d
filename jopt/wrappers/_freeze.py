"""`freeze` and `selective_transform`: leaves that do not move."""

from collections.abc import Callable
from typing import Any

from jopt.core import Mask, PyTree, Transformation, checked
from jopt.transforms import set_to_zero
from jopt.wrappers._masked import Masked, masked
from jopt.wrappers._partition import Partition, partition


class _FrozenOrTrained(Mask):
    """A mask, whose bools are labels of `partition`."""

    def checked(self, words: Any, label: Any) -> Any:
        if label in ("freeze", "train"):
            return label
        return "freeze" if super().checked(words, label) else "train"


@checked
def freeze(mask: PyTree | Callable[..., Any]) -> Masked:
    """Make the updates of the chosen leaves zero.

        tx = jopt.chain(jopt.sgd(0.1), jopt.freeze({"encoder": True, "head": False}))

    mask: True where a leaf is frozen: a bool, a tree of them or a function, see
    `masked`. Last in a chain, it stops decay and momentum too, but what comes before it
    sees and remembers the frozen leaves: `selective_transform` does not.
    """
    return masked(set_to_zero(), mask)


@checked
def selective_transform(
    optimizer: Transformation, *, freeze_mask: PyTree | Callable[..., Any]
) -> Partition:
    """Train the leaves that are not frozen, and keep no state of the others.

        tx = jopt.selective_transform(
            jopt.adamw(1e-3), freeze_mask=lambda path, p: path.startswith("encoder/")
        )

    optimizer: jopt's transformation or optax's. freeze_mask: True where a leaf is
    frozen: a bool, a tree of them or a function, see `masked`. Frozen leaves may be of
    any dtype. It is a `partition` whose labels are "train" and "freeze". (optax takes a
    function for a mask that is true everywhere, and freezes all.)
    """
    transforms = {"train": optimizer, "freeze": set_to_zero()}
    return partition(transforms, _FrozenOrTrained(freeze_mask))
