"""A sweep for people: pictures, tables, and one self-contained page."""

from jopt.report._files import save as save
from jopt.report._live import LivePlot
from jopt.report._page import page, write
from jopt.report._plots import overview as overview
from jopt.report._record import Record
from jopt.report._thinning import thinned as thinned

__all__ = ["LivePlot", "Record", "page", "write"]
