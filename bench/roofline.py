"""How fast can this device copy, and multiply matrices?

    python bench/roofline.py

bandwidth    bytes read and written a second, of an array far larger than any cache that
             is copied in place: a new one's pages would be counted, too
products     floating-point operations a second, of a product of two large float32
             matrices, at the precision that programs have by default

Both are the best of several tries: a roof. What a program needs is what XLA's own
analysis of the compiled program says (`cost_analysis`). It adds up what each fused
kernel reads and writes, as if nothing stayed in a cache between two of them, and counts
the body of a loop once. So where a block of trials does stay in cache, a program may be
faster than the roof of its bytes; and operations that are no products run slower than
products do.
"""

import jax
import jax.numpy as jnp
from turns import steps, timed

TRIES = 7


def roofs(quick=False):
    """Return the measured bytes a second and operations a second."""
    on_cpu = jax.default_backend() == "cpu"
    size = 2**25 if quick else 2**29 if on_cpu else 2**31
    side = 512 if quick else 2048 if on_cpu else 8192
    copy = jax.jit(lambda held: held + 1, donate_argnums=0)
    copying = least_seconds(copy, jnp.zeros(size // 4, jnp.float32))
    mean = jnp.full((side, side), 1 / side, jnp.float32)  # its square is itself
    multiplying = least_seconds(jax.jit(lambda held: held @ held), mean)
    return {
        "bytes_per_second": 2 * size / copying,
        "flops_per_second": 2 * side**3 / multiplying,
        "copied_bytes": size,
        "matrix_side": side,
    }


def least_seconds(program, held):
    """Return the least time of a call of what takes `held` and gives the next."""
    run = steps(program, held)
    run(1)  # compiles
    return min(timed(lambda: run(1)) for _ in range(TRIES))


def least(compiled, roof):
    """Return what a compiled program needs, and its least seconds under each roof."""
    cost = compiled.cost_analysis()
    flops, moved = cost.get("flops", 0.0), cost.get("bytes accessed", 0.0)
    return {
        "flops": flops,
        "bytes": moved,
        "products_seconds": flops / roof["flops_per_second"],
        "bandwidth_seconds": moved / roof["bytes_per_second"],
    }


def shown(roof):
    """Return the roofs in words."""
    return (
        f"{roof['bytes_per_second'] / 1e9:.1f} GB/s of "
        f"{roof['copied_bytes'] / 2**20:.0f} MiB copied in place, "
        f"{roof['flops_per_second'] / 1e9:.0f} GFLOP/s of products of "
        f"{roof['matrix_side']} by {roof['matrix_side']}"
    )


def main():
    print(jax.devices()[0].device_kind, shown(roofs()), sep=": ")


if __name__ == "__main__":
    main()
