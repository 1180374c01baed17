"""HL7's suite again as text for the fast back end, and with every element renamed and the data shuffled.

No case can be special then: neither by a name that the compiler knows nor by the order of the data.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
import pytest

from s4s_lab.errors import ViewError
from s4s_lab.views import Subject, load_view, run_views
from s4s_lab.views.fhirpath.functions import FUNCTIONS, TYPE_FUNCTIONS
from s4s_lab.views.fhirpath.selecting import CHOICE_ELEMENTS
from tests.conformance.test_sql_on_fhir import CASES, as_multiset

ENCODE: Callable[[Any], bytes] = msgspec.json.Encoder(decimal_format="number").encode
# Names with a meaning of their own in FHIR's JSON and in FHIRPath: keys, references, extensions, choices.
KEPT = {"resourceType", "id", "reference", "extension", "url", "true", "false", "and", "or", "FHIR", "System"}
KEPT |= {*FUNCTIONS, *TYPE_FUNCTIONS, "ofType", *CHOICE_ELEMENTS}
CHOICE = re.compile(rf"(?:{'|'.join(sorted(CHOICE_ELEMENTS))})[A-Z]\w*")
WORDS = re.compile(r"ofType\([\w.]+\)|'(?:\\.|[^'\\])*'|%\w+|`[^`]*`|[A-Za-z]\w*")


def names_in(value: Any) -> set[str]:
    if isinstance(value, list):
        return set().union(*map(names_in, value))
    return set(value).union(*map(names_in, value.values())) if isinstance(value, dict) else set()


def renamed(name: str) -> str:
    return name if name in KEPT or CHOICE.fullmatch(name) else f"{name[::-1].lower()}X{len(name)}"


def renamed_path(path: str, names: set[str]) -> str:
    return WORDS.sub(lambda word: renamed(word[0]) if word[0] in names else word[0], path)


def shuffled(value: Any, random: Random) -> Any:
    """Rename every element and put the elements of each object into another order; lists keep theirs."""
    if isinstance(value, list):
        return [shuffled(one, random) for one in value]
    if not isinstance(value, dict):
        return value
    items = [(renamed(name), shuffled(one, random)) for name, one in value.items()]
    return dict(random.sample(items, len(items)))


def renamed_view(value: Any, names: set[str], key: str = "") -> Any:
    """Rename the elements that the paths of a view name."""
    if isinstance(value, dict):
        return {name: renamed_view(one, names, name) for name, one in value.items()}
    if isinstance(value, list):
        return [renamed_view(one, names, key) for one in value]
    is_path = key in ("path", "forEach", "forEachOrNull", "repeat") and isinstance(value, str)
    return renamed_path(value, names) if is_path else value


def outcome(view: Any, resources: list[Any]) -> Any:
    """The rows without order, or that the view was refused."""
    try:
        loaded = load_view(view)
        return as_multiset(run_views([loaded], [Subject(ENCODE(one)) for one in resources])[loaded.name].to_pylist())
    except ViewError:
        return "refused"


def due(case: dict[str, Any]) -> Any:
    return "refused" if case.get("expectError") else as_multiset(case["expect"])


@pytest.mark.parametrize(("resources", "case"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_case_gives_the_same_rows_from_text(resources: list[Any], case: dict[str, Any]) -> None:
    assert outcome(case["view"], resources) == due(case)


@pytest.mark.parametrize(("resources", "case"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_case_gives_the_same_rows_by_other_names_in_another_order(resources: list[Any], case: dict[str, Any]) -> None:
    random = Random(20)  # noqa: S311  # an order, not a secret
    others = [shuffled(one, random) for one in random.sample(resources, len(resources))]
    view = renamed_view(case["view"], names_in(resources))
    assert outcome(view, others) == due(case)


def test_renaming_leaves_no_element_with_its_own_name() -> None:
    patient = {"resourceType": "Patient", "name": [{"family": "F"}], "valueString": "v"}
    random = Random(1)  # noqa: S311  # as above
    assert names_in(shuffled(patient, random)) == {"resourceType", "emanX4", "ylimafX6", "valueString"}
    assert renamed_path("name.where(family = 'name').first()", {"name", "family"}) == (
        "emanX4.where(ylimafX6 = 'name').first()"
    )
