"""`python -m jopt` is the `jopt` command."""

import gc
import sys
from typing import NoReturn

from jopt.cli import main


def program() -> NoReturn:
    """Run the command, and end the process with its exit status."""
    status = main()
    # Garbage collection at exit would walk through everything that JAX has traced,
    # which takes as long as compiling a sweep's largest program.
    gc.freeze()
    sys.exit(status)


if __name__ == "__main__":
    program()
