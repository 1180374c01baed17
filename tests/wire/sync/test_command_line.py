"""Commands over what was pulled and fetched from servers that are not ours: what they print, how they end."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from s4s_lab import Dataset, pull
from s4s_lab.cli.app import app
from s4s_lab.cli.output import run_application
from s4s_lab.connection import Connection
from tests.unit.dicom.samples import STUDY
from tests.wire.dicom.archive import archive, study_answer
from tests.wire.sync.conftest import TYPES
from tests.wire.sync.server import FhirServer, study
from tests.wire.sync.test_fetch import PARTS, at
from tests.wire.sync.test_fetch_at_once import two_archives
from tests.wire.sync.test_pull import LONG_AGO, now
from tests.wire.sync.test_reports import kept

S4s = Callable[..., tuple[int, Any]]


@pytest.fixture
def s4s(data: Dataset, capsys: pytest.CaptureFixture[str]) -> S4s:
    """Run a command on the dataset; gives the exit code and the JSON on stdout."""

    def run(*words: object) -> tuple[int, Any]:
        capsys.readouterr()
        code = run_application(app, [str(word) for word in (*words, "--dataset", data.path(), "--json")])
        return code, json.loads(capsys.readouterr().out)

    return run


def test_a_table_is_shown_as_it_was(server: FhirServer, link: Connection, data: Dataset, s4s: S4s) -> None:
    server.put(study(1, LONG_AGO))
    pull(link, data, types=TYPES)
    before = data.version
    server.put(study(2, now()))
    pull(link, data, types=TYPES)
    code, then = s4s("tables", "imaging_study", "--as-of", before)
    assert (code, then["imaging_study"]["rows"], then["imaging_study"]["version"]) == (0, 1, before)
    code, today = s4s("tables", "imaging_study")
    assert (code, today["imaging_study"]["rows"], today["imaging_study"]["version"]) == (0, 2, data.version)
    assert s4s("tables", "imaging_study", "--as-of", "2001-01-01")[0] == 1


@pytest.mark.parametrize("words", [["--as-of", "1"], ["--path"]])
def test_as_of_and_path_are_of_one_table(s4s: S4s, words: list[str]) -> None:
    code, told = s4s("tables", *words)
    assert (code, "need the name of a table" in told["error"]) == (2, True)


def test_a_study_that_is_not_in_the_dataset_is_refused_and_nothing_is_fetched(
    server: FhirServer, link: Connection, data: Dataset, s4s: S4s
) -> None:
    kept(server, data)
    with archive(study_answer(PARTS)) as running:
        server.put(at(running))
        pull(link, data, types=TYPES)
        code, told = s4s("fetch", "--study", STUDY, "--study", "1.2.3.999")
        assert (code, running.requests) == (1, [])
    assert "1.2.3.999 is not in the dataset" in told["error"]


def test_of_several_archives_the_one_that_source_names_is_asked(
    server: FhirServer, link: Connection, data: Dataset, s4s: S4s
) -> None:
    kept(server, data)
    with archive(study_answer(PARTS[:1])) as first, archive(study_answer(PARTS)) as second:
        server.put(two_archives(first.base, second.base))
        pull(link, data, types=TYPES)
        assert s4s("fetch", "--all", "--source", "nowhere")[0] == 2
        code, told = s4s("fetch", "--all", "--source", second.base)
    assert (code, told["studies"][0]["state"]) == (0, "complete")
    assert (len(first.requests), len(second.requests)) == (0, 1)


def test_a_study_of_which_the_archive_has_less_ends_with_0_and_says_partial(
    server: FhirServer, link: Connection, data: Dataset, s4s: S4s
) -> None:
    kept(server, data)
    with archive(study_answer(PARTS)) as running:
        server.put(at(running, numberOfInstances=5))
        pull(link, data, types=TYPES)
        code, told = s4s("fetch", "--all")
    (one,) = told["studies"]
    # The archive has given all it has: asking again brings no more, so nothing is left to be done.
    assert (code, told["outcome"]) == (0, "done")
    assert (one["state"], one["instances"], one["expected"]) == ("partial", 2, 5)
    assert "5" in one["error"]
