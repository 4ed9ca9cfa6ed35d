"""Promises of examples/image_folder.py: what a folder must hold, said in a sentence."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLE = Path(__file__).parents[2] / "examples" / "image_folder.py"
Images = runpy.run_path(str(EXAMPLE))["Images"]


@pytest.fixture
def folder(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number, gray in enumerate((0, 255)):
            pixels = np.full((3, 2), gray, np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    return tmp_path


def test_a_folder_gives_pixels_and_the_class_of_each(folder):
    images = Images(folder)
    assert images.classes == ["cat", "dog"]
    assert [int(images[at][1]) for at in range(len(images))] == [0, 0, 1, 1]
    np.testing.assert_array_equal(images[3][0], np.ones((3, 2, 1), np.float32))


def test_what_does_not_fit_is_said(folder, tmp_path):
    with pytest.raises(ValueError, match="must have folders of PNG images"):
        Images(folder / "cat")
    with pytest.raises(ValueError, match="has the class dog, unknown in training"):
        Images(folder, classes=["cat"])
    (folder / "eel").mkdir()
    with pytest.raises(ValueError, match="has no image of eel"):
        Images(folder)
    (folder / "eel").rmdir()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / "dog" / "2.png")
    with pytest.raises(ValueError, match=r"2.png must have the size .* got \(4, 4\)"):
        Images(folder)[4]
