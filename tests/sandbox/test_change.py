"""What a change on the server looks like to an app."""

from __future__ import annotations

from s4s_lab import sandbox
from tests.sandbox.app import App, Reader, matches


def references(resources: list[dict[str, str]]) -> set[str]:
    return {f"{one['resourceType']}/{one['id']}" for one in resources}


def test_an_update_finds_new_and_changed_and_only_a_broad_pull_what_fell_out(fresh: App) -> None:
    reader = fresh.reader(2)
    before = references(reader.resources("ImagingStudy"))
    last_check = reader.search("ImagingStudy")["meta"]["lastUpdated"]
    change = fresh.server.change(2)
    found = references(reader.resources("ImagingStudy", _lastUpdated=f"gt{last_check}"))
    assert found == {change.added[0], *change.changed}
    after = references(reader.resources("ImagingStudy"))
    assert after - before == {change.added[0]}
    assert before - after == set(change.removed)
    claims = references(reader.resources("ExplanationOfBenefit", _lastUpdated=f"gt{last_check}"))
    assert claims == {change.added[1]}


def test_a_change_is_one_study_and_claim_added_one_study_changed_one_removed(fresh: App) -> None:
    change = fresh.server.change()
    kinds = [[one.partition("/")[0] for one in group] for group in (change.added, change.changed, change.removed)]
    assert kinds == [["ImagingStudy", "ExplanationOfBenefit"], ["ImagingStudy"], ["ImagingStudy"]]


def test_a_changed_study_has_a_new_version(fresh: App) -> None:
    reader = fresh.reader()
    before = {f"ImagingStudy/{one['id']}": one for one in reader.resources("ImagingStudy")}
    changed = fresh.server.change().changed[0]
    answered = reader.get(changed)
    after = answered.json()
    assert answered.headers["etag"] == 'W/"2"'
    assert after["meta"]["versionId"] == "2"
    assert after["meta"]["lastUpdated"] > before[changed]["meta"]["lastUpdated"]
    differing = {name for name in after if after[name] != before[changed].get(name)}
    assert differing == {"meta", "description"}


def test_what_fell_out_is_gone_with_its_images(fresh: App) -> None:
    reader = fresh.reader()
    before = {f"ImagingStudy/{one['id']}": one for one in reader.resources("ImagingStudy")}
    removed = fresh.server.change().removed[0]
    assert reader.get(removed).status_code == 410
    assert reader.get(reader.study_url(before[removed])).status_code == 404
    assert reader.search("ImagingStudy", _id=removed.partition("/")[2])["total"] == 0


def test_the_new_study_has_images_and_leads_to_the_same_patient(fresh: App) -> None:
    reader = fresh.reader()
    study = reader.get(fresh.server.change().added[0]).json()
    assert study["patient"]["reference"] == f"Patient/{reader.patient_id}"
    assert reader.get(reader.study_url(study)).status_code == 200
    claim = reader.get(fresh.server.change().added[1]).json()
    assert reader.get(claim["insurance"]["coverage"]["reference"]).status_code == 200


def test_others_see_nothing_of_it(fresh: App) -> None:
    other = fresh.reader(1)
    before = other.resources("ImagingStudy")
    fresh.server.change(0)
    assert other.resources("ImagingStudy") == before


def versions_of(reader: Reader) -> list[dict[str, object]]:
    held = matches(reader.search("ImagingStudy", _count="500"))
    return [{name: value for name, value in one.items() if name not in ("meta", "contained")} for one in held]


def test_the_same_changes_lead_to_the_same_record(fresh: App) -> None:
    with sandbox.start(retrieve_s=0) as second:
        twin = App(second, fresh.http)
        for number in range(6):
            assert fresh.server.change(number % 2) == second.change(number % 2)
        assert versions_of(fresh.reader()) == versions_of(twin.reader())
