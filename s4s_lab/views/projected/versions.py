"""FHIR versions of many resources at once, by the same signs as one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from s4s_lab.views.projected.elements import Element
from s4s_lab.views.signs import SIGNS, FhirVersion, Sign

# What stands for a value that was not decoded, by its first byte: only its form is asked for.
_FORMS: dict[int, Any] = {ord("{"): {}, ord("["): [], ord('"'): "", ord("n"): None}
_ABSENT = {type(None)}


def _form(value: Any) -> Any:
    return _FORMS.get(bytes(value)[0], True) if value.__class__ is msgspec.Raw else value


class VersionTeller:
    """Tells the versions of resources of one type; what it looks at becomes a part of their structs.

    Parameters
    ----------
    resource_type : str
        The FHIR resource type.
    root : Element
        Of the resource.
    """

    def __init__(self, resource_type: str, root: Element) -> None:
        signs = SIGNS.get(resource_type, {"stu3": [], "r4": []})
        weighted = [(1, sign) for sign in signs["stu3"]] + [(-1, sign) for sign in signs["r4"]]
        for _, sign in weighted:
            for path in sign.paths:
                _register(root, path, sign)
        self._root = root
        self._plain = [(weight, sign) for weight, sign in weighted if len(sign.paths[0]) == 1]
        self._deep = [(weight, sign) for weight, sign in weighted if len(sign.paths[0]) > 1]

    def told(self, resources: Sequence[Any]) -> list[FhirVersion | None]:
        """Return the version of each resource, None where its shape does not tell.

        Parameters
        ----------
        resources : sequence of struct
            What the decoder of their structs gave.
        """
        scores = [0] * len(resources)
        for weight, sign in self._plain:
            scores = self._weighed(scores, weight, sign, resources)
        least, most = (sum(weight == sought for weight, _ in self._deep) for sought in (-1, 1))
        for i, score in enumerate(scores):
            if -most <= score <= least:
                # Only here can the signs that lie deep in the resource decide.
                scores[i] = score + sum(w for w, sign in self._deep if sign.holds((self._root, resources[i]), _read))
        return [None if score == 0 else "stu3" if score > 0 else "r4" for score in scores]

    def _weighed(self, scores: list[int], weight: int, sign: Sign, resources: Sequence[Any]) -> list[int]:
        values = list(map(self._root.children[sign.paths[0][0]].get, resources))
        kinds = set(map(type, values))
        if kinds == _ABSENT:
            return scores
        if msgspec.Raw in kinds:
            values = [_form(one) for one in values]
        fitting = {kind for kind, one in dict(zip(map(type, values), values, strict=True)).items() if sign.looks(one)}
        if not fitting:
            return scores
        return [a + weight if one.__class__ in fitting else a for a, one in zip(scores, values, strict=True)]


def _register(root: Element, path: tuple[str, ...], sign: Sign) -> None:
    here = root
    for name in path:
        here = here.child(name)
    here.is_looked_at = True
    if sign.value is not None:
        here.is_read = True


def _read(item: Any, name: str) -> Any:
    """Read an element of a struct that travels with its `Element`; its children travel so, too."""
    element, struct = item
    child = element.children[name]
    if not isinstance(struct, msgspec.Struct):
        return None
    value = _form(child.get(struct))
    if not child.children:
        return value
    if isinstance(value, list):
        return [(child, one) for one in value if one is not None]
    return None if value is None else (child, value)
