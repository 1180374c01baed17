"""A withdrawal holds: a connection from before it does not bring the participant back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from s4s_lab import Dataset, fetch, open_dataset, pull
from s4s_lab.connection import Connection
from s4s_lab.errors import AuthorizationError
from s4s_lab.values.instants import utc_now
from tests.wire.sync.conftest import TYPES
from tests.wire.sync.server import FhirServer, study


@pytest.fixture
def earlier(server: FhirServer, link: Connection, data: Dataset) -> Connection:
    """A connection whose participant was pulled and forgotten since."""
    server.put(study(1, utc_now() - timedelta(days=9)))
    earlier = replace(link, granted_at=utc_now())
    pull(earlier, data, types=TYPES)
    data.forget(earlier.patient_id)
    return earlier


@pytest.mark.parametrize("act", [pull, fetch])
@pytest.mark.parametrize("known", [True, False])
def test_a_connection_from_before_a_forgetting_is_refused(
    earlier: Connection, data: Dataset, act: Callable[..., object], known: bool
) -> None:
    link = earlier if known else replace(earlier, granted_at=None)
    for dataset in (data, open_dataset(data.path())):
        with pytest.raises(AuthorizationError, match=r"forgotten in this dataset.*Connect again"):
            act(link, dataset)
    assert data.connections() == []


def test_who_consents_again_is_pulled_from_the_first_on(earlier: Connection, server: FhirServer, data: Dataset) -> None:
    server.requests.clear()
    (result,) = pull(replace(earlier, granted_at=utc_now()), data, types=TYPES).types
    assert (result.mode, result.new, len(data.table("imaging_study"))) == ("first", 1, 1)
    assert server.asked("ImagingStudy") == ["/fhir/ImagingStudy?patient=p1"]


def test_others_go_on(earlier: Connection, data: Dataset) -> None:
    other = replace(earlier, patient_id="p2", granted_at=utc_now())
    data.connection(other.fhir_url, other.patient_id)
    data.connection(other.fhir_url, "p3")
    data.forget("p3")
    data.require_consent(other.fhir_url, other.patient_id, other.granted_at)
