"""Cache compiled programs and chosen block sizes for later commands."""

import argparse
import contextlib
import hashlib
import importlib.metadata
import os
import platform
import secrets
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SIZE = 2**29  # bytes of compiled programs; the least recently used are removed
LEAST = 0.1  # seconds: a program that compiles sooner is not kept
OURS = {
    "jax_compilation_cache_max_size": SIZE,
    "jax_persistent_cache_min_compile_time_secs": LEAST,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


def add_options(add: Any) -> list[argparse.Action]:
    """Add the options to a parser, by its `add_argument`, and return them."""
    return [
        add(
            "--no-cache",
            action="store_true",
            help="neither read nor keep compiled programs and picked blocks",
        ),
        add(
            "--search-block",
            action="store_true",
            help="pick the block by timing, even if one is remembered",
        ),
    ]


@contextlib.contextmanager
def used(options: argparse.Namespace) -> Iterator[None]:
    """Cache the command's compiled programs and block sizes, as its options say.

    If the user has set JAX's own cache, nothing is cached elsewhere. A folder that
    cannot be written causes a warning.
    """
    if not hasattr(options, "no_cache"):  # a command that does not train
        yield
        return
    import jax

    if options.no_cache:
        jax.config.update("jax_enable_compilation_cache", False)
    enabled = jax.config.jax_enable_compilation_cache  # pyright: ignore[reportAttributeAccessIssue]
    given = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    if not enabled or given is not None or not _is_writable(here := folder()):
        yield
        return
    from jopt.sweep import remembering

    jax.config.update("jax_compilation_cache_dir", str(here / "programs"))
    for name, value in OURS.items():
        if name.upper() not in os.environ:
            jax.config.update(name, value)
    options.folder = here
    with remembering(here / "blocks", anew=options.search_block):
        yield


def folder() -> Path:
    """Return the cache folder for this kind of machine and these versions of JAX.

    Home directories may be shared, and a program compiled for another CPU may crash.
    """
    from jopt.sweep import user_caches  # slow to load

    versions = [importlib.metadata.version(name) for name in ("jax", "jaxlib")]
    name = f"{cpu()}-jax-{versions[0]}-jaxlib-{versions[1]}"
    return user_caches() / "jopt" / name


def cpu(info: Path = Path("/proc/cpuinfo")) -> str:
    """Return a word for the CPU's kind, which differs with its features."""
    known = [platform.machine(), platform.processor()]
    if info.exists():
        names = ("model name", "flags", "Features", "CPU part")
        lines = info.read_text(errors="replace").splitlines()
        known += sorted({x for x in lines if x.partition(":")[0].strip() in names})
    digest = hashlib.sha256("\n".join(known).encode()).hexdigest()
    return f"{platform.machine() or 'cpu'}-{digest[:12]}"


def _is_writable(directory: Path) -> bool:
    """Return whether files can be made in a folder; warn otherwise."""
    probe = directory / "programs" / f".{secrets.token_hex(4)}"
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except (OSError, RuntimeError) as error:  # RuntimeError: the user has no home
        warnings.warn(
            f"Compiled programs are not kept for the next time: {error}. Set "
            "XDG_CACHE_HOME to a folder that can be written, or give --no-cache.",
            stacklevel=2,
        )
        return False
    return True
