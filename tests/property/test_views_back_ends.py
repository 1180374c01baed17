"""Both back ends give the same tables, whatever a server sends: text goes the fast way, decoded JSON the general."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s4s_lab.views import Document, Provenance, Subject, View, decode, load_view, packaged_views, run_views, subjects_of
from s4s_lab.views.projected.projection import projection_of
from tests.property.test_views_any_json import BY_TYPE, NAMES, RESOURCES

ENCODE: Callable[[Any], bytes] = msgspec.json.Encoder(decimal_format="number").encode
VIEWS = [load_view(name) for name in packaged_views()]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**40), 2**40),
    st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**12), max_value=10**12),
    st.sampled_from(["", "x", "urn:oid:1.2", "2015", "2015-02-07T10:00:00.1234567-05:00", "Patient/1", "#a", " 1.2 "]),
)
ODD = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=6,
)
STUDY: dict[str, Any] = {
    "resourceType": "ImagingStudy", "id": "s", "meta": {"versionId": "1", "lastUpdated": "2020-01-02T03:04:05Z"},
    "uid": "urn:oid:1.2.3", "patient": {"reference": "Patient/7"}, "accession": {"value": "A1"},
    "started": "2011-01-01T11:01:20+03:00", "modalityList": [{"code": "CT"}, {"code": "MR"}],
    "endpoint": [{"reference": "Endpoint/1"}], "procedureCode": [{"coding": [{"code": "1", "system": "s"}]}],
    "series": [{"uid": "urn:oid:1.2.4", "number": 1, "modality": {"code": "CT"}, "instance": [
        {"uid": "1.2.5", "number": 1, "sopClass": "urn:oid:1.2.840", "title": "t"}, {"uid": "1.2.6"}]}],
}  # fmt: skip
R4_STUDY: dict[str, Any] = {
    "resourceType": "ImagingStudy", "id": "r", "status": "available", "subject": {"reference": "Patient/7"},
    "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}, {"value": "A1"}],
    "modality": [{"code": "CT"}], "reasonCode": [{"coding": [{"code": "1"}]}],
    "series": [{"uid": "1.2.4", "instance": [{"uid": "1.2.5", "sopClass": {"code": "urn:oid:1.2.840"}}]}],
}  # fmt: skip
CLAIM: dict[str, Any] = {
    "resourceType": "ExplanationOfBenefit", "id": "c", "patient": {"reference": "Patient/-7"},
    "type": {"coding": [{"system": "http://hl7.org/fhir/ex-claimtype", "code": "professional"}]},
    "extension": [{"url": "https://bluebutton.cms.gov/resources/variables/asgmntcd", "valueCoding": {"code": "A"}}],
    "billablePeriod": {"start": "2014-03-01", "end": "2014-03"}, "outcome": {"coding": [{"code": "complete"}]},
    "insurance": {"coverage": {"reference": "Coverage/1"}}, "totalCost": {"value": 120, "code": "USD"},
    "diagnosis": [{"sequence": 1, "diagnosisCodeableConcept": {"coding": [{"code": "2507"}]}}],
    "item": [{"sequence": 1, "service": {"coding": [{"code": "99"}]}, "servicedDate": "2014", "quantity": {"value": 1},
              "adjudication": [{"category": {"coding": [{"code": "tax"}]}, "amount": {"value": 1.5, "code": "USD"}},
                               {"reason": {"coding": [{"system": "s", "code": "A"}]}}],
              "detail": [{"sequence": 2, "adjudication": [{"value": 3}]}]}],
}  # fmt: skip
R4_CLAIM = {
    "resourceType": "ExplanationOfBenefit", "id": "d", "use": "claim", "outcome": "complete",
    "insurance": [{"focal": True, "coverage": {"reference": "Coverage/2"}}],
    "total": [{"category": {"coding": [{"code": "submitted"}]}, "amount": {"value": 12.50, "currency": "USD"}}],
    "item": [{"sequence": 1, "productOrService": {"coding": [{"code": "9"}]},
              "adjudication": [{"category": {"coding": [{"code": "t"}]}, "amount": {"value": 1, "currency": "EUR"}}]}],
}  # fmt: skip


def check_same(views: Sequence[View], resources: Sequence[dict[str, Any]], **provenance: Any) -> None:
    texts = [ENCODE(one) for one in resources]
    known = Provenance(**provenance)
    general = run_views(views, [Subject(decode(text), known) for text in texts])
    fast = run_views(views, [Subject(text, known) for text in texts])
    for name, table in general.items():
        assert fast[name].schema.equals(table.schema, check_metadata=True)
        assert fast[name].to_pylist() == table.to_pylist()


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a resource, as the way to it."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*([path] if path else []), *(one for key, inner in items for one in places(inner, (*path, key)))]


def changed(resource: dict[str, Any], path: tuple[Any, ...], change: Callable[[Any], Any]) -> dict[str, Any]:
    made = deepcopy(resource)
    here: Any = made
    for step in path[:-1]:
        here = here[step]
    here[path[-1]] = change(here[path[-1]])
    return made


CHANGES: st.SearchStrategy[Callable[[Any], Any]] = st.one_of(
    ODD.map(lambda odd: lambda _old: odd),
    st.sampled_from([lambda old: [old], lambda old: [old, old], lambda old: [None, old], lambda old: {"value": old}]),
)


@pytest.mark.parametrize("resource", [STUDY, R4_STUDY, CLAIM, R4_CLAIM], ids=["study", "r4-study", "claim", "r4-claim"])
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_a_resource_with_one_thing_wrong_gives_the_same_rows(resource: dict[str, Any], data: st.DataObject) -> None:
    path = data.draw(st.sampled_from([one for one in places(resource) if one != ("resourceType",)]))
    odd = changed(resource, path, data.draw(CHANGES))
    version = data.draw(st.sampled_from([None, "stu3", "r4"]))
    check_same(BY_TYPE[resource["resourceType"]], [resource, odd, resource], fhir_version=version)


@pytest.mark.parametrize("resource_type", sorted(BY_TYPE))
@given(elements=st.lists(RESOURCES, max_size=3), version=st.sampled_from([None, "stu3", "r4"]))
@settings(max_examples=25, deadline=None)
def test_any_json_gives_the_same_rows(resource_type: str, elements: list[dict[str, Any]], version: Any) -> None:
    try:
        resources = [decode(ENCODE(one | {"resourceType": resource_type})) for one in elements]
    except ValueError:
        return
    check_same(BY_TYPE[resource_type], resources, fhir_version=version)


def test_the_whole_catalogue_is_read_by_the_fast_back_end() -> None:
    for resource_type, views in BY_TYPE.items():
        assert set(projection_of(resource_type, tuple(views)).shapes) == set(views)


def test_every_real_file_gives_the_same_tables_as_a_document(test_data: Path) -> None:
    views = [view for view in VIEWS if not view.name.endswith("medicare")]
    files = [one for one in sorted((test_data / "fhir").rglob("*.json")) if one.stat().st_size < 100_000]
    documents = [Document(one.read_bytes().removeprefix(b"\xef\xbb\xbf"), one.name) for one in files]
    tops = [decode(one.raw) for one in documents]
    general = run_views(views, [subject for top in tops for subject in subjects_of(top)])
    assert general["eob_item"].num_rows > 50
    for several in (views, BY_TYPE["ImagingStudy"], [one for one in views if one.name == "eob_adjudication"]):
        for name, table in run_views(several, documents).items():
            assert table.equals(general[name]), name
