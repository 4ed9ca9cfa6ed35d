"""Sweep a classifier of images that lie in folders, one folder a class, through grain.

    pip install grain pillow
    python examples/image_folder.py [FOLDER]

FOLDER has train/CLASS/*.png and valid/CLASS/*.png, images of one size. Without it, the
digits of scikit-learn are written into a temporary one. Files are read when a batch is
drawn, so a folder may be larger than the memory. A batch is drawn once, for all trials.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import optax
from flax import nnx
from PIL import Image

import jopt
from jopt import sweep


class Images:
    """A source of grain's, whose examples are (pixels [height, width, 1], class)."""

    def __init__(self, folder, classes=None):
        found = sorted(path.name for path in Path(folder).glob("*") if path.is_dir())
        self.classes = found if classes is None else classes
        self.files = [
            (path, label)
            for label, name in enumerate(self.classes)
            for path in sorted((Path(folder) / name).glob("*.png"))
        ]
        unknown = sorted(set(found) - set(self.classes))
        missing = set(range(len(self.classes))) - {label for _, label in self.files}
        if not self.files:
            raise ValueError(f"{folder} must have folders of PNG images, one a class.")
        if unknown:
            raise ValueError(
                f"{folder} has the class {unknown[0]}, unknown in training."
            )
        if missing:
            raise ValueError(f"{folder} has no image of {self.classes[min(missing)]}.")
        self.shape = self.pixels(self.files[0][0]).shape

    def pixels(self, path):
        with Image.open(path) as image:
            return np.asarray(image.convert("L"), np.float32)[..., None] / 255

    def __len__(self):
        return len(self.files)

    def __getitem__(self, at):
        path, label = self.files[at]
        pixels = self.pixels(path)
        if pixels.shape != self.shape:
            raise ValueError(
                f"{path} must have the size of the others, {self.shape[:2]}, "
                f"got {pixels.shape[:2]}; resize or leave it out."
            )
        return pixels, np.int32(label)


def write_digits(folder):
    """Write 800 digits as PNG files, of which each fourth is for validation."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    for number, (image, label) in enumerate(zip(images[:800], labels, strict=False)):
        part = "valid" if number % 4 == 0 else "train"
        place = folder / part / str(label)
        place.mkdir(parents=True, exist_ok=True)
        gray = (image.reshape(8, 8) * 255 / 16).astype(np.uint8)
        Image.fromarray(gray).save(place / f"{number}.png")


class Classifier(nnx.Module):
    """A convolution and a linear layer."""

    def __init__(self, shape, classes, key):
        rngs = nnx.Rngs(key)
        self.conv = nnx.Conv(1, 16, (3, 3), strides=2, rngs=rngs)
        height, width = (-(-side // 2) for side in shape[:2])
        self.last = nnx.Linear(height * width * 16, classes, rngs=rngs)

    def __call__(self, images):
        """Return the logits (batch, classes) of images (batch, height, width, 1)."""
        return self.last(nnx.relu(self.conv(images)).reshape(len(images), -1))


def evaluate(model, batch):
    logits = model(batch[0])
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch[1])
    return {"loss": losses, "accuracy": logits.argmax(axis=1) == batch[1]}


def main(folder):
    import grain

    train = Images(folder / "train")
    valid = Images(folder / "valid", train.classes)

    def shuffled(epoch):
        rows = grain.MapDataset.source(train).shuffle(seed=epoch)
        return rows.batch(32, drop_remainder=True).to_iter_dataset()

    task = sweep.Task.from_model(
        "images",
        lambda key: Classifier(train.shape, len(train.classes), key),
        lambda model, batch, key: evaluate(model, batch)["loss"].mean(),
        evaluate,
        predict=lambda model, batch: model(batch[0]).argmax(axis=1),
        train=sweep.by_epoch(shuffled),
        valid=grain.MapDataset.source(valid).batch(50).to_iter_dataset(),
        metric="accuracy",
        mode="max",
    )
    trials = sweep.grid(jopt.adamw, learning_rate=[1e-3, 3e-3, 1e-2])
    result = sweep.run(task, trials, steps=120, segments=4)
    print(result.best)
    (said,) = result.predict(valid[0][0][None])
    print(f"{valid.files[0][0].name} is a {train.classes[int(said)]}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as own:
        if len(sys.argv) == 1:
            write_digits(Path(own))
        main(Path(sys.argv[1] if len(sys.argv) > 1 else own))
