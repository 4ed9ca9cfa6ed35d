"""The messages between devices in the text of a compiled program."""

import re

COLLECTIVE = (
    r"\b(all-reduce|all-gather|all-to-all|ragged-all-to-all|reduce-scatter"
    r"|collective-permute|collective-broadcast|send|recv)(?:-start)?\("
)


def collectives(text: str) -> list[str]:
    """Return the names of the collectives in a text that XLA printed."""
    return re.findall(COLLECTIVE, text)
