"""Schedules given by boundaries and scales: constant or interpolated between them."""

import itertools
from collections.abc import Mapping, Sequence
from operator import mul
from typing import Annotated, Literal, TypeAlias

import jax.numpy as jnp
import numpy as np

from jopt.core import Kind, Number, Schedule, checked, field, pytree, static
from jopt.schedules._curves import CURVES, floats, interpolate


def _are_pieces(given: object) -> bool:
    if given is None or isinstance(given, Mapping):
        return True
    pairs = given if isinstance(given, (list, tuple)) else [None]
    return all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs)


_Pieces: TypeAlias = Annotated[
    Mapping[int, Number] | Sequence[tuple[Number, Number]] | None,
    Kind("a dict from boundary to scale, pairs of the two or None", _are_pieces),
]


@pytree
class PiecewiseConstantSchedule(Schedule):
    """Multiply by a scale from each boundary on.

        s(t) = init_value * product of scales[i] over all i with t >= boundaries[i]

    Args:
      init_value: value before the first boundary, any number.
      boundaries: steps from which the scales apply.
      scales: factors, at least 0, one for each boundary.

    Raises:
      ValueError: if a scale is negative or NaN, or the lengths differ.
    """

    init_value: Number
    boundaries: tuple[Number, ...] = field(converter=floats, default=())
    scales: tuple[Number, ...] = field(converter=floats, default=())

    def __post_init__(self):
        _check_pieces(self)

    def __call__(self, count):
        value = jnp.broadcast_to(self.init_value, count.shape)
        for boundary, scale in zip(self.boundaries, self.scales, strict=True):
            value = value * jnp.where(count < boundary, 1, scale)
        return value


@pytree
class PiecewiseInterpolateSchedule(Schedule):
    """Go from boundary to boundary on a line or on half a cosine.

        s(t) = v_i + (v_(i+1) - v_i) w(f)     for b_i <= t < b_(i+1)
        f = (t - b_i) / (b_(i+1) - b_i)       w(f) = f, or (1 - cos(pi f)) / 2
        v_i = init_value * product of the first i scales,  b_0 = 0

    From the last boundary on the value is the last v.

    Args:
      interpolate_type: "linear" or "cosine".
      init_value: value at step 0, any number.
      boundaries: steps at which the interpolation reaches the next v, ascending.
      scales: factors, at least 0, one for each boundary.

    Raises:
      ValueError: if a scale is negative or NaN, the lengths differ or the boundaries
        descend.
    """

    interpolate_type: Literal["linear", "cosine"] = static()
    init_value: Number
    boundaries: tuple[Number, ...] = field(converter=floats, default=())
    scales: tuple[Number, ...] = field(converter=floats, default=())

    def __post_init__(self):
        if self.interpolate_type not in CURVES:
            raise ValueError(
                "PiecewiseInterpolateSchedule: interpolate_type must be one of "
                f"{', '.join(CURVES)}, got {self.interpolate_type!r}."
            )
        _check_pieces(self)
        known = [b for b in self.boundaries if isinstance(b, (int, float, np.number))]
        if known != sorted(known):
            raise ValueError(
                "PiecewiseInterpolateSchedule: boundaries must ascend, got "
                f"{', '.join(f'{b:g}' for b in known)}."
            )

    def __call__(self, count):
        values = tuple(itertools.accumulate((self.init_value, *self.scales), mul))
        return interpolate(count, self.boundaries, values, self.interpolate_type)


def _check_pieces(self):
    name = type(self).__name__
    if len(self.boundaries) != len(self.scales):
        raise ValueError(
            f"{name}: boundaries and scales must have one length, "
            f"got {len(self.boundaries)} and {len(self.scales)}."
        )
    for scale in self.scales:
        if isinstance(scale, (int, float, np.number)) and not scale >= 0:
            raise ValueError(f"{name}: scales must be at least 0, got {scale:g}.")


def _pairs(
    pieces: _Pieces,
) -> tuple[Sequence[Number], Sequence[Number]]:
    given = pieces or ()
    pairs = sorted(given.items()) if isinstance(given, Mapping) else given
    boundaries, scales = zip(*pairs, strict=True) if pairs else ((), ())
    return boundaries, scales


@checked
def piecewise_constant_schedule(
    init_value: Number, boundaries_and_scales: _Pieces = None
) -> PiecewiseConstantSchedule:
    """Multiply by a scale from each boundary on.

        s(t) = init_value * product of all scales whose boundary is at most t

    Args:
      init_value: value before the first boundary, any number.
      boundaries_and_scales: a dict of scales by boundary, in steps, as in optax, or
        pairs of the two. Boundaries in pairs may be tracers; the keys of a dict cannot.

    Raises:
      ValueError: if a scale is negative or NaN.
    """
    return PiecewiseConstantSchedule(init_value, *_pairs(boundaries_and_scales))


@checked
def piecewise_interpolate_schedule(
    interpolate_type: Literal["linear", "cosine"],
    init_value: Number,
    boundaries_and_scales: _Pieces = None,
) -> PiecewiseInterpolateSchedule:
    """Go from boundary to boundary on a line or on half a cosine.

        jopt.piecewise_interpolate_schedule("linear", 1.0, {4: 0.1, 8: 0.01})

    starts at 1, is 0.1 at step 4 and 0.001 from step 8 on: scales multiply.

    Args:
      interpolate_type: "linear" or "cosine".
      init_value: value at step 0, any number.
      boundaries_and_scales: a dict of scales by boundary, in steps, or ascending pairs
        of the two. Boundaries in pairs may be tracers.

    Raises:
      ValueError: if a scale is negative or NaN, or the pairs descend.
    """
    pairs = _pairs(boundaries_and_scales)
    return PiecewiseInterpolateSchedule(interpolate_type, init_value, *pairs)
