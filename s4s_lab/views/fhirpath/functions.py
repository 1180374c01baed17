"""The functions of FHIRPath and of SQL on FHIR that views may call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from s4s_lab.views.fhirpath.moments import boundary
from s4s_lab.views.fhirpath.selecting import children
from s4s_lab.views.fhirpath.values import number, number_boundary, single, truth
from s4s_lab.views.issues import Unplaced, shown


class _Scope(Protocol):
    """What functions read of `closures.Scope`."""

    @property
    def resource_key(self) -> str | None: ...

    @property
    def full_urls(self) -> Mapping[str, str]: ...


_Evaluator = Callable[[list[Any], Any], list[Any]]
_Builder = Callable[[_Evaluator, list[_Evaluator], str | None], _Evaluator]


@dataclass(frozen=True)
class Function:
    """A function of the language: how many arguments it takes, and how a call to it is built.

    Parameters
    ----------
    fewest, most : int
        Number of arguments.
    build : Callable
        `(base, arguments, FHIR type of the base when known) → closure`.
    """

    fewest: int
    most: int
    build: _Builder


def _where(base: _Evaluator, arguments: list[_Evaluator], _fhir_type: str | None) -> _Evaluator:
    (criteria,) = arguments

    def evaluate(focus: list[Any], scope: Any) -> list[Any]:
        return [item for item in base(focus, scope) if truth(criteria([item], scope), "where()") is True]

    return evaluate


def _exists(base: _Evaluator, arguments: list[_Evaluator], fhir_type: str | None) -> _Evaluator:
    found = _where(base, arguments, fhir_type) if arguments else base
    return lambda focus, scope: [bool(found(focus, scope))]


def _empty(base: _Evaluator, _arguments: list[_Evaluator], _fhir_type: str | None) -> _Evaluator:
    return lambda focus, scope: [not base(focus, scope)]


def _first(base: _Evaluator, _arguments: list[_Evaluator], _fhir_type: str | None) -> _Evaluator:
    return lambda focus, scope: base(focus, scope)[:1]


def _not(base: _Evaluator, _arguments: list[_Evaluator], _fhir_type: str | None) -> _Evaluator:
    def evaluate(focus: list[Any], scope: Any) -> list[Any]:
        value = truth(base(focus, scope), "not()")
        return [] if value is None else [not value]

    return evaluate


def _extension(base: _Evaluator, arguments: list[_Evaluator], _fhir_type: str | None) -> _Evaluator:
    (address,) = arguments

    def evaluate(focus: list[Any], scope: Any) -> list[Any]:
        url = single(address(focus, scope), "extension()")
        found = children(base(focus, scope), "extension", tolerant=False)
        return [one for one in found if isinstance(one, dict) and one.get("url") == url]

    return evaluate


def _starts_with(base: _Evaluator, arguments: list[_Evaluator], _fhir_type: str | None) -> _Evaluator:
    (prefix,) = arguments

    def evaluate(focus: list[Any], scope: Any) -> list[Any]:
        text = single(base(focus, scope), "startsWith()")
        start = single(prefix(focus, scope), "startsWith()")
        return [text.startswith(start)] if isinstance(text, str) and isinstance(start, str) else []

    return evaluate


def _join(base: _Evaluator, arguments: list[_Evaluator], _fhir_type: str | None) -> _Evaluator:
    def evaluate(focus: list[Any], scope: Any) -> list[Any]:
        separator = single(arguments[0](focus, scope), "join()") if arguments else ""
        texts = [item for item in base(focus, scope) if isinstance(item, str)]
        return [(separator if isinstance(separator, str) else "").join(texts)]

    return evaluate


def _boundary(*, high: bool) -> _Builder:
    def build(base: _Evaluator, _arguments: list[_Evaluator], fhir_type: str | None) -> _Evaluator:
        def evaluate(focus: list[Any], scope: Any) -> list[Any]:
            value = single(base(focus, scope), "A boundary")
            if isinstance(value, str):
                found = boundary(value, high=high, fhir_type=fhir_type)
                return [] if found is None else [found]
            exact = number(value)
            return [] if exact is None else [number_boundary(exact, high=high)]

        return evaluate

    return build


def _resource_key(_items: list[Any], scope: _Scope, _wanted: str | None, _tolerant: bool) -> list[Any]:
    return [] if scope.resource_key is None else [scope.resource_key]


def reference_target(reference: str) -> tuple[str, str] | None:
    """Split a reference to a resource into type and id; None for contained, logical and other references.

    Parameters
    ----------
    reference : str
        `Type/id`, relative or absolute, with or without a version.

    References
    ----------
    FHIR, "References between resources": literal references.
    """
    steps = reference.partition("|")[0].partition("#")[0].split("/")
    if len(steps) > 3 and steps[-2] == "_history":
        steps = steps[:-2]
    if len(steps) < 2 or not steps[-1] or not steps[-2].isalpha() or not steps[-2][0].isupper():
        return None
    return steps[-2], steps[-1]


def _reference_key(items: list[Any], scope: _Scope, wanted: str | None, tolerant: bool) -> list[Any]:
    """Return the keys of what references lead to, also through the `fullUrl` of an entry of the same Bundle."""
    keys: list[Any] = []
    for reference in children(items, "reference", tolerant=tolerant):
        if isinstance(reference, Unplaced):
            keys.append(reference)
            continue
        text = reference if isinstance(reference, str) else ""
        target = reference_target(scope.full_urls.get(text, text))
        if target is None:
            if tolerant:
                keys.append(Unplaced(f"{shown(reference)} leads to no resource"))
        elif wanted in (None, target[0]):
            keys.append(target[1])
    return keys


FUNCTIONS: dict[str, Function] = {
    "where": Function(1, 1, _where),
    "exists": Function(0, 1, _exists),
    "empty": Function(0, 0, _empty),
    "first": Function(0, 0, _first),
    "not": Function(0, 0, _not),
    "extension": Function(1, 1, _extension),
    "startsWith": Function(1, 1, _starts_with),
    "join": Function(0, 1, _join),
    "lowBoundary": Function(0, 0, _boundary(high=False)),
    "highBoundary": Function(0, 0, _boundary(high=True)),
}
TYPE_FUNCTIONS: dict[str, Callable[[list[Any], Any, str | None, bool], list[Any]]] = {
    "getResourceKey": _resource_key,
    "getReferenceKey": _reference_key,
}
