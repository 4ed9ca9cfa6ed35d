"""Read what a figure draws from its specification."""

import json


def parts(chart):
    """Every dict inside a chart's specification."""

    def walk(part):
        if isinstance(part, dict):
            yield part
        for held in part.values() if isinstance(part, dict) else part:
            if isinstance(held, (dict, list)):
                yield from walk(held)

    return list(walk(chart.to_dict()))


def rows(chart, *names):
    """The rows of all data that have these fields."""
    held = [json.loads(text) for text in chart.to_dict()["datasets"].values()]
    return [row for each in held for row in each if set(names) <= set(row)]


def encodings(chart, channel):
    """What the layers of a chart encode in a channel."""
    return [
        p["encoding"][channel] for p in parts(chart) if channel in p.get("encoding", {})
    ]


def title(chart, channel):
    """The title of an axis."""
    (found,) = {held["title"] for held in encodings(chart, channel) if "title" in held}
    return found


def legend(chart):
    """The names in the legend of the colours."""
    scales = [held.get("scale", {}) for held in encodings(chart, "color")]
    return [name for scale in scales for name in scale.get("domain", ())]


def marks(chart):
    """The kinds of marks that a chart has."""
    held = [part["mark"] for part in parts(chart) if "mark" in part]
    return [mark if isinstance(mark, str) else mark["type"] for mark in held]
