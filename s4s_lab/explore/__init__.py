"""Dataset in; DataFrames, plots and exports out. Everything here works with the network unplugged."""

from s4s_lab.explore.exporting import export
from s4s_lab.explore.plots import montage, timeline
from s4s_lab.explore.selecting import having
from s4s_lab.explore.tabulating import tabulate, tabulate_many

__all__ = ["export", "having", "montage", "tabulate", "tabulate_many", "timeline"]
