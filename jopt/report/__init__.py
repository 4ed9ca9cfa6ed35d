"""Reports on a sweep for people: pictures, tables, and one self-contained page."""

from jopt.report._ahead import drawing_ahead as drawing_ahead
from jopt.report._learning import (
    LearningCurves as LearningCurves,
    learning_curves as learning_curves,
)
from jopt.report._page import page, write
from jopt.report._record import Record
from jopt.report._save import overview as overview, save as save
from jopt.report._sentences import (
    CONVOLVES as CONVOLVES,
    at_end as at_end,
    no_winner as no_winner,
    remarks as remarks,
    shown_seconds as shown_seconds,
)
from jopt.report._series import thinned as thinned

__all__ = ["Record", "page", "write"]
