"""One update of a transformation, from its first state."""

from typing import Any

import jopt


def once(tx: Any, updates: Any, params: Any = None) -> Any:
    """The updates and the state after it."""
    return tx.update(updates, tx.init(updates if params is None else params), params)


def after(tx: Any, updates: Any, params: Any) -> Any:
    """The parameters after it."""
    return jopt.apply_updates(params, once(tx, updates, params)[0])
