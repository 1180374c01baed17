"""Which elements views read, and the structs that hold them: the decoder skips everything else in C.

Every element may be an object where a list is due and the other way round. What an element holds at its end is any
JSON, so that a value of the wrong type reaches its cell as it is. What does not fit otherwise makes the decoder raise,
and the resource is read by the general back end.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from operator import attrgetter
from typing import Any

import msgspec

Decode = Callable[[bytes | str], Any]
_SCALAR = str | int | bool | None


class Element:
    """One element that some view reads.

    Its attribute in a struct has a name of our own, so that no name from a view is ever one of Python's.

    Parameters
    ----------
    number : int, optional
        What stands after `e` in its attribute's name; None for the resource.
    """

    def __init__(self, number: int | None = None) -> None:
        self.number = -1 if number is None else number
        self.attribute = f"e{number}"
        self.get: Callable[[Any], Any] = _itself if number is None else attrgetter(self.attribute)
        self.children: dict[str, Element] = {}
        # Its value is read, whatever that is; or only where a value of one of these types is due.
        self.is_read = False
        self.due: set[type] = set()
        # Whether it is there, or what it looks like, decides something.
        self.is_asked = False
        self.is_looked_at = False

    def child(self, name: str) -> Element:
        """Return the element of a name below this one; asked for the first time, it becomes a part of the structs.

        Parameters
        ----------
        name : str
            As in JSON.
        """
        if name not in self.children:
            self.children[name] = Element(len(self.children))
        return self.children[name]

    @property
    def is_mixed(self) -> bool:
        """Whether one view reads its value and another one its children: FHIR versions differ in that."""
        return self.has_value and bool(self.children)

    @property
    def is_object(self) -> bool:
        """Whether it is a struct or a list of structs, if it is there, and nothing else."""
        return bool(self.children) and not self.has_value

    @property
    def has_value(self) -> bool:
        """Whether some view reads its value."""
        return self.is_read or bool(self.due)

    @property
    def is_plain(self) -> bool:
        """Whether it is never a list or an object: one type is due, and the decoder refuses any other."""
        return len(self.due) == 1 and not (self.children or self.is_read or self.is_asked or self.is_looked_at)

    def _type(self) -> Any:
        if self.is_plain:
            (due,) = self.due
            # It may be null then, or anything else: whoever reads it has to look.
            return due if due is msgspec.Raw else due | None
        if not self.children:
            # What is only looked at is not decoded.
            return Any if self.has_value or self.is_asked else msgspec.Raw
        struct: Any = self.struct()
        if self.has_value:
            return struct | list[struct | _SCALAR] | _SCALAR
        return struct | list[struct] | None

    def struct(self) -> Any:
        """Return a struct type with the elements below this one, each of them optional."""
        fields = [(child.attribute, child._type(), None) for child in self.children.values()]
        names = {child.attribute: name for name, child in self.children.items()}
        return msgspec.defstruct("Element", fields, gc=False, rename=names)


def _itself(value: Any) -> Any:
    return value


def resource_decoder(root: Element) -> Decode:
    """Return what decodes one resource.

    Parameters
    ----------
    root : Element
        Of the resource.
    """
    return _decoder(root.struct())


class Entry(msgspec.Struct, gc=False):
    """An entry of a Bundle, as far as tables need it."""

    resource: Any = None
    full_url: Any = msgspec.field(default=None, name="fullUrl")


def bundle_decoder(root: Element) -> Decode:
    """Return what decodes a Bundle of such resources: attributes `type` and `entry`, a list of `Entry` or None.

    Parameters
    ----------
    root : Element
        Of its resources.
    """
    entry = msgspec.defstruct(
        "Entry", [("resource", root.struct() | None, None), ("full_url", Any, None)], gc=False,
        rename={"full_url": "fullUrl"},
    )  # fmt: skip
    bundle = msgspec.defstruct(
        "Bundle", [("type", Any, None), ("entry", list[entry | None] | None, None)], gc=False,  # type: ignore[valid-type]  # built here
        rename={"type": "resourceType"},
    )  # fmt: skip
    return _decoder(bundle)


def _decoder(struct: Any) -> Decode:
    decode: Decode = msgspec.json.Decoder(struct, float_hook=Decimal).decode
    return decode
