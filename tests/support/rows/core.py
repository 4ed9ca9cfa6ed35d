"""Rows of the transformations in `jopt/core/`."""

ROWS = {
    # _chain.py
    "chain": lambda lib: lib.chain(
        lib.clip_by_global_norm(0.5), lib.chain(lib.trace(0.9), lib.scale(-0.1))
    ),
    "named_chain": lambda lib: lib.named_chain(
        ("clip", lib.clip_by_global_norm(0.5)), ("adam", lib.adamw(1e-2))
    ),
}
