"""What an optimized GPU program launches and moves, read in its text.

A kernel is an instruction of the entry computation, or of a loop's, branch's or call's
body, that does something: a fusion, a copy, a library call. Not so parameters,
constants, tuples and what is taken out of them, bitcasts, and the second half of an
asynchronous pair. A body counts once, however often it runs.

A kernel's bytes are those of its operands and of what it returns, by their shapes. An
operand that is only sliced or gathered from counts as what is taken of it, and one that
is updated in place (a scatter's, a dynamic-update-slice's) as what is changed.
"""

import dataclasses
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

SILENT = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"),
    *("partition-id", "replica-id", "opt-barrier", "while", "conditional", "call"),
}
LOOKING = {"bitcast", "reshape", "transpose", "convert", "copy"}  # at all of it
TAKING = {"slice", "dynamic-slice", "gather"}
CHANGING = {"scatter": -1, "dynamic-update-slice": 1}  # the operand put in


@dataclasses.dataclass
class Instruction:
    """One line of a computation."""

    name: str
    shape: str  # with the layout; a tuple's in brackets
    operation: str
    arguments: str  # in brackets
    rest: str  # attributes
    root: bool

    @property
    def operands(self) -> list[str]:
        """The instructions whose results it takes, by name."""
        return re.findall(r"%([\w.\-]+)", self.arguments)

    @property
    def bytes(self) -> int:
        """Bytes of what it returns."""
        return bytes_of(self.shape)

    @property
    def called(self) -> list[str]:
        """The computations that it calls, by name."""
        return re.findall(
            r"(?:calls|body|to_apply|_computation)=%?([\w.\-]+)", self.rest
        )


Computation = dict[str, Instruction]
Program = dict[str, Computation]


class Kernel(NamedTuple):
    """A launch: what it is, what it does and what it moves."""

    name: str
    kind: str  # product, fusion, copy, memset or call
    bytes: int
    source: str  # the operation of JAX that it comes from


def kernels(text: str) -> list[Kernel]:
    """Return the kernels of an optimized program, in the order of its schedule."""
    program, entry = computations(text)
    return list(kernels_in(program, entry))


def computations(text: str) -> tuple[Program, str]:
    """Return the computations of an optimized program by name, and the entry's name."""
    program: Program = {}
    entry, inside = "", None
    for line in re.sub(r"/\*.*?\*/", "", text).splitlines():
        if head := re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{$", line):
            inside = program[head[2]] = {}
            entry = head[2] if head[1] else entry
        elif line.startswith("}"):
            inside = None
        elif inside is not None and (found := _instruction(line)):
            inside[found.name] = found
    return program, entry


def bytes_of(shape: str) -> int:
    """Return the bytes of a shape: 8 of `f32[2]{0}`, of a tuple's arrays together."""
    return sum(
        math.prod(map(int, filter(None, sizes.split(",")))) * _width(dtype)
        for dtype, sizes in re.findall(r"([a-z]\w*)\[([\d,]*)\]", shape)
    )


def _width(dtype: str) -> int:
    bits = re.match(r"[a-z]+(\d+)", dtype)  # pred has none, a token nothing
    return {"token": 0}.get(dtype, max(int(bits[1]) // 8, 1) if bits else 1)


def _instruction(line: str) -> Instruction | None:
    head = re.match(r"\s+(ROOT )?%?([\w.\-]+) = ", line)
    if not head:
        return None
    shape_ends = _closing(line, head.end()) if line[head.end()] == "(" else head.end()
    shape_ends = line.index(" ", shape_ends)
    begins = line.index("(", shape_ends)
    ends = _closing(line, begins)
    return Instruction(
        name=head[2],
        shape=line[head.end() : shape_ends],
        operation=line[shape_ends:begins].strip(),
        arguments=line[begins : ends + 1],
        rest=line[ends + 1 :],
        root=bool(head[1]),
    )


def _closing(line: str, begins: int) -> int:
    depth = 0
    for place in range(begins, len(line)):
        depth += {"(": 1, ")": -1}.get(line[place], 0)
        if depth == 0:
            return place
    raise ValueError(f"No bracket closes in: {line}")


def kernels_in(program: Program, name: str) -> Iterator[Kernel]:
    """Yield the kernels of a computation, and of the bodies that it runs."""
    for each in program[name].values():
        if each.operation in ("while", "conditional", "call"):
            for body in each.called:
                yield from kernels_in(program, body)
        elif each.operation not in SILENT and not each.operation.endswith("-done"):
            source = re.search(r'op_name="([^"]*)"', each.rest)
            moved = _moved(program, program[name], each)
            kind = _kind(program, each)
            yield Kernel(each.name, kind, moved, source[1] if source else "")


def _kind(program: Program, each: Instruction) -> str:
    inside = {i.operation for i in _inside(program, each)}
    work = inside - {"parameter", "constant", "bitcast", "tuple"}
    if "dot" in inside or re.search(r"gemm|cublas|matmul", each.rest):
        return "product"
    if each.operation.startswith("copy") or work == {"copy"}:
        return "copy"
    if work == {"broadcast"} and "parameter" not in inside:
        return "memset"
    return "fusion" if each.operation == "fusion" else "call"


def _inside(program: Program, each: Instruction) -> Iterator[Instruction]:
    for name in each.called if each.operation == "fusion" else ():
        for inner in program[name].values():
            yield inner
            yield from _inside(program, inner)


def _moved(program: Program, around: Computation, each: Instruction) -> int:
    """Return the bytes that a kernel reads and writes."""
    if each.operation != "fusion":
        return each.bytes + sum(around[name].bytes for name in each.operands)
    body = program[each.called[0]]
    given = range(len(each.operands))
    return _written(body, _root(body)) + sum(_read(program, body, i) for i in given)


def _read(program: Program, body: Computation, number: int) -> int:
    """Return the bytes that a fusion's body reads of what it is given."""
    given = next(
        i
        for i in body.values()
        if i.operation == "parameter" and i.arguments == f"({number})"
    )
    return min(given.bytes, _looked_at(program, body, given))


def _looked_at(program: Program, body: Computation, given: Instruction) -> int:
    found = 0
    for user in body.values():
        for place in (i for i, name in enumerate(user.operands) if name == given.name):
            if user.operation in TAKING and place == 0:
                found += user.bytes
            elif user.operation in CHANGING and place == 0:
                found += user.operation == "scatter" and _changed(body, user)
            elif user.operation in LOOKING:
                found += _looked_at(program, body, user)
            elif user.operation == "fusion":
                found += _read(program, program[user.called[0]], place)
            else:
                found += given.bytes
    return found


def _written(body: Computation, result: Instruction) -> int:
    if result.operation == "tuple":
        return sum(_written(body, body[name]) for name in result.operands)
    if result.operation == "bitcast":
        return _written(body, body[result.operands[0]])
    return _changed(body, result) if result.operation in CHANGING else result.bytes


def _changed(body: Computation, update: Instruction) -> int:
    return body[update.operands[CHANGING[update.operation]]].bytes


def _root(body: Computation) -> Instruction:
    return next(i for i in body.values() if i.root)
