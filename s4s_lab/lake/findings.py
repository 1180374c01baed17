"""What a check of the dataset found: part by part how much was looked at, and what is wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

_TOLD = 20


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it should be.

    Parameters
    ----------
    part : str
        Of the dataset.
    where : str
        The file or folder, relative to the dataset.
    what : str
        What is wrong with it.
    todo : str
        What to do next.
    repaired : bool
        Whether it was put right.
    done : str
        What was done to put it right.
    """

    part: str
    where: str
    what: str
    todo: str
    repaired: bool = False
    done: str = ""

    def __str__(self) -> str:
        if self.repaired:
            return f"repaired: {self.where}: {self.what} {self.done}".rstrip()
        return f"{self.where}: {self.what} {self.todo}".rstrip()


@dataclass(frozen=True)
class Check:
    """What was looked at in one part of the dataset.

    Parameters
    ----------
    part : str
        Which part.
    checked : int
        How many.
    unit : str
        Of what.
    notes : tuple of str
        What is worth knowing and not wrong.
    """

    part: str
    checked: int
    unit: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class VerifyReport:
    """What `verify` looked at and what it found.

    Parameters
    ----------
    checks : tuple of Check
        Part by part.
    problems : tuple of Problem
        What is, or was, wrong.
    """

    checks: tuple[Check, ...]
    problems: tuple[Problem, ...]

    @property
    def outcome(self) -> Literal["done", "failed"]:
        """`done` when nothing is wrong, or everything that was has been repaired; else `failed`."""
        return "done" if all(problem.repaired for problem in self.problems) else "failed"

    @property
    def found(self) -> pd.DataFrame:
        """What is wrong: one row a problem, columns part, where, what, todo, repaired."""
        names = ["part", "where", "what", "todo"]
        frame = pd.DataFrame({name: _texts(getattr(one, name) for one in self.problems) for name in names})
        frame["repaired"] = pd.array([one.repaired for one in self.problems], dtype="bool[pyarrow]")
        return frame

    def table(self) -> pd.DataFrame:
        """Return one row a part: how much was checked, of what, how much is wrong, how much was repaired."""
        parts = [check.part for check in self.checks]
        columns = {
            "checked": [check.checked for check in self.checks],
            "of": [check.unit for check in self.checks],
            "wrong": [sum(not one.repaired for one in self.problems if one.part == part) for part in parts],
            "repaired": [sum(one.repaired for one in self.problems if one.part == part) for part in parts],
        }
        return pd.DataFrame(columns, index=pd.Index(parts, name="part", dtype="string[pyarrow]"))

    def to_json(self) -> dict[str, Any]:
        """Return the machine-readable form that `s4s verify --json` promises."""
        checks = {
            check.part: {"checked": check.checked, "of": check.unit, "notes": list(check.notes)}
            for check in self.checks
        }
        return {"outcome": self.outcome, "checks": checks, "problems": [vars(one) for one in self.problems]}

    def lines(self) -> list[str]:
        """Return the problems and notes as sentences; of very many problems the first ones."""
        told = [str(one) for one in self.problems[:_TOLD]]
        more = [f"and {len(self.problems) - _TOLD} more: .found lists them"] if len(self.problems) > _TOLD else []
        return told + more + [f"note: {text}" for check in self.checks for text in check.notes]

    def __repr__(self) -> str:
        return "\n".join([f"VerifyReport: {self.outcome}", self.table().to_string(), *self.lines()])


def _texts(values: Iterable[str]) -> Any:
    return pd.array(list(values), dtype="string[pyarrow]")
