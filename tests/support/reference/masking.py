"""Transformations of some of the leaves."""

import jax


def masked(inner, mask):
    def transformation(grads, params):
        chosen = mask(jax.tree.map(lambda p: p[0], params))

        def hidden(tree):
            return jax.tree.map(lambda yes, leaf: leaf if yes else None, chosen, tree)

        made, states = inner(hidden(grads), hidden(params))
        merged = jax.tree.map(
            lambda g, u: g if u is None else u,
            grads,
            made,
            is_leaf=lambda g: g is None,
        )
        return merged, states

    return transformation


def partition(transforms, param_labels):
    def group(name):
        return lambda params: jax.tree.map(
            lambda label: label == name, param_labels(params)
        )

    def transformation(updates, params):
        states = {}
        for name, inner in transforms.items():
            updates, state = masked(inner, group(name))(updates, params)
            states |= state
        return updates, states

    return transformation


def freeze(mask):
    return masked(lambda grads, _: (jax.tree.map(lambda g: 0 * g, grads), {}), mask)


def selective_transform(optimizer, *, freeze_mask):
    def trained(params):
        return jax.tree.map(lambda frozen: not frozen, freeze_mask(params))

    def transformation(grads, params):
        made, states = masked(optimizer, trained)(grads, params)
        return freeze(freeze_mask)(made, params)[0], states

    return transformation
