"""A process with two CPU devices; prints how many sweeps gave the rows of one."""

import tempfile
from pathlib import Path

import jax
import numpy as np

if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 2)

import bitwise_sweeps as alone
import small_task as small
from bitwise_sweeps import NEVER, SEGMENTS, SETTINGS

from jopt import sweep


def main(draws=4):
    first, second = jax.local_devices()
    random = np.random.default_rng(0)
    for draw in range(draws):
        count = int(random.integers(1, len(SETTINGS) + 1))
        chosen = random.permutation(len(SETTINGS))[:count]
        settings = [SETTINGS[i] for i in chosen]
        ends = tuple(random.choice([NEVER, NEVER, 1, 2], count).tolist())
        pruner = alone.Ends(ends)
        alone.check(alone.run(settings, pruner=pruner), settings, ends)
        other = alone.run(settings, pruner=pruner, devices=[second])
        alone.check(other, settings, ends)
        with tempfile.TemporaryDirectory() as place:
            stop = int(random.integers(1, SEGMENTS))
            began, goes_on = [[first, second], [first]][:: 1 if draw % 2 else -1]
            alone.run(
                settings,
                pruner=pruner,
                devices=began,
                directory=Path(place),
                callbacks=[alone.interrupt_after(stop)],
            )
            again = small.task(), alone.trials(settings)
            result = sweep.resume(place, *again, devices=goes_on)
            alone.check(result, settings, ends, resumed_after=stop)
    print(draws)


if __name__ == "__main__":
    main()
