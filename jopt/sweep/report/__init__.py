"""A sweep as one self-contained page, built from its result or from its files."""

from jopt.sweep.report.page import page as page, save as save, write as write
from jopt.sweep.report.record import Record as Record
