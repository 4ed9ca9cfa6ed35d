"""The public names of jopt by room, and the pages of the site that are made of them.

MkDocs calls the functions whose names begin with `on_`, because mkdocs.yml names this
file; the tests read the names. A room that is added, or a name in its `__all__`, needs
no change here.

    python docs/public_names.py > tests/house/public_api.txt

writes the list of names and signatures that a test compares with.
"""

import functools
import importlib
import inspect
import pkgutil
import re
import sys
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import jopt

ORDER = ["core", "schedules", "transforms", "wrappers", "optimizers", "losses"]
ORDER += [
    "data",
    "training",
    "compress",
    "sweep",
    "report",
    "studies",
    "tasks",
    "interop",
]


def rooms() -> dict[str, ModuleType]:
    """Return the rooms by name: the packages in jopt, but for the command."""
    found = {m.name for m in pkgutil.iter_modules(jopt.__path__) if m.ispkg} - {"cli"}
    names = [name for name in ORDER if name in found] + sorted(found - {*ORDER})
    return {name: importlib.import_module(f"jopt.{name}") for name in names}


def public_names(room: ModuleType) -> list[str]:
    """Return the names of `__all__`, and those that the room finds when first used.

    A room without `__all__` shares its names with optax: its own are those that are
    defined in it.
    """
    listed = getattr(room, "__all__", None)
    open_names = {name for name in dir(room) if not name.startswith("_")}
    others = open_names - set(vars(room)) if listed is not None else open_names
    own = {name for name in others if _place(getattr(room, name)) == room.__name__}
    return sorted({*own, *(listed or ())})


def is_ours(value: Any) -> bool:
    """Return whether the value is a class or function of jopt, not a type's name."""
    made = inspect.isclass(value) or inspect.isroutine(value)
    return made and _place(value).startswith("jopt.")


def _place(value: Any) -> str:
    return ".".join(str(getattr(value, "__module__", None)).split(".")[:2])


def names_of_jopt() -> dict[str, str]:
    """Return where each name of `jopt` itself is documented: its room's name for it."""
    homes = {
        (name, id(getattr(room, name))): f"{room.__name__}.{name}"
        for room in reversed(rooms().values())
        for name in public_names(room)
    }
    found = {
        name: homes.get((name, id(value)))
        for name, value in vars(jopt).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    return {name: home for name, home in sorted(found.items()) if home}


def names_of_optax() -> list[str]:
    """Return the names of `jopt` that are optax's own objects."""
    return sorted(name for name in dir(jopt) if name not in vars(jopt))


# The list that tests/house/public_api.txt holds.


def signature(value: Any) -> str:
    """Return the parameters with their defaults, without annotations."""
    if not is_ours(value):
        return ""  # the name of a type, such as a union
    found = inspect.signature(value)
    parameters = [
        p.replace(annotation=p.empty, default=_Shown(p.default))
        if p.default is not p.empty
        else p.replace(annotation=p.empty)
        for p in found.parameters.values()
    ]
    return str(inspect.Signature(parameters))


class _Shown:
    """A default whose repr is the same in every run."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        named = inspect.isclass(self.value) or inspect.isroutine(self.value)
        text = self.value.__qualname__ if named else repr(self.value)
        return f"<{type(self.value).__name__}>" if " at 0x" in text else text


def methods(cls: type) -> dict[str, str]:
    """Return the public methods and properties that differ from those of a base."""
    found = _signatures(cls)
    bases = [_signatures(base) for base in cls.__mro__[1:]]
    return {
        name: text
        for name, text in sorted(found.items())
        if not any(base.get(name) == text for base in bases)
    }


def _signatures(cls: type) -> dict[str, str]:
    """Return the public methods and properties that jopt's own classes define."""
    found = {}
    for base in cls.__mro__:
        if str(base.__module__).startswith("jopt"):
            for name, value in vars(base).items():
                if isinstance(value, (property, functools.cached_property)):
                    found[name] = ""
                elif isinstance(value, (FunctionType, classmethod, staticmethod)):
                    found[name] = signature(getattr(cls, name))
    return {name: text for name, text in found.items() if not name.startswith("_")}


def public_api() -> str:
    """Return every public name with its signature, a line each, by room."""
    lines = []
    for room in rooms().values():
        lines += ["", f"{room.__name__}", ""]
        for name in public_names(room):
            value = getattr(room, name)
            lines.append(f"  {name}{signature(value)}")
            if inspect.isclass(value):
                found = methods(value).items()
                lines += [f"    .{method}{text}" for method, text in found]
    homes = names_of_jopt()
    lines += ["", "jopt", ""]
    lines += [f"  {name} = {home}" for name, home in homes.items()]
    return "\n".join(lines[1:]) + "\n"


# The reference pages.


def page(room: ModuleType) -> str:
    """Return the reference page of a room in Markdown, for mkdocstrings.

    A class and the function-like name that it is called by (`ScaleByAdam`,
    `scale_by_adam`) are one entry.
    """
    names = public_names(room)
    called = {getattr(getattr(room, n), "__name__", n): n for n in names}
    sections: dict[str, list[str]] = {
        "Functions": [],
        "Classes": [],
        "States": [],
        "Types": [],
        "Other names": [],
    }
    for name in names:
        value = getattr(room, name)
        own = getattr(value, "__name__", name)
        if not is_ours(value):
            sections["Types"].append(entry(room, name))
        elif own == name and not is_called(name, called[own]):
            is_state = issubclass(value, tuple) if inspect.isclass(value) else False
            is_state = is_state and name.endswith("State")
            kind = "Classes" if inspect.isclass(value) else "Functions"
            sections["States" if is_state else kind].append(entry(room, name))
        elif own in names and is_called(own, name):
            sections["Functions"].append(entry(room, own, also=name))
        elif own != name:
            sections["Other names"].append(another(room, name, own))
    hidden = "show_root_heading: false, show_root_toc_entry: false"
    options = f"    options: {{members: false, {hidden}}}\n"
    parts = [f"# {room.__name__}\n", f"::: {room.__name__}\n{options}"]
    for title, entries in sections.items():
        if entries:
            parts += [f"## {title}\n", *entries]
    return "\n".join(parts)


def is_called(name: str, other: str) -> bool:
    """Return whether a class of this name is called by the other, `scale_by_adam`."""
    return name[0].isupper() and other[0].islower()


def entry(room: ModuleType, name: str, also: str | None = None) -> str:
    """Return the entry of a public name; `also` is what a class is called by."""
    place = f"{room.__name__}.{name}"
    if also is None:
        return f"::: {place}\n"
    anchor = f"[](){{#{room.__name__}.{also}}}\n"
    heading = f'{{heading: "{also}, {name}", toc_label: "{also}"}}'
    return f"{anchor}\n::: {place}\n    options: {heading}\n"


def entry_places(text: str) -> set[str]:
    """Return the dotted names that a page of the reference has an entry of."""
    return {*re.findall(r"^(?:::: |\[\]\(\)\{#)([\w.]+)", text, re.M)}


def another(room: ModuleType, name: str, own: str) -> str:
    """Return a line on a name of an object that is documented under its own name."""
    value = getattr(room, name)
    homes = (r for r in rooms().values() if own in public_names(r))
    home = next(r for r in homes if getattr(r, own) is value)
    anchor = f"[](){{#{room.__name__}.{name}}}"
    return f"{anchor}\n\n`{name}` is [`{own}`][{home.__name__}.{own}].\n"


def overview() -> str:
    """Return the page of the names of `jopt` itself, with a link to each."""
    by_room: dict[str, list[str]] = {}
    for name, home in names_of_jopt().items():
        by_room.setdefault(home.rpartition(".")[0], []).append(f"[`{name}`][{home}]")
    parts = ["# Reference\n"]
    parts += ["These names are attributes of `jopt` itself. Each links to its room.\n"]
    for room in rooms().values():
        if room.__name__ in by_room:
            short = room.__name__.removeprefix("jopt.")
            parts += [f"## [{room.__name__}]({short}.md)\n"]
            parts += [", ".join(by_room[room.__name__]) + "\n"]
    parts += ["## optax's own objects\n"]
    parts += ["These names of `jopt` are the objects of optax, unchanged: see"]
    parts += ["[optax's reference](https://optax.readthedocs.io/en/latest/api/).\n"]
    parts += [", ".join(f"`{name}`" for name in names_of_optax()) + "\n"]
    return "\n".join(parts)


def on_config(config: Any) -> Any:
    """Put the reference pages into the navigation (MkDocs calls this)."""
    sys.path.append(str(Path(__file__).parent))  # signatures.py imports this file
    pages = [{room.__name__: f"reference/{name}.md"} for name, room in rooms().items()]
    for entry in config.nav:
        if "Reference" in entry:
            entry["Reference"] = [{"jopt": "reference/index.md"}, *pages]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the reference pages to the files of the site (MkDocs calls this)."""
    from mkdocs.structure.files import File

    texts = {f"reference/{name}.md": page(room) for name, room in rooms().items()}
    texts["reference/index.md"] = overview()
    changes = Path(config.config_file_path).with_name("CHANGELOG.md").read_text()
    texts["changelog.md"] = changes.replace("](docs/", "](")
    for path, text in texts.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Lead links to files outside docs/ to the repository (MkDocs calls this)."""
    return markdown.replace("](../", f"]({config.repo_url}/blob/main/")


if __name__ == "__main__":
    print(public_api(), end="")
