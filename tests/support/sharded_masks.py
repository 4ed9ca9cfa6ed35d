"""A script: find a mask on two CPU devices and print what they send to each other.

The lines are the collectives with their shapes. The last line says whether the mask is
that of one device.
"""

import re

import jax
import numpy as np
from collectives import COLLECTIVE
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P

if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 2)

import jopt


def main():
    values = np.random.default_rng(0).integers(0, 9, (2, 6, 8)).astype(np.float32)
    params = {"rows": values[0], "columns": values[1]}
    grads = jax.tree.map(np.zeros_like, params)
    tx = jopt.prune(jopt.sgd(0.1, momentum=0.9), 0.5)

    def masked(params):
        return tx.update(grads, tx.init(params), params)[1].kept

    mesh = Mesh(np.array(jax.devices()), ("data",))
    lies = {
        "rows": NamedSharding(mesh, P("data")),
        "columns": NamedSharding(mesh, P(None, "data")),
    }
    program = jax.jit(masked, in_shardings=(lies,), out_shardings=lies)
    text = program.lower(params).compile().as_text() or ""
    for shapes, kind in re.findall(rf"= (\S+|\(.*?\)) {COLLECTIVE}", text):
        print(kind, shapes)
    same = jax.tree.map(np.array_equal, program(params), masked(params))
    print(all(same.values()))


if __name__ == "__main__":
    main()
