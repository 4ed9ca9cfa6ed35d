"""How fast can this device copy, and multiply matrices?

    python bench/roofline.py

bandwidth    bytes read and written a second, of an array far larger than any cache
products     floating-point operations a second, of a product of two large float32
             matrices, at the precision that programs have by default

Both are the best of several tries: a roof. What a program needs is what XLA's own
analysis of the compiled program says (`cost_analysis`). It adds up what each fused
kernel reads and writes, as if nothing stayed in a cache between two of them, and counts
the body of a loop once. So where a block of trials does stay in cache, a program may be
faster than the roof of its bytes; and operations that are no products run slower than
products do.
"""

import time

import jax
import jax.numpy as jnp

TRIES = 7


def roofs(quick=False):
    """Return the measured bytes a second and operations a second."""
    on_cpu = jax.default_backend() == "cpu"
    size = 2**25 if quick else 2**29 if on_cpu else 2**31
    side = 512 if quick else 2048 if on_cpu else 8192
    array = jnp.zeros(size // 4, jnp.float32)
    copying = least_seconds(jax.jit(lambda x: x + 1), array)
    matrix = jnp.ones((side, side), jnp.float32)
    multiplying = least_seconds(jax.jit(jnp.matmul), matrix, matrix)
    return {
        "bytes_per_second": 2 * size / copying,
        "flops_per_second": 2 * side**3 / multiplying,
        "copied_bytes": size,
        "matrix_side": side,
    }


def least_seconds(program, *arguments):
    """Return the least time of a call, the compiling one apart."""
    seconds = []
    for _ in range(TRIES + 1):
        began = time.perf_counter()
        jax.block_until_ready(program(*arguments))
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])


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
        f"{roof['copied_bytes'] / 2**20:.0f} MiB copied, "
        f"{roof['flops_per_second'] / 1e9:.0f} GFLOP/s of products of "
        f"{roof['matrix_side']} by {roof['matrix_side']}"
    )


def main():
    print(jax.devices()[0].device_kind, shown(roofs()), sep=": ")


if __name__ == "__main__":
    main()
