"""A script: run sweeps on two CPU devices and count those equal to one device's."""

import tempfile
from pathlib import Path

import jax
import numpy as np

if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 2)

import bitwise
import toy
from bitwise import NEVER, SEGMENTS, SETTINGS

from jopt import sweep


def main(draws=4):
    first, second = jax.local_devices()
    random = np.random.default_rng(0)
    for draw in range(draws):
        count = int(random.integers(1, len(SETTINGS) + 1))
        chosen = random.permutation(len(SETTINGS))[:count]
        settings = [SETTINGS[i] for i in chosen]
        ends = tuple(random.choice([NEVER, NEVER, 1, 2], count).tolist())
        pruner = bitwise.Ends(ends)
        bitwise.check(bitwise.run(settings, pruner=pruner), settings, ends)
        other = bitwise.run(settings, pruner=pruner, devices=[second])
        bitwise.check(other, settings, ends)
        with tempfile.TemporaryDirectory() as place:
            stop = int(random.integers(1, SEGMENTS))
            began, goes_on = [[first, second], [first]][:: 1 if draw % 2 else -1]
            bitwise.run(
                settings,
                pruner=pruner,
                devices=began,
                directory=Path(place),
                callbacks=[bitwise.interrupt_after(stop)],
            )
            again = toy.task(), bitwise.trials(settings)
            result = sweep.resume(place, *again, trust=True, devices=goes_on)
            bitwise.check(result, settings, ends, resumed_after=stop)
    print(draws)


if __name__ == "__main__":
    main()
