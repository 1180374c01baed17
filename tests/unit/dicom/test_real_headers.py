"""Every real file's header, against the manifest and against pydicom."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.multival import MultiValue

from s4s_lab.dicom.columns import ATTRIBUTES, KEYS, Attribute
from s4s_lab.dicom.headers import read_header

MANIFEST_COLUMNS = {
    "modality": "modality",
    "transfer_syntax_uid": "transfer_syntax_uid",
    "sop_class_uid": "sop_class_uid",
    "study_uid": "study_uid",
    "series_uid": "series_uid",
    "instance_uid": "sop_uid",
    "number_of_frames": "frames",
    "rows": "rows",
    "columns": "columns",
}
NOT_DICOM = "it has no study_uid: it does not begin as a DICOM file"


@pytest.fixture(scope="module")
def manifest(test_data: Path) -> list[tuple[Path, dict[str, str]]]:
    with (test_data / "dicom-manifest.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [(test_data / "dicom" / row["file"], row) for row in rows]


def test_the_manifest_says_the_same_of_every_file(manifest: list[tuple[Path, dict[str, str]]]) -> None:
    differences = []
    for path, row in manifest:
        header = read_header(path.read_bytes())
        if "no-preamble" in row["notes"]:
            assert header.refusal == NOT_DICOM
            continue
        for ours, theirs in MANIFEST_COLUMNS.items():
            cell = header.values[ours]
            if ("" if cell is None else str(cell)) != row[theirs]:
                differences.append((path.name, ours, cell, row[theirs]))
    # The one value that is no number of frames (badVR.dcm) is null here.
    assert differences == [("badVR.dcm", "number_of_frames", None, "1A")]


def test_exactly_the_files_that_cannot_be_filed_are_refused(manifest: list[tuple[Path, dict[str, str]]]) -> None:
    refused = {row["file"] for path, row in manifest if read_header(path.read_bytes()).refusal}
    expected = {row["file"] for _, row in manifest if not row["study_uid"] or "no-preamble" in row["notes"]}
    assert refused == expected
    assert len(refused) == 15


def reference_cell(data_set: pydicom.Dataset, attribute: Attribute) -> Any:
    source = data_set.file_meta if attribute.tag >> 16 == 2 else data_set
    value = source[attribute.tag].value if attribute.tag in source else None
    many = [] if value in (None, "") else list(value) if isinstance(value, (list, MultiValue)) else [value]
    match attribute.kind:
        case "numbers":
            return [float(item) for item in many]
        case "codes":
            return [str(item).strip() for item in many]
        case "number":
            return float(many[0]) if many else None
        case "integer":
            return int(many[0]) if many else None
        case "date" | "time":
            return str(value).replace(":", "").replace(".", "" if attribute.kind == "date" else ".") if many else None
        case _:
            # A trailing = of a name is an empty group of it, which pydicom leaves away.
            return str(value).rstrip("= ").strip() if many and str(value).strip() else None


def shown(cell: Any, attribute: Attribute) -> Any:
    if attribute.kind == "date":
        return cell and cell.strftime("%Y%m%d")
    if attribute.kind == "time":
        return cell and cell.replace(":", "")
    return cell.rstrip("= ") if isinstance(cell, str) else cell


def test_pydicom_reads_the_same_from_every_file(manifest: list[tuple[Path, dict[str, str]]]) -> None:
    compared = 0
    for path, row in manifest:
        if "no-preamble" in row["notes"]:
            continue
        header = read_header(path.read_bytes())
        readable = [a for a in (*KEYS, *ATTRIBUTES) if not any(i.startswith(f"{a.name}:") for i in header.issues)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data_set = pydicom.dcmread(path, stop_before_pixels=True)
            expected = {attribute.name: reference_cell(data_set, attribute) for attribute in readable}
        for attribute in readable:
            assert (path.name, shown(header.values[attribute.name], attribute)) == (path.name, expected[attribute.name])
        compared += len(readable)
    assert compared > 165 * len(ATTRIBUTES)


def test_names_in_every_character_set_are_readable(test_data: Path) -> None:
    folder = test_data / "dicom" / "pydicom-charset"
    names = {path.name: read_header(path.read_bytes()) for path in folder.iterdir()}
    assert names["chrH31.dcm"].values["patient_name"] == "Yamada^Tarou=山田^太郎=やまだ^たろう"
    assert names["chrI2.dcm"].values["patient_name"] == "Hong^Gildong=洪^吉洞=홍^길동"
    assert names["chrX2.dcm"].values["patient_name"] == "Wang^XiaoDong=王^小东="
    assert names["chrRuss.dcm"].values["patient_name"] == "Люкceмбypг"
    assert not any("character set" in issue for header in names.values() for issue in header.issues)
