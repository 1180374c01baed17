"""Verbs that drive the whole chain: pull the record, fetch the images."""

from s4s_lab.sync.fetching import fetch
from s4s_lab.sync.pulling import pull
from s4s_lab.sync.reports import FetchReport, PullReport, StudyFetch, TypePull

__all__ = ["FetchReport", "PullReport", "StudyFetch", "TypePull", "fetch", "pull"]
