"""Records in, pages out. Never runs a model and never imports one."""

from engine.report.markdown import tabulate
from engine.report.render import render, write_report

__all__ = ["render", "tabulate", "write_report"]
