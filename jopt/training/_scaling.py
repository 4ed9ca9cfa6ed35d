"""Factors of each parameter, with which the rate of a narrow model fits a wide one."""

import math
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, TypeAlias

from jopt.core import PyTree, checked, nested
from jopt.training._roles import Role

ScalingRule: TypeAlias = Literal["sp", "mup", "spectral"]
ScaledOptimizer: TypeAlias = Literal["sgd", "adam", "lion", "muon", "soap", "shampoo"]


class Scaling(NamedTuple):
    """Factors by path, dicts of numbers in the form of the parameters.

    Attributes:
      rate: of the updates, for `scale_leaves`.
      init: of the initial parameters, for `sweep.Supervised`.
    """

    rate: PyTree
    init: PyTree


@checked
def scaling(
    roles: Mapping[str, Role],
    rule: ScalingRule = "mup",
    optimizer: ScaledOptimizer = "adam",
) -> Scaling:
    """Return the factors with which one learning rate serves both models.

        found = jopt.scaling(jopt.roles(small, wide), "mup", "adam")
        tx = jopt.chain(jopt.adam(rate), jopt.scale_leaves(found.rate))

    With r_in and r_out of each `Role`, the rate's factor under "mup" is

        sgd                   r_out / r_in
        adam, lion            1 / r_in
        muon                  Adam's; of hidden matrices m(wide) / m(base), which is 1
                              where inputs and outputs grow alike
        soap, shampoo         sqrt(r_out / r_in) of matrices, 1 of vectors

    with m = sqrt(min(1, fan_out / fan_in)), as Muon's own factor is
    sqrt(max(1, fan_out / fan_in)). The readout's initial values, which the model is
    assumed to draw of size 1 / sqrt(fan_in), are multiplied by r_in^-1/2.

    "spectral" has the same rates, and initial values whose spectral norm is
    sqrt(fan_out / fan_in) at every size:

        init = s(wide) / s(base),  s = sqrt(fan_out) / (sqrt(fan_in) + sqrt(fan_out))

    "sp" is the standard parametrization: all factors are 1. At the base's own width
    every rule is "sp". Weight decay and eps stay as they are: sources disagree on them.

    Args:
      roles: the result of `roles(base, wide)`.
      rule: "sp", "mup" or "spectral".
      optimizer: the optimizer whose update is scaled. "adam" is for all that divide by
        the root of a second moment coordinate by coordinate, for Shampoo grafted onto
        Adam, and for Muon with `consistent_rms`. "shampoo" is without a graft, with
        exponents whose sum is 1/2.

    Yang et al. 2022, https://arxiv.org/abs/2203.03466, Table 8; Yang et al. 2023,
    https://arxiv.org/abs/2310.17813, Condition 1; for Muon, SOAP and Shampoo Qiu et al.
    2025, https://arxiv.org/abs/2512.05620.
    """
    ours = {tuple(path.split("/")): role for path, role in roles.items()}
    rate = dict.fromkeys(ours, 1.0)
    init = dict(rate)
    if rule != "sp":
        rates, starts = _RATES[optimizer], _muP if rule == "mup" else _spectral
        rate = {path: float(rates(role)) for path, role in ours.items()}
        init = {path: float(starts(role)) for path, role in ours.items()}
    return Scaling(nested(rate), nested(init))


def _sgd(role: Role) -> float:
    return role.r_out / role.r_in


def _adam(role: Role) -> float:
    return 1 / role.r_in


def _muon(role: Role) -> float:
    if role.kind != "hidden":
        return _adam(role)
    return _of_sizes(role, lambda ins, outs: math.sqrt(min(1.0, outs / ins)))


def _soap(role: Role) -> float:
    matrix = role.kind not in ("vector", "fixed")
    return math.sqrt(role.r_out / role.r_in) if matrix else 1.0


_RATES: dict[str, Callable[[Role], float]] = {
    "sgd": _sgd,
    "adam": _adam,
    "lion": _adam,
    "muon": _muon,
    "soap": _soap,
    "shampoo": _soap,
}


def _muP(role: Role) -> float:
    return role.r_in**-0.5 if role.kind == "output" else 1.0


def _spectral(role: Role) -> float:
    if role.kind in ("vector", "fixed"):
        return 1.0
    return _of_sizes(
        role, lambda ins, outs: math.sqrt(outs) / (math.sqrt(ins) + math.sqrt(outs))
    )


def _of_sizes(role: Role, size: Callable[[float, float], float]) -> float:
    """Return a function of the fans at the wide model over that at the base."""
    ins, outs = role.fan_in, role.fan_out
    return size(ins, outs) / size(ins / role.r_in, outs / role.r_out)
