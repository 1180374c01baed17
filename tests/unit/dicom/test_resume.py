"""What is left of a study: nothing asked for twice, nothing forgotten."""

from __future__ import annotations

from s4s_lab.dicom.resume import DeclaredSeries, Missing, missing


def uids(*numbers: int) -> frozenset[str]:
    return frozenset(f"1.9.{number}" for number in numbers)


CT = DeclaredSeries("1.2", 3, uids(1, 2, 3))
MR = DeclaredSeries("1.3", 2)


def test_of_a_study_that_is_not_here_at_all_everything_is_asked_for() -> None:
    assert missing({}, (CT, MR)) is None
    assert missing({"1.2": frozenset()}, (CT, MR)) is None


def test_without_what_the_record_declares_everything_is_asked_for() -> None:
    assert missing({"1.2": uids(1)}, ()) is None
    assert missing({"1.2": uids(1)}, (CT, DeclaredSeries("1.3"))) is None


def test_a_series_that_is_not_here_or_whose_instances_have_no_names_is_asked_for_whole() -> None:
    assert missing({"1.3": uids(7, 8)}, (CT, MR)) == (Missing("1.2"),)
    assert missing({"1.2": uids(1, 2, 3), "1.3": uids(7)}, (CT, MR)) == (Missing("1.3"),)


def test_a_hole_is_filled_by_instance_where_the_record_names_them() -> None:
    assert missing({"1.2": uids(3)}, (CT,)) == (Missing("1.2", "1.9.1"), Missing("1.2", "1.9.2"))


def test_an_instance_that_the_record_names_is_missed_however_many_others_are_here() -> None:
    assert missing({"1.2": uids(1, 2, 4)}, (CT,)) == (Missing("1.2", "1.9.3"),)


def test_nothing_is_left_of_a_study_that_is_here() -> None:
    assert missing({"1.2": uids(1, 2, 3), "1.3": uids(7, 8)}, (CT, MR)) == ()


def test_instances_count_where_the_record_gives_no_number() -> None:
    assert DeclaredSeries("1.2", None, uids(1, 2)).count == 2
    assert missing({"1.2": uids(1)}, (DeclaredSeries("1.2", None, uids(1, 2)),)) == (Missing("1.2", "1.9.2"),)


def test_paths_are_those_of_dicomweb() -> None:
    assert Missing("1.2").path == "/series/1.2"
    assert Missing("1.2", "1.9.1").path == "/series/1.2/instances/1.9.1"
