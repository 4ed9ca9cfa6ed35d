"""Mechanic: Cutkosky et al. 2023, Algorithm 1, with its authors' clip of h."""

import numpy as np

from reference.distance import dot
from reference.parameter_free import together
from reference.run import as_data

flat = together(lambda run, _: ((row, {"row": row}) for row in run))


@as_data
def mechanize(base, weight_decay=1e-2, eps=1e-8, s_init=1e-6, num_betas=6):
    betas = [1 - 0.1 ** (i + 1) for i in range(int(num_betas))]
    betas = np.array(betas, np.float32).astype(np.float64)

    def transformation(grads, params):
        steps, _ = base(grads, params)
        rows = flat(steps, params)[1]["row"]

        def rule(gradients, params):
            r, m, v, s = 0, 0, 0, np.full(betas.size, s_init)
            for g, p, d in zip(gradients, params, rows, strict=True):
                total, x0 = s.sum(), params[0]
                norms = np.linalg.norm(g) / (np.linalg.norm(p) + eps)
                gone = (x0 - p) / (total + eps)
                h = dot(g + weight_decay * total * norms * p, gone)
                r = betas * r + np.clip(h, -m, m) * s
                m = np.maximum(betas * m, np.abs(h) + eps)
                v = betas**2 * v + h**2
                s = (np.maximum(r, 0) + s_init / betas.size * m) / (np.sqrt(v) + eps)
                yield x0 - s.sum() * (gone - d) - p, {"r": r, "m": m, "v": v, "s": s}

        return together(rule)(grads, params)

    return transformation
