"""Pages: complete, in order, and unmoved by what happens on the server meanwhile."""

from __future__ import annotations

import pytest

from tests.sandbox.app import App, Reader, link, matches


@pytest.mark.parametrize("count", [1, 2, 5, 18, 19, 20, 500])
def test_pages_hold_everything_once_whatever_their_size(reader: Reader, count: int) -> None:
    whole = [one["id"] for one in matches(reader.search("ExplanationOfBenefit", _count="500"))]
    bundle = reader.search("ExplanationOfBenefit", _count=str(count))
    pages = [matches(bundle)]
    while following := link(bundle, "next"):
        bundle = reader.get(following).json()
        assert link(bundle, "self") == following
        assert bundle["total"] == len(whole)
        pages.append(matches(bundle))
    assert [one["id"] for page in pages for one in page] == whole
    assert [len(page) for page in pages[:-1]] == [count] * (len(pages) - 1)
    assert len(pages) == -(-len(whole) // count)


def test_next_links_stay_below_the_base_and_do_not_name_the_patient(reader: Reader) -> None:
    following = str(link(reader.search("ImagingStudy", patient=reader.patient_id, _count="1"), "next"))
    assert following.startswith(f"{reader.app.server.fhir_url}/ImagingStudy?")
    assert reader.patient_id not in following


def test_a_page_can_be_asked_for_again(reader: Reader) -> None:
    following = str(link(reader.search("ImagingStudy", _count="2"), "next"))
    first, second = reader.get(following).json(), reader.get(following).json()
    assert matches(first) == matches(second) != []
    assert link(first, "next") == link(second, "next")


def test_pages_do_not_move_while_the_server_changes(fresh: App) -> None:
    reader = fresh.reader()
    before = reader.search("ImagingStudy", _count="500")
    bundle = reader.search("ImagingStudy", _count="2")
    pages = matches(bundle)
    for _ in range(2):
        change = fresh.server.change()
        bundle = reader.get(str(link(bundle, "next"))).json()
        pages += matches(bundle)
    assert pages == matches(before)
    after = {f"ImagingStudy/{one['id']}" for one in reader.resources("ImagingStudy")}
    assert change.removed[0] not in after
    assert change.added[0] in after


def test_includes_come_with_the_page_of_their_match(reader: Reader) -> None:
    bundle = reader.search("ImagingStudy", _count="1", _include="ImagingStudy:endpoint")
    kinds = []
    while True:
        contained = "contained" in matches(bundle)[0]
        kinds.append((contained, len(bundle["entry"])))
        following = link(bundle, "next")
        if following is None:
            break
        bundle = reader.get(following).json()
    assert set(kinds) == {(True, 1), (False, 2)}


@pytest.mark.parametrize("page", ["x", "AAAAAAAAAAAAAAAA.2", "AAAAAAAAAAAAAAAA.-2", "AAAAAAAAAAAAAAAA.²", "../x"])
def test_a_page_that_is_not_kept_is_gone(reader: Reader, page: str) -> None:
    answered = reader.get("ImagingStudy", _page=page)
    assert answered.status_code == 410
    assert answered.json()["resourceType"] == "OperationOutcome"


def test_a_page_belongs_to_its_type(reader: Reader) -> None:
    following = str(link(reader.search("ImagingStudy", _count="1"), "next"))
    assert reader.get(following.replace("/ImagingStudy?", "/Coverage?")).status_code == 410
