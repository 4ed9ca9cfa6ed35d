"""What the commands print to."""

import os
import sys

from rich.console import Console


class Output(Console):
    """A console that falls silent when nobody reads on, as in `jopt sweep | head`."""

    def __init__(self):
        super().__init__(highlight=False, soft_wrap=True)

    def on_broken_pipe(self) -> None:
        """Go on in silence: rich would end the process, and the training with it."""
        self.quiet = True
        # Else Python fails to flush what is left, at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
