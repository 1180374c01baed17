"""SMART scopes: which form to ask for, and what of it was not granted."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

_RESOURCE_SCOPE = re.compile(
    r"(?P<context>patient|user|system)/(?P<type>[A-Za-z]+|\*)\.(?P<access>read|write|\*|c?r?u?d?s?)(?P<filter>\?.*)?",
    re.ASCII,
)
_V1_ACCESS = {"read": "rs", "write": "cud", "*": "cruds"}


@dataclass(frozen=True)
class _ResourceScope:
    context: str
    resource_type: str
    access: frozenset[str]
    filter: str

    def covers(self, other: _ResourceScope, letter: str) -> bool:
        return (
            self.context == other.context
            and self.resource_type in {"*", other.resource_type}
            and letter in self.access
            and self.filter in {"", other.filter}
        )


def _parse(scope: str) -> _ResourceScope | None:
    match = _RESOURCE_SCOPE.fullmatch(scope)
    if match is None or not match["access"]:
        return None
    access = frozenset(_V1_ACCESS.get(match["access"], match["access"]))
    return _ResourceScope(match["context"], match["type"], access, match["filter"] or "")


def scope_to_ask(scope: str, capabilities: Collection[str]) -> str:
    """Return `scope` in the form that the server understands.

    The S4S form is SMART v1 (`patient/*.read`); it becomes v2 (`patient/*.rs`) only where the server declares
    `permission-v2` without `permission-v1`.

    Parameters
    ----------
    scope : str
        Space-separated scopes, as registered.
    capabilities : collection of str
        `capabilities` of the server's SMART configuration.

    References
    ----------
    SMART App Launch 2.2, "Scopes and Launch Context": v1 scopes correspond to v2 scopes.
    """
    if "permission-v2" not in capabilities or "permission-v1" in capabilities:
        return scope
    return " ".join(_to_v2(part) for part in scope.split())


def _to_v2(scope: str) -> str:
    match = _RESOURCE_SCOPE.fullmatch(scope)
    if match is None or match["access"] not in _V1_ACCESS:
        return scope
    return f"{match['context']}/{match['type']}.{_V1_ACCESS[match['access']]}{match['filter'] or ''}"


def scopes_not_granted(asked: str, granted: str) -> list[str]:
    """List the scopes that were asked for and are covered by nothing that was granted, in the order asked.

    Parameters
    ----------
    asked, granted : str
        Space-separated scopes, v1 and v2 forms mixed: `patient/*.rs` covers `patient/*.read`, and `patient/*.read`
        covers `patient/ImagingStudy.read`, not the other way round.

    References
    ----------
    SMART App Launch 2.2, "Scopes and Launch Context": a server may grant less than was asked.
    """
    had = set(granted.split())
    resource_scopes = [parsed for parsed in map(_parse, had) if parsed]
    return [scope for scope in asked.split() if scope not in had and not _covered(scope, resource_scopes)]


def scopes_in_both(first: str, second: str) -> str:
    """Return what two sets of scopes both allow: what of each is covered by the other.

    Parameters
    ----------
    first, second : str
        Space-separated scopes, v1 and v2 forms mixed.
    """
    not_in_second, not_in_first = scopes_not_granted(first, second), scopes_not_granted(second, first)
    both = " ".join(scope for scope in first.split() if scope not in not_in_second)
    narrower = [scope for scope in scopes_not_granted(second, both) if scope not in not_in_first]
    return " ".join([*both.split(), *narrower])


def _covered(scope: str, granted: list[_ResourceScope]) -> bool:
    wanted = _parse(scope)
    return wanted is not None and all(any(one.covers(wanted, letter) for one in granted) for letter in wanted.access)
