"""Steps from JSON values to their children: plain elements, choice elements, types."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from s4s_lab.views.fhirpath.syntax import Call, Expression, Index, Member, Operation, This
from s4s_lab.views.issues import Unplaced, shown

# Elements that FHIR STU3 and R4 write with their type at the end of the name (`value[x]`): they alone are worth a
# search when the plain name is not there.
_CHOICES = """
abatement additive age allowed amount answer asNeeded author born chargeItem collected content deceased defaultValue
definition detail diagnosis dose due effective entity event fastingStatus fixed identified initial item legallyBinding
location maxValue medication minValue minimumVolume multipleBirth occurrence onset pattern performed probability
procedure product rate reason reported scheduled serviced source start statusReason subject target time timing topic
used value
"""
CHOICE_ELEMENTS = frozenset(_CHOICES.split())
# Elements of that name which are no choice, by the element, type or resource they stand in: nothing is searched there.
_NO_CHOICE: dict[str, frozenset[str]] = {
    name: frozenset(owners.split())
    for name, owners in {
        "amount": "adjudication payment total benefit",
        "detail": "item ExplanationOfBenefit",
        "diagnosis": "ExplanationOfBenefit",
        "item": "ExplanationOfBenefit",
        "procedure": "ExplanationOfBenefit",
        "reason": "adjudication ImagingStudy",
        "service": "item detail subDetail addItem",
        "start": "billablePeriod hospitalization period servicedPeriod Period",
        "subject": "Coverage DiagnosticReport Endpoint ExplanationOfBenefit ImagingStudy Patient",
        "value": "accession adjudication amount class identifier net quantity telecom totalBenefit totalCost"
        " unallocDeductable unitPrice ContactPoint Identifier Money Quantity",
    }.items()
}
_INTEGERS = frozenset({"integer", "positiveInt", "unsignedInt", "integer64"})


def is_choice(name: str, owner: str | None) -> bool:
    """Say whether an element may be written with its type at the end of its name.

    Parameters
    ----------
    name : str
        The element's name.
    owner : str or None
        The name of the element, type or resource that it stands in, when it is known.

    References
    ----------
    FHIR, "JSON representation": choice of data types.
    """
    return name in CHOICE_ELEMENTS and owner not in _NO_CHOICE.get(name, ())


def owner_of(expression: Expression, owner: str | None) -> str | None:
    """Return the name of the element or type that an expression leads to, as far as its text tells.

    Parameters
    ----------
    expression : Expression
        What `parse` gave.
    owner : str or None
        What `$this` is.
    """
    match expression:
        case This():
            return owner
        case Member(_, name) | Call(_, "ofType", (Member(_, name),)):
            return name
        case Call(_, "extension", _):
            return "extension"
        case Call(base, "first" | "where", _) | Index(base, _):
            return owner_of(base, owner)
        case Operation("|", left, right):
            found = owner_of(left, owner)
            return found if found == owner_of(right, owner) else None
        case _:
            return None


def _append(found: list[Any], value: Any) -> None:
    if isinstance(value, list):
        found.extend(one for one in value if one is not None)
    elif value is not None:
        found.append(value)


def misplaced(item: Any) -> Unplaced:
    """Say that an object was due where something else stands; what was said before about it stays.

    Parameters
    ----------
    item : object
        What stands there.
    """
    return item if isinstance(item, Unplaced) else Unplaced(f"{shown(item)} is no object")


def _any_choice(item: dict[str, Any], name: str) -> Any:
    """Return the choice element `name`, whatever its type."""
    for key, value in item.items():
        if key.startswith(name) and key[len(name) : len(name) + 1].isupper():
            return value
    return None


def children(items: list[Any], name: str, *, tolerant: bool, choice: bool = False) -> list[Any]:
    """Return the elements `name` of all items, lists flattened, nulls left out.

    Parameters
    ----------
    items : list
        Objects; others have no children.
    name : str
        The element's name.
    tolerant : bool
        Give an `Unplaced` for each item that is no object.
    choice : bool
        Take the element with any type at the end of its name where the plain name is not there.
    """
    found: list[Any] = []
    for item in items:
        if isinstance(item, dict):
            value = item.get(name)
            if value is None and choice:
                value = _any_choice(item, name)
            _append(found, value)
        elif tolerant:
            found.append(misplaced(item))
    return found


def chosen(items: list[Any], name: str, type_name: str, *, tolerant: bool) -> list[Any]:
    """Return the choice element `name` where it has the given type, as in `value.ofType(Quantity)`.

    Parameters
    ----------
    items : list
        Objects; others have no children.
    name, type_name : str
        `value` and `Quantity` for the JSON member `valueQuantity`.
    tolerant : bool
        Give an `Unplaced` for each item that is no object.

    References
    ----------
    FHIR, "JSON representation": choice of data types.
    """
    key = name + type_name[0].upper() + type_name[1:]
    found: list[Any] = []
    for item in items:
        if isinstance(item, dict):
            _append(found, item.get(key))
            if item.get(name) is not None:
                found.extend(of_type(children([item], name, tolerant=False), type_name))
        elif tolerant:
            found.append(misplaced(item))
    return found


def _is_text_type(type_name: str) -> bool:
    return type_name[0].islower() and type_name not in _INTEGERS | {"boolean", "decimal"}


def _has_type(value: Any, type_name: str) -> bool:
    if isinstance(value, str):
        return _is_text_type(type_name)
    if isinstance(value, dict):
        return bool(value.get("resourceType", type_name) == type_name) and type_name[0].isupper()
    if isinstance(value, bool):
        return type_name == "boolean"
    if type_name in _INTEGERS:
        return isinstance(value, int)
    return type_name == "decimal" and isinstance(value, int | float | Decimal)


def of_type(items: list[Any], type_name: str) -> list[Any]:
    """Return the items that can be of a type, as far as JSON tells: resources by `resourceType`, primitives by kind.

    Parameters
    ----------
    items : list
        JSON values.
    type_name : str
        A FHIR type, such as `Quantity` or `string`.
    """
    return [item for item in items if isinstance(item, Unplaced) or _has_type(item, type_name)]
