"""Table `dicom_instance` and slices, over a cache of real files."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pydicom
import pytest

from s4s_lab.dicom.deposit import deposit
from s4s_lab.dicom.index import StudyKey
from s4s_lab.errors import BadUid, NotInDataset, TableBehind, UsageError
from s4s_lab.explore import export
from s4s_lab.lake import Dataset
from s4s_lab.lake.entries import read_entry
from s4s_lab.lake.images import in_order
from s4s_lab.lake.locks import Locks
from tests.unit.lake.records import SOURCE, versions

Files = dict[str, list[Path]]


@pytest.fixture(scope="session")
def studies(test_data: Path) -> Files:
    """DICOM files of one real patient, by study."""
    found: Files = {}
    for path in sorted((test_data / "dicom" / "pydicom-dicomdirtests" / "98892003").rglob("*")):
        if path.is_file():
            uid = pydicom.dcmread(path, stop_before_pixels=True).StudyInstanceUID
            found.setdefault(str(uid), []).append(path)
    return found


def receive(
    data: Dataset,
    study_uid: str,
    files: list[Path],
    archive: str = "archive",
    patient_id: str = "p",
    source: str = SOURCE,
) -> None:
    """Put files into the cache as a retrieval does."""
    key = StudyKey(archive, study_uid, source, patient_id, "S-1")
    with deposit(data.images.root, data.images.index, key) as incoming:
        for path in files:
            incoming.begin_part({})
            incoming.part_data(memoryview(path.read_bytes()))
            incoming.end_part()


def test_every_file_in_the_cache_is_a_row_that_leads_to_it(data: Dataset, studies: Files) -> None:
    uid, files = next(iter(studies.items()))
    receive(data, uid, files)
    data.refresh_images()
    rows = data.table("dicom_instance")
    received = {(data.path() / path).read_bytes() for path in rows["path"]}
    assert (len(rows), received) == (len(files), {path.read_bytes() for path in files})
    assert set(rows["participant_id"]) == {"S-1"}
    assert data.tables().filter(pa.compute.field("name") == "dicom_instance")["rows"].to_pylist() == [len(files)]


def test_the_table_is_in_the_order_of_the_cache(data: Dataset, studies: Files) -> None:
    for archive in ("b", "a"):
        for uid, files in studies.items():
            receive(data, uid, files, archive)
    assert data.arrow("dicom_instance").equals(data.images.instances())


def test_an_unchanged_cache_makes_no_version_and_a_changed_one_makes_one(data: Dataset, studies: Files) -> None:
    (first, some), (second, others) = list(studies.items())[:2]
    receive(data, first, some)
    data.refresh_images()
    data.refresh_images()
    assert versions(data) == {"dicom_instance": 0}
    receive(data, second, others)
    assert len(data.table("dicom_instance")) == len(some) + len(others)
    assert versions(data) == {"dicom_instance": 1}
    assert read_entry(data.path("dicom_instance"), 1).transactions == {"dicom": data.images.generation}


def test_a_study_that_comes_rewrites_its_patients_bucket_alone(data: Dataset, studies: Files) -> None:
    (first, some), (second, others) = list(studies.items())[:2]
    receive(data, first, some, patient_id="p")
    receive(data, first, some, archive="other", patient_id="q")
    data.refresh_images()
    assert data.log.bucket(SOURCE, "p") != data.log.bucket(SOURCE, "q")
    receive(data, second, others, archive="other", patient_id="q")
    data.refresh_images()
    entry = read_entry(data.path("dicom_instance"), 1)
    assert {file.partition["bucket"] for file in entry.added} == {str(data.log.bucket(SOURCE, "q"))}
    assert (len(entry.added), entry.removed) == (1, 1)
    assert data.arrow("dicom_instance").equals(data.images.instances())


def test_the_table_is_shown_as_it_was(data: Dataset, studies: Files) -> None:
    (first, some), (second, others) = list(studies.items())[:2]
    before = datetime.now(UTC)
    time.sleep(0.002)
    receive(data, first, some)
    data.refresh_images()
    between = read_entry(data.path("dicom_instance"), 0).committed_at
    assert between is not None
    time.sleep(0.002)
    receive(data, second, others)
    data.refresh_images()
    assert len(data.table("dicom_instance", as_of=between)) == len(some)
    assert data.arrow("dicom_instance", as_of=before.isoformat()).num_rows == 0
    assert len(data.table("dicom_instance", as_of=data.log.version)) == len(some) + len(others)


def test_a_table_that_cannot_be_refreshed_now_is_shown_with_a_warning(data: Dataset, studies: Files) -> None:
    (first, some), (second, others) = list(studies.items())[:2]
    receive(data, first, some)
    with Locks(data.path() / ".locks").alone("dicom_instance", busy="taken"):
        # Never stored: read from the cache itself.
        assert len(data.table("dicom_instance")) == len(some)
    data.refresh_images()
    receive(data, second, others)
    with (
        Locks(data.path() / ".locks").alone("dicom_instance", busy="taken"),
        pytest.warns(TableBehind, match="dicom_instance does not show the newest"),
    ):
        assert len(data.table("dicom_instance")) == len(some)


def test_slices_in_parallel_planes_come_in_spatial_order(data: Dataset, test_data: Path) -> None:
    folder = test_data / "dicom" / "pydicom-dicomdirtests" / "98892001" / "CT5N"
    files = sorted(folder.iterdir())
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in files]
    receive(data, headers[0].StudyInstanceUID, files)
    depths = [float(header.ImagePositionPatient[2]) for header in headers]
    assert {tuple(header.ImageOrientationPatient) for header in headers} == {(1, 0, 0, 0, 1, 0)}
    assert len(set(depths)) == len(files) > 2
    expected = [path.read_bytes() for _, path in sorted(zip(depths, files, strict=True))]
    assert [path.read_bytes() for path in data.slices(headers[0].SeriesInstanceUID).paths] == expected


def test_slices_that_turn_about_an_axis_come_by_their_number(data: Dataset, studies: Files) -> None:
    # Seven radial slices of one real MR series.
    series = "1.3.6.1.4.1.5962.1.1.0.0.0.1196533885.18148.0.118"
    for uid, files in studies.items():
        receive(data, uid, files)
    numbers = [pydicom.dcmread(path, stop_before_pixels=True).InstanceNumber for path in data.slices(series).paths]
    assert numbers == [1, 2, 3, 4, 5, 6, 7]


def header_rows(*rows: tuple[str, int | None, list[float]]) -> pa.Table:
    """Rows of the columns that decide the order: path, instance number, position."""
    names = ["path", "instance_number", "image_position_patient", "image_orientation_patient"]
    return pa.Table.from_pylist([dict(zip(names, (*row, [1.0, 0, 0, 0, 1, 0]), strict=True)) for row in rows])


def test_without_positions_the_instance_number_orders_and_those_without_come_last() -> None:
    rows = header_rows(("c", None, []), ("b", 2, []), ("a", 1, []), ("d", 3, [0.0, 0, 1]))
    assert in_order(rows) == ["a", "b", "d", "c"]


def test_slices_at_one_place_are_ordered_by_their_number() -> None:
    rows = header_rows(("b", 2, [0.0, 0, 5]), ("a", 1, [0.0, 0, 5]), ("z", 9, [0.0, 0, -5]))
    assert in_order(rows) == ["z", "a", "b"]


def test_of_two_copies_of_a_series_one_is_shown_and_of_two_patients_the_one_that_is_named(
    data: Dataset, test_data: Path
) -> None:
    files = sorted((test_data / "dicom" / "pydicom-dicomdirtests" / "98892001" / "CT5N").iterdir())
    header = pydicom.dcmread(files[0], stop_before_pixels=True)
    study, series = header.StudyInstanceUID, header.SeriesInstanceUID
    receive(data, study, files[:2], "moved")
    receive(data, study, files, "archive")
    assert {path.parts[-4] for path in data.slices(series).paths} == {"archive"}
    assert len(data.slices(series)) == len(data.volume(series).array) == len(files)
    receive(data, study, files[:3], "other", source="https://other.example/fhir")
    with pytest.raises(UsageError, match=f"2 patients .* source=: {SOURCE}, https://other.example/fhir"):
        data.volume(series)
    assert len(data.slices(series, source="https://other.example/fhir")) == 3
    assert len(data.volume(series, source=SOURCE).array) == len(files)
    with pytest.raises(NotInDataset, match=f"No record of .*nobody.* Known: {SOURCE}, https://other.example/fhir"):
        data.slices(series, source="https://nobody.example/fhir")


@pytest.mark.parametrize("series_uid", [None, 5, "CT of the chest", ["1.2.3"]])
def test_what_is_no_uid_is_told_as_such(data: Dataset, series_uid: object) -> None:
    for look in (data.slices, data.volume):
        with pytest.raises(BadUid, match="is no DICOM UID"):
            look(series_uid)  # type: ignore[arg-type]  # what people type


def test_what_is_evicted_leaves_the_table_and_what_was_looked_at_stays(data: Dataset, studies: Files) -> None:
    (first, some), (second, others) = list(studies.items())[:2]
    receive(data, first, some)
    receive(data, second, others)
    rows = data.table("dicom_instance")
    data.slices(str(rows[rows["study_uid"] == first]["series_uid"].iloc[0]))
    size = int(rows[rows["study_uid"] == first]["bytes"].sum())
    evicted = data.evict(size)
    assert (evicted.files, evicted.left_bytes) == (len(others), size)
    assert set(data.table("dicom_instance")["study_uid"]) == {first}
    data.images.pin(first)
    assert data.evict(0).studies == 0


def test_an_export_names_nobody_unless_it_is_told_to(data: Dataset, studies: Files, tmp_path: Path) -> None:
    uid, files = next(iter(studies.items()))
    receive(data, uid, files)
    naming = {"patient_name", "patient_birth_date", "patient_id_dicom"}
    assert data.table("dicom_instance")["patient_name"].notna().all()
    for identifiers, kept in ((False, set()), (True, naming)):
        export(data, tmp_path / "out", tables=["dicom_instance"], identifiers=identifiers)
        columns = set(pq.read_schema(tmp_path / "out" / "dicom_instance.parquet").names)
        told = set(pd.read_csv(tmp_path / "out" / "data_dictionary.csv")["column"])
        assert columns & naming == told & naming == kept
        assert columns == told


def test_the_columns_of_an_export_say_what_they_mean(data: Dataset, studies: Files, tmp_path: Path) -> None:
    uid, files = next(iter(studies.items()))
    receive(data, uid, files)
    export(data, tmp_path)
    for name in data.tables()["name"].to_pylist():
        assert all(field.metadata[b"meaning"] for field in pq.read_schema(tmp_path / f"{name}.parquet"))


def test_a_series_is_a_volume_of_its_slices(data: Dataset, test_data: Path) -> None:
    files = sorted((test_data / "dicom" / "pydicom-dicomdirtests" / "98892001" / "CT5N").iterdir())
    header = pydicom.dcmread(files[0], stop_before_pixels=True)
    receive(data, header.StudyInstanceUID, files)
    volume = data.volume(header.SeriesInstanceUID)
    assert volume.array.shape == (len(files), header.Rows, header.Columns)
    assert (volume.modality, volume.unit) == ("CT", "HU")
    with pytest.raises(NotInDataset, match="no images of series"):
        data.volume("1.2.3")
