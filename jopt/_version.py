"""The version of jopt, also where jopt runs from a checkout."""

__version__ = "0.2.0"
