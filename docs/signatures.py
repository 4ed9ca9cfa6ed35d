"""What the reference shows of a class that its syntax alone does not say.

mkdocstrings reads jopt without importing it. A class made by `@pytree` has its
parameters from its fields, and a named tuple explains its fields in comments; this
extension of griffe (mkdocs.yml names it) adds both.
"""

import inspect
import re
from typing import Any

import griffe
from public_names import public_names, rooms


class Signatures(griffe.Extension):
    """Add the parameters of classes, and comments as the text of fields."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Complete the public classes of jopt (griffe calls this)."""
        for room in rooms().values():
            for name in public_names(room):
                value = getattr(room, name)
                if inspect.isclass(value) and value.__name__ == name:
                    shown = pkg[f"{room.__name__}.{name}".removeprefix("jopt.")]
                    complete(shown.final_target if shown.is_alias else shown, value)


def complete(shown: griffe.Class, cls: type) -> None:
    """Give griffe's class the parameters and the texts of its fields."""
    found = re.findall(r"^    (\w+):[^#\n]*# *(.+)", "\n".join(shown.lines), re.M)
    fields = [f"  {name}: {text}" for name, text in found if name in shown.members]
    if fields and shown.docstring:
        text = "\n".join([inspect.cleandoc(shown.docstring.value), "", "Attributes:"])
        text = "\n".join([text, *fields])
        shown.docstring = griffe.Docstring(text, parent=shown, **_options(shown))
    if "__init__" not in shown.members:
        parameters = griffe.Parameters(
            griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword),
            *(
                griffe.Parameter(
                    p.name,
                    kind=griffe.ParameterKind[p.kind.name.lower()],
                    annotation=_annotation(shown, p.name),
                    default=None if p.default is p.empty else repr(p.default),
                )
                for p in inspect.signature(cls).parameters.values()
            ),
        )
        init = griffe.Function("__init__", parameters=parameters)
        init.lineno, init.endlineno = shown.lineno, shown.lineno
        shown.set_member("__init__", init)


def _options(shown: griffe.Class) -> dict[str, Any]:
    held = shown.docstring
    return {} if held is None else {"lineno": held.lineno, "endlineno": held.endlineno}


def _annotation(shown: griffe.Class, name: str) -> Any:
    member = shown.all_members.get(name)
    return getattr(member, "annotation", None) or "Any"
