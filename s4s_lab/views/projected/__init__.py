"""The fast back end: structs that hold only what views read, columns read for many resources at once.

It reads what is as FHIR has it; every other resource, and every view beyond it, goes to the general back end.
"""

from __future__ import annotations

from s4s_lab.views.projected.running import Tabulator

__all__ = ["Tabulator"]
