"""A block that was picked by timing is remembered for the same program."""

import json

import pytest
import toy

import jopt
from jopt import sweep
from jopt.sweep import remembering
from jopt.sweep.engine import _remembered_blocks as remembered_blocks


def run(trials=4, **options):
    rates = [0.1 / (1 + n) for n in range(trials)]
    options = {"steps": 4, "segments": 1, **options}
    return sweep.run(
        toy.task(), sweep.grid(jopt.sgd, learning_rate=rates), **options
    ).info


def was_remembered(info):
    (search,) = info["block_search"]
    return search.get("remembered", False)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A directory where the block of a sweep is remembered, set to 2."""
    directory = tmp_path_factory.mktemp("blocks")
    with remembering(directory):
        assert not was_remembered(run())
    (file,) = directory.iterdir()
    held = json.loads(file.read_text())
    assert held.keys() == {"form", "block", "scanned"}
    file.write_text(json.dumps({**held, "block": 2}))
    return file


@pytest.fixture
def file(kept):
    text = kept.read_text()
    yield kept
    kept.write_text(text)


def test_a_remembered_block_is_taken_and_can_be_searched_again(file):
    with remembering(file.parent):
        info = run()
    assert was_remembered(info)
    assert info["block"] == [2]

    sweep.clear_programs()
    with remembering(file.parent, anew=True):
        assert not was_remembered(run())
    assert len(list(file.parent.iterdir())) == 1


def test_a_block_that_the_user_gives_is_taken(file):
    with remembering(file.parent):
        assert run(block=1)["block"] == [1]


def test_without_a_place_nothing_is_remembered(file):
    assert not was_remembered(run())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1]",
        '{"form": 1, "block": 2}',
        '{"form": 0, "block": 2, "scanned": true}',
        '{"form": 1, "block": 0, "scanned": true}',
        '{"form": 1, "block": 9, "scanned": true}',
        '{"form": 1, "block": true, "scanned": true}',
        '{"form": 1, "block": 2, "scanned": 1}',
    ],
)
def test_a_damaged_file_is_ignored(file, text):
    memory = remembered_blocks.Memory(file.parent, anew=False)
    assert memory.recall(file.stem, most=4) == (2, True)
    file.write_text(text)
    assert memory.recall(file.stem, most=4) is None


@pytest.mark.parametrize(
    "changed", [{"trials": 3}, {"steps": 5}, {"batch_size": 8}, "jopt", "jax"], ids=str
)
def test_another_program_or_version_is_another_block(file, monkeypatch, changed):
    if changed == "jopt":
        monkeypatch.setattr(remembered_blocks, "__version__", "0.0")
    elif changed == "jax":
        metadata = remembered_blocks.importlib.metadata
        monkeypatch.setattr(metadata, "version", lambda name: "0.0")
    options = changed if isinstance(changed, dict) else {}
    with remembering(file.parent):
        assert name_of_run(**options) != file.stem
        monkeypatch.undo()
        assert name_of_run() == file.stem


def name_of_run(**options):
    """The name under which the block of such a run is looked for."""
    asked = []

    class Asked(Exception):
        pass

    def recall(self, name, most):
        asked.append(name)
        raise Asked

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remembered_blocks.Memory, "recall", recall)
        with pytest.raises(Asked):
            run(**options)
    return asked[0]


def test_what_cannot_be_written_is_a_warning(tmp_path):
    (tmp_path / "blocks").write_text("a file")
    with (
        remembering(tmp_path / "blocks"),
        pytest.warns(UserWarning, match="The block that was picked is not remembered"),
    ):
        assert not was_remembered(run())
