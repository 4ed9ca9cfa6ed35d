"""What has changed between two fingerprints of a sweep, in sentences."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

# Where these agree, a function that traces to something else is another function.
TRACING = ("python", "jopt", "jax", "jaxlib", "flax", "optax")


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each change that makes the numbers of a sweep others.

    then, now: of `fingerprint.of`. Empty if a resumed sweep is what it would have been.
    """
    versions = then["surroundings"]["versions"], now["surroundings"]["versions"]
    traced = all(versions[0].get(n) == versions[1].get(n) for n in TRACING)
    said = [*_tasks(then, now, traced), *_space(then["trials"], now["trials"])]
    said = said or list(_trials(then["trials"], now["trials"], traced))
    return [*said, *_changes(then["options"], now["options"])]


def surroundings_differences(
    then: Mapping[str, Any], now: Mapping[str, Any]
) -> list[str]:
    """Return a sentence for each change of what a sweep runs on.

    With them a resumed sweep may differ from what it would have been in the last bits.
    """
    before, after = then["surroundings"], now["surroundings"]
    said: list[str] = []
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            title = "" if name == "versions" else f"{name} "
            said += _changes(old, new, title)
        else:
            said += _changes({name: old}, {name: new})
    return said


def _tasks(
    then: Mapping[str, Any], now: Mapping[str, Any], traced: bool
) -> Iterator[str]:
    before = [then["task"], *then["own_tasks"]]
    after = [now["task"], *now["own_tasks"]]
    if len(before) != len(after):
        old, new = len(before) - 1, len(after) - 1
        yield f"trials: they had {old} tasks of their own, now {new}."
    for old, new in zip(before, after, strict=False):
        title = f"task {new['name']}"
        yield from _changes({"task": old["name"]}, {"task": new["name"]})
        limit = "diverged_above"
        yield from _changes({limit: old[limit]}, {limit: new[limit]}, title + ": ")
        for split, data in new["data"].items():
            yield from _data(old["data"].get(split), data, f"{title}: {split}")
        for part in ("params", "model_state"):
            yield from _changes(old[part], new[part], f"{title}: {part}")
        for name, code in new["code"].items():
            if traced and old["code"].get(name) != code:
                yield f"{title}: {name} is another function."


def _data(old: Any, new: Any, title: str) -> Iterator[str]:
    if old is None or new is None:
        if old is not new:
            yield f"{title} is {'new' if old is None else 'missing'}."
        return
    shapes = list(_changes(old["arrays"], new["arrays"], title))
    if not shapes and old["sha256"] != new["sha256"]:
        yield f"{title} has the same shapes, but other numbers."
    yield from shapes


def _space(then: list[Any], now: list[Any]) -> Iterator[str]:
    before, after = _columns(then), _columns(now)
    for name in dict.fromkeys([*before, *after]):
        if name not in before or name not in after:
            yield f"space: {name} is {'new' if name in after else 'missing'}."
            continue
        old, new = before[name], after[name]
        gone, come = [v for v in old if v not in new], [v for v in new if v not in old]
        if len(old) != len(new):
            yield f"space: {name} had {len(old)} values, now {len(new)}."
        elif gone and old[gone[0]] == new[come[0]]:
            yield f"space: {name} had another value that is written {old[gone[0]]}."
        elif gone:
            yield f"space: {name} had the value {old[gone[0]]}, now {new[come[0]]}."


def _columns(trials: list[Any]) -> dict[str, dict[str, str]]:
    """The values of each hyperparameter, in full, and in words."""
    columns: dict[str, dict[str, str]] = {}
    for trial in trials:
        row = {**trial["setting"], "seed": trial["seed"], "fold": trial["fold"]}
        for name, value in row.items():
            columns.setdefault(name, {}).setdefault(_full(value), words(value))
    return columns


def _trials(then: list[Any], now: list[Any], traced: bool) -> Iterator[str]:
    """The first trial that changed, where the values that trials take have not."""
    if len(then) != len(now):
        yield f"trials: there were {len(then)}, now {len(now)}."
        return
    made = "transformation"
    for number, (old, new) in enumerate(zip(then, now, strict=True)):
        old_row = {name: value for name, value in old.items() if name != made}
        new_row = {name: value for name, value in new.items() if name != made}
        if not _same(old_row, new_row):
            yield f"trial {number} was {words(old_row)}, now {words(new_row)}."
            return
        if traced and old[made] != new[made]:
            yield (
                f"trial {number}: the same setting, {words(old['setting'])}, makes "
                "another transformation."
            )
            return


def _changes(
    then: Mapping[str, Any], now: Mapping[str, Any], title: str = ""
) -> Iterator[str]:
    """A sentence for each name that differs; `title` goes before the name."""
    for name in dict.fromkeys([*then, *now]):
        if name not in then or name not in now:
            known = "new" if name in now else "missing"
            yield f"{title}{name} is {known}."
        elif not _same(then[name], now[name]):
            old, new = words(then[name]), words(now[name])
            yield f"{title}{name} was {old}, now {new}."


def _same(old: Any, new: Any) -> bool:
    return _full(old) == _full(new)


def _full(value: Any) -> str:
    """What is compared of a value: not how it prints, where there is a digest."""
    if isinstance(value, dict):
        shown = "$repr" if "digest" in value else None
        items = sorted(value.items())
        return f"{{{', '.join(f'{k}: {_full(v)}' for k, v in items if k != shown)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_full, value))}]"
    return json.dumps(value)


def words(value: Any) -> str:
    """Return what `object_names.to_json` made as a person would write it."""
    if isinstance(value, list):
        return f"[{', '.join(map(words, value))}]"
    if not isinstance(value, dict):
        return repr(value)
    if "$repr" in value or "$object" in value:
        return str(value.get("$repr") or value["$object"])
    if "$numpy" in value:
        return f"{value['$numpy']}({value['value']})"
    if "$tuple" in value:
        return f"({', '.join(map(words, value['$tuple']))})"
    call = value.get("$dataclass", "").partition(":")[2]
    inside = value.get("fields", value)
    fields = ", ".join(f"{name}={words(item)}" for name, item in inside.items())
    return f"{call}({fields})" if call else f"{{{fields}}}"
