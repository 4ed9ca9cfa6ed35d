"""What does a rotation cost in a sweep, beside dm-pix's, for many strengths at a time?

64 images of 28 by 28 pixels, each turned by an angle of its own; the greatest angle is
what is mapped over, as the trials of a sweep map it. Both take turns.

jopt      `data.Rotate`: three shears, by products with weights
dm-pix    `dm_pix.rotate` with linear interpolation, mapped over the images: a gather

    pip install dm-pix
    python bench/augment.py
    python bench/augment.py --quick
"""

from typing import Any

import dm_pix
import jax
import jax.numpy as jnp
from record import Record, arguments
from turns import rounds

from jopt import data

AIM = 1 / 3  # of dm-pix's time
IMAGES, SIDE = 64, 28


def ours(most: jax.Array, images: jax.Array, key: jax.Array) -> jax.Array:
    """Turn images by at most so many degrees."""
    return data.Rotate(most)((images, None), key)[0]


def theirs(most: jax.Array, images: jax.Array, key: jax.Array) -> jax.Array:
    """Do the same with dm-pix."""
    angles = jnp.radians(most) * jax.random.uniform(key, (IMAGES,), minval=-1)
    options: dict[str, Any] = {"order": 1, "mode": "constant", "cval": 0.0}
    return jax.vmap(lambda x, a: dm_pix.rotate(x, a, **options))(images, angles)


def main() -> None:
    options = arguments(__doc__).parse_args()
    record = Record("augment", __doc__, options)
    for strengths, channels in [(1, 1), (16, 1)] if options.quick else CASES:
        images = jax.random.normal(jax.random.key(0), (IMAGES, SIDE, SIDE, channels))
        most = jnp.linspace(1.0, 30.0, strengths)
        runs = {}
        for name, function in {"jopt": ours, "dm-pix": theirs}.items():
            mapped = jax.jit(jax.vmap(function, (0, None, None)))
            given = most, images, jax.random.key(1)
            runs[name] = lambda n, f=mapped, g=given: jax.block_until_ready(
                [f(*g) for _ in range(n)]
            )
        found = rounds(runs, 2.0 if options.quick else 20.0)
        times = {name: row["median_ms"] for name, row in found.items()}
        record.add_bound(
            f"{strengths} strengths, {channels} channels: share of dm-pix's time",
            times["jopt"] / times["dm-pix"],
            "",
            AIM,
            milliseconds=found,
        )
    record.write()


CASES = [(1, 1), (16, 1), (1, 3), (16, 3)]

if __name__ == "__main__":
    main()
