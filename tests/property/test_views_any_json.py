"""Whatever JSON a server sends, a head table holds exactly one row a resource, and nothing raises."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s4s_lab.views import Provenance, Subject, View, fhir_version_of, load_view, packaged_views, resource_key, run_views
from s4s_lab.views.issues import MAX_ISSUES, MAX_LENGTH

# Names that the views look for, so that odd values stand where they hurt.
_NAMES = """
id meta lastUpdated versionId uid identifier system value code coding type patient subject beneficiary reference started
series instance sopClass modality modalityList endpoint numberOfSeries status item sequence adjudication amount category
total totalCost insurance coverage payment date outcome servicedPeriod servicedDate start end birthDate deceasedDateTime
deceasedBoolean address url connectionType careTeamLinkId detail period class
"""
NAMES = st.sampled_from(_NAMES.split())
TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["2015-02-07", "9999-12-31T23:59:59-12:00", "urn:oid:1.2", "urn:uuid:x", "Patient/1", "#a", "\ud800"]
    ),
)
NUMBERS = st.one_of(
    st.integers(min_value=-(2**70), max_value=2**70),
    st.decimals(),
    st.floats(),
    st.booleans(),
    st.none(),
)
VALUES = st.recursive(
    st.one_of(TEXTS, NUMBERS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=5)),
    max_leaves=25,
)
RESOURCES = st.dictionaries(NAMES, VALUES, max_size=8)
VIEWS = [load_view(name) for name in packaged_views()]
HEADS = {
    "imaging_study",
    "imaging_endpoint",
    "explanation_of_benefit",
    "eob_medicare",
    "patient",
    "coverage",
    "diagnostic_report",
}
VERSIONS = st.sampled_from([None, "stu3", "r4"])
BY_TYPE = {view.resource_type: [one for one in VIEWS if one.resource_type == view.resource_type] for view in VIEWS}


def check_row(row: dict[str, Any]) -> None:
    issues = row["parse_issues"]
    assert isinstance(row["resource_id"], str)
    assert len(issues) <= MAX_ISSUES
    assert all(0 < len(issue) <= MAX_LENGTH for issue in issues)
    assert len(set(issues)) == len(issues)
    for value in row.values():
        assert not isinstance(value, list) or None not in value


@pytest.mark.parametrize("resource_type", sorted(BY_TYPE))
@given(elements=RESOURCES, version=VERSIONS)
@settings(max_examples=60, deadline=None)
def test_any_resource_is_one_row_of_its_head_table(resource_type: str, elements: dict[str, Any], version: Any) -> None:
    resource = elements | {"resourceType": resource_type}
    subject = Subject(resource, Provenance(fhir_version=version))
    for name, table in run_views(BY_TYPE[resource_type], [subject]).items():
        rows = table.to_pylist()
        assert name not in HEADS or len(rows) == 1
        for row in rows:
            check_row(row)
            assert row["resource_id"] == resource_key(resource)


@given(resources=st.lists(RESOURCES, max_size=6))
@settings(max_examples=40, deadline=None)
def test_a_row_is_the_same_alone_and_beside_others(resources: list[dict[str, Any]]) -> None:
    views: list[View] = BY_TYPE["ImagingStudy"]
    subjects = [Subject(one | {"resourceType": "ImagingStudy"}) for one in resources]
    together = run_views(views, subjects)
    alone = [run_views(views, [subject]) for subject in subjects]
    for view in views:
        assert together[view.name].to_pylist() == [row for one in alone for row in one[view.name].to_pylist()]


@settings(deadline=None)
@given(resource=st.dictionaries(st.text(max_size=5) | NAMES, VALUES, max_size=6))
def test_no_shape_confuses_the_version_or_the_key(resource: dict[str, Any]) -> None:
    for resource_type in BY_TYPE:
        assert fhir_version_of(resource | {"resourceType": resource_type}) in (None, "stu3", "r4")
    assert resource_key(resource)
