"""Promises that every augmentation keeps, and what each does, against SciPy."""

import math
import pickle
from typing import Any, cast

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparison import assert_close, call_unoptimized, stack
from compile_counts import counted
from scipy import ndimage

from jopt import data

RNG = np.random.default_rng(0)
IMAGES = jnp.asarray(RNG.normal(size=(3, 5, 6, 2)), jnp.float32)
LABELS = jnp.asarray([0, 1, 2], jnp.int32)
WEIGHTS = jnp.asarray(RNG.normal(size=IMAGES.shape), jnp.float32)
KEY = jax.random.key(0)

# Three values of each number of an augmentation.
TABLE: dict[str, tuple[Any, dict[str, tuple[float, ...]]]] = {
    "Flip": (data.Flip, {"probability": (0.5, 1.0, 0.0)}),
    "Shift": (data.Shift, {"most": (2.0, 0.7, 0.0), "fill": (0.0, 1.0, -1.0)}),
    "Zoom": (data.Zoom, {"most": (0.5, 0.1, 0.0), "fill": (0.0, 1.0, -1.0)}),
    "Crop": (data.Crop, {"least": (0.6, 0.9, 1.0)}),
    "Rotate": (data.Rotate, {"most": (20.0, 45.0, 0.0), "fill": (0.0, 1.0, -1.0)}),
    "Noise": (data.Noise, {"std": (0.1, 0.5, 0.0)}),
    "Cutout": (data.Cutout, {"size": (0.5, 0.9, 0.0), "fill": (0.0, 1.0, -1.0)}),
    "Compose": (
        lambda most, std: data.Compose([data.Shift(most), data.Noise(std)]),
        {"most": (2.0, 0.7, 0.0), "std": (0.1, 0.5, 0.0)},
    ),
}
every = pytest.mark.parametrize("name", TABLE)


def made(name: str, **changes: Any) -> Any:
    make, numbers = TABLE[name]
    return make(**{n: three[0] for n, three in numbers.items()} | changes)


def total(augment: Any) -> jax.Array:
    return jnp.sum(WEIGHTS * augment((IMAGES, LABELS), KEY)[0])


@pytest.mark.slow("the other augmentations are made of the same arithmetic", but=4)
@every
def test_every_number_is_mapped_and_differentiated_in_one_program(name):
    graded = jax.value_and_grad(total)
    program, traces = counted(graded)
    numbers = TABLE[name][1]
    rows = [
        jax.tree.map(jnp.float32, made(name, **{number: value}))
        for number, three in numbers.items()
        for value in three
    ]

    loop = stack([program(row) for row in rows])
    mapped = call_unoptimized(jax.vmap(graded), stack(rows))

    assert len(traces) == 1
    assert_close(mapped, loop, rtol=3e-5, scale=3e-5)
    chex.assert_tree_all_finite(loop)
    values = loop[0].reshape(-1, 3)
    assert all(np.ptp(v) > 0 for v in values)


@every
def test_a_strength_of_nothing_changes_nothing(name):
    numbers = TABLE[name][1]
    nothing = {n: 1.0 if name == "Crop" else 0.0 for n in numbers if n != "fill"}
    images, labels = made(name, **nothing)((IMAGES, LABELS), KEY)
    np.testing.assert_allclose(images, IMAGES, atol=2e-6)
    assert labels is LABELS


@every
def test_images_keep_dtype_and_shape_and_differ_from_each_other(name):
    augment = made(name)
    same = jnp.broadcast_to(IMAGES[:1, :, :, 0], (8, 5, 6)).astype(jnp.bfloat16)
    changed, _ = augment((same, LABELS), KEY)
    assert (changed.shape, changed.dtype) == (same.shape, jnp.bfloat16)
    assert len(np.unique(np.asarray(changed, float).reshape(8, -1), axis=0)) > 1
    again = pickle.loads(pickle.dumps(augment))
    assert again == augment == made(name)


def batch_of(images):
    return jnp.asarray(images, jnp.float32)[..., None], None


def drawn(shape, key=KEY):
    return np.asarray(jax.random.uniform(key, shape, jnp.float32, -1, 1), float)


def test_a_shift_is_scipys():
    images = RNG.normal(size=(4, 7, 9))
    found, _ = data.Shift(3.5, 0.3)(batch_of(images), KEY)
    moves = 3.5 * drawn((2, 4, 1))[..., 0]
    for image, got, by in zip(images, found, moves.T, strict=True):
        wanted = ndimage.shift(image, by, order=1, mode="grid-constant", cval=0.3)
        np.testing.assert_allclose(got[..., 0], wanted, atol=1e-5)


def test_a_zoom_is_scipys():
    images = RNG.normal(size=(4, 7, 9))
    found, _ = data.Zoom(0.5, 0.3)(batch_of(images), KEY)
    inverse = 1.5 ** -drawn((4, 1))[:, 0]
    center = np.asarray([3, 4])
    for image, got, factor in zip(images, found, inverse, strict=True):
        wanted = ndimage.affine_transform(
            image,
            np.diag([factor, factor]),
            center - factor * center,
            order=1,
            mode="grid-constant",
            cval=0.3,
        )
        np.testing.assert_allclose(got[..., 0], wanted, atol=1e-5)


def test_a_crop_is_a_part_of_the_image_made_larger():
    ramp = np.broadcast_to(np.arange(9.0), (64, 7, 9))
    found, _ = data.Crop(0.5)(batch_of(ramp), KEY)
    rows = np.asarray(found)[:, 3, :, 0]
    # A ramp stays one; its slope is the part's side, and it stays within the image.
    slopes = np.diff(rows, axis=1)
    np.testing.assert_allclose(slopes, slopes[:, :1] + 0 * slopes, atol=1e-5)
    assert 0.5 <= slopes.min() < 0.55
    assert 0.95 < slopes.max() <= 1.0001
    assert rows.min() > -1e-5
    assert rows.max() < 8 + 1e-5


def sheared(image, by):
    """Shear a square image in float64: every row is moved by `by` times its place."""
    center = (np.asarray(image.shape) - 1) / 2
    matrix = np.asarray([[1, 0], [-by, 1]])
    offset: Any = center - matrix @ center
    options: dict[str, Any] = {"order": 1, "mode": "grid-constant"}
    return ndimage.affine_transform(image, matrix, offset, **options)


def test_a_rotation_is_three_shears_of_scipys():
    images = RNG.normal(size=(4, 9, 9))
    found, _ = data.Rotate(45.0)(batch_of(images), KEY)
    angles = math.pi / 4 * drawn((4,))
    for image, got, angle in zip(images, found, angles, strict=True):
        wide = np.pad(image, 9)
        wide = sheared(wide, -math.tan(angle / 2))
        wide = np.pad(sheared(wide.T, math.sin(angle)).T[9:-9], ((9, 9), (0, 0)))
        wanted = sheared(wide, -math.tan(angle / 2))[9:-9, 9:-9]
        np.testing.assert_allclose(got[..., 0], wanted, atol=2e-5)


@pytest.mark.slow("a rotation is SciPy's shears in the quick run")
def test_a_rotation_of_a_smooth_image_is_the_rotation():
    places = np.arange(25.0) - 12
    blob = np.exp(-((places[:, None] - 4) ** 2 + places**2) / 10)
    angle = 30.0 * drawn((1,))[0]
    found, _ = data.Rotate(30.0)(batch_of(blob[None]), KEY)
    turned = [ndimage.rotate(blob, s * angle, reshape=False, order=3) for s in (1, -1)]
    errors = [np.abs(np.asarray(found)[0, ..., 0] - t).max() for t in turned]
    assert min(errors) < 0.08 < 0.4 < max(errors)  # three passes smooth the peak


def test_a_cutout_covers_its_share_and_a_flip_turns_sides():
    ones = jnp.ones((200, 10, 10, 1))
    cut, _ = data.Cutout(0.4, fill=-1.0)((ones, None), KEY)
    covered = (1 - np.asarray(cut)).sum(axis=(1, 2, 3)) / 2
    assert covered.max() == pytest.approx(16, abs=1e-4)  # whole squares
    assert covered.min() < 8  # cut by the edge
    across, down = IMAGES[:, :, ::-1], IMAGES[:, ::-1]
    turns: dict[Any, Any] = {"horizontal": across, "vertical": down}
    for axis, turned in turns.items():
        flipped, _ = data.Flip(1.0, axis)((IMAGES, LABELS), KEY)
        np.testing.assert_array_equal(flipped, turned)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: data.Flip(1.5), "Flip: probability must be at most 1, got 1.5."),
        (lambda: data.Shift(-1), "Shift: most must be at least 0, got -1"),
        (lambda: data.Crop(0), "Crop: least must be above 0, got 0"),
        (lambda: data.Rotate(60), "Rotate: most must be at most 45, got 60"),
        (lambda: data.Noise(cast(Any, "a")), "Noise: std must be a number, got 'a'."),
        (lambda: data.Cutout(2), "Cutout: size must be at most 1, got 2"),
        (
            lambda: data.Compose(data.Flip()),
            "Compose: parts must be a list of callables (batch, key) -> batch, got ",
        ),
        (
            lambda: data.Flip()(IMAGES, KEY),
            "Flip: batch must be (inputs, labels), got ",
        ),
        (
            lambda: data.Flip()((IMAGES[0, 0], LABELS), KEY),
            "Flip: inputs must be images of the shape [batch, height, width] or with "
            "channels after them, got the shape [6, 2]; reshape flat images",
        ),
        (
            lambda: data.Flip()((LABELS[:, None, None], LABELS), KEY),
            "Flip: inputs must be floats, which can be changed a little, got int32",
        ),
    ],
)
def test_bad_input_is_refused_in_a_sentence(make, sentence):
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    assert str(caught.value).startswith(sentence)
