"""The command keeps compiled programs and picked blocks; a library call does not."""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from jopt.cli import cache, main
from jopt.sweep import user_caches
from jopt.sweep.engine._remembered_blocks import memory

NAMES = ("jax_compilation_cache_dir", "jax_enable_compilation_cache", *cache.OURS)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A user's cache directory; JAX has none of its own, and gets its own back."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in cache.OURS:
        monkeypatch.delenv(name.upper(), raising=False)
    before = {name: setting(name) for name in NAMES}
    jax.config.update("jax_compilation_cache_dir", None)
    yield tmp_path
    for name, value in before.items():
        jax.config.update(name, value)


def setting(name):
    return getattr(jax.config, name)


def options(no_cache=False, search_block=False):
    return argparse.Namespace(no_cache=no_cache, search_block=search_block)


def test_programs_and_blocks_are_kept_in_a_folder_of_the_machine_and_versions(home):
    with cache.used(options(search_block=True)):
        held = memory()
    assert held is not None
    folder = cache.folder()
    assert folder.parent == home / "jopt"
    assert f"jax-{jax.__version__}-jaxlib-" in folder.name
    assert setting("jax_compilation_cache_dir") == str(folder / "programs")
    assert setting("jax_compilation_cache_max_size") == cache.SIZE
    assert held == (folder / "blocks", True)
    assert memory() is None


def test_a_cache_of_the_users_stands(home):
    jax.config.update("jax_compilation_cache_dir", str(home / "theirs"))
    with cache.used(options()):
        assert memory() is None
    assert setting("jax_compilation_cache_dir") == str(home / "theirs")
    assert list(home.iterdir()) == []


def test_an_option_of_the_users_stands(home, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_MAX_SIZE", "1000")
    before = setting("jax_compilation_cache_max_size")
    with cache.used(options()):
        assert setting("jax_compilation_cache_max_size") == before


def test_no_cache_turns_all_of_it_off(home):
    with cache.used(options(no_cache=True)):
        assert memory() is None
        assert not setting("jax_enable_compilation_cache")
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("arguments", [["report", "nowhere"], ["lr-find", "nowhere"]])
def test_only_what_trains_has_a_cache(home, arguments, capsys):
    assert main(arguments) == 2
    made = [path.name for path in home.iterdir()]
    assert made == (["jopt"] if arguments[0] == "lr-find" else [])


def test_a_directory_that_cannot_be_written_is_a_warning(home, monkeypatch):
    (home / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "file"))
    message = "Compiled programs are not kept for the next time: .* or give --no-cache"
    with pytest.warns(UserWarning, match=message), cache.used(options()):
        assert memory() is None
    assert setting("jax_compilation_cache_dir") is None


@pytest.mark.parametrize(
    ("system", "variables", "expected"),
    [
        ("linux", {}, "HOME/.cache"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "HOME/.cache"),
        ("linux", {"XDG_CACHE_HOME": "/var/mine"}, "/var/mine"),
        ("darwin", {}, "HOME/Library/Caches"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local"),
        ("win32", {}, "HOME/AppData/Local"),
    ],
)
def test_each_platform_has_its_folder(
    monkeypatch, tmp_path, system, variables, expected
):
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert user_caches() == Path(expected.replace("HOME", str(tmp_path)))


def test_another_feature_of_the_cpu_is_another_folder(tmp_path):
    info = tmp_path / "cpuinfo"
    core = "processor : {}\nmodel name : Some CPU\nflags : sse4_2 avx2{}\n"
    found = []
    for cores, more in ((1, ""), (4, ""), (1, " avx512f")):
        info.write_text("".join(core.format(n, more) for n in range(cores)))
        found.append(cache.cpu(info))
    assert found[0] == found[1] != found[2]
    assert re.fullmatch(r"[\w-]+", found[0])


@pytest.mark.slow("what is set for JAX is tested in one process")
def test_a_second_sweep_compiles_little_and_searches_no_block(tmp_path):
    pytest.importorskip("filelock")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    environment |= {"XDG_CACHE_HOME": str(tmp_path), "MPLCONFIGDIR": str(tmp_path)}

    def run(name, *more):
        script = f"""
import json, sys
import jax
from jax import monitoring
from jopt.cli import main
hits = []
monitoring.register_event_listener(
    lambda name, **_: hits.append(name) if name.endswith("cache_hits") else None)
words = "sweep --learning-rate 1e-3:1e-2:4 --steps 20 --out".split()
status = main([*words, {str(tmp_path / name)!r}, *{more!r}])
search = json.load(open({str(tmp_path / name)!r} + "/sweep.json"))["block_search"]
print("FOUND", status, len(hits), search[0].get("remembered", False))
"""
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.rpartition("FOUND")[2].split()

    assert run("first") == ["0", "0", "False"]
    status, hits, remembered = run("second")
    assert (status, remembered) == ("0", "True")
    assert int(hits) > 0
    assert run("third", "--no-cache") == ["0", "0", "False"]


@pytest.mark.slow("a library call has no code that sets it")
def test_a_library_call_sets_no_cache(tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    script = """
import jax, numpy as np, jopt
from jopt import sweep
from jopt.tasks import digits
trials = sweep.grid(jopt.sgd, learning_rate=[0.1])
sweep.run(digits(), trials, steps=2, block=1, segments=1)
print(jax.config.jax_compilation_cache_dir)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment | {"XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-1] == "None"
    assert list(tmp_path.iterdir()) == []
