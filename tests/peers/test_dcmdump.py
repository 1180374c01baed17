"""dcmtk's dcmdump reads the same header facts as the rows of our table."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from s4s_lab.dicom.headers import read_header

ASKED = {
    "study_uid": "0020,000D",
    "series_uid": "0020,000E",
    "instance_uid": "0008,0018",
    "sop_class_uid": "0008,0016",
    "transfer_syntax_uid": "0002,0010",
    "modality": "0008,0060",
    "rows": "0028,0010",
    "columns": "0028,0011",
    "number_of_frames": "0028,0008",
    "patient_id_dicom": "0010,0020",
    "instance_number": "0020,0013",
}
# A line at the top level stands at its very beginning; bytes of an unknown VR are shown in hexadecimal digits.
LINE = re.compile(r"^\(([0-9a-f]{4},[0-9a-f]{4})\) (\w\w) (?:\[([^\]]*)\]|=(\S+)|(\S+))", re.MULTILINE)
SAMPLE = (
    "pydicom-dicomdirtests",
    "highdicom",
    "pydicom-test/MR_small*",
    "pydicom-test/image_dfl.dcm",
    "pydicom-test/SC_rgb_rle*",
    "pydicom-test/JPEG*",
    "pydicom-test/rtdose*",
    "s4s-sample-patients",
)


def files_of(test_data: Path, name: str) -> list[Path]:
    found = sorted((test_data / "dicom").glob(name if "." in name or "*" in name else f"{name}/**/*"))
    return [path for path in found if path.is_file()]


def dumped(program: str, path: Path) -> dict[str, str]:
    """The elements at the top level before the pixels, as dcmdump shows them."""
    command = [program, "-q", "-Un", "+L", "+sb", "7fe0,0010", str(path)]
    text = subprocess.run(command, capture_output=True, check=True).stdout.decode("latin-1")
    return {match[1]: shown_value(match) for match in LINE.finditer(text)}


def shown_value(match: re.Match[str]) -> str:
    plain = match[3] or match[4] or match[5] or ""
    if plain == "(no":  # value available
        return ""
    if match[2] == "UN":
        plain = bytes.fromhex(plain.replace("\\", "")).decode("latin-1")
    return plain.strip("\0 ")


@pytest.mark.parametrize("name", SAMPLE)
def test_dcmdump_agrees(require: Callable[[str], str], test_data: Path, name: str) -> None:
    program = require("dcmdump")
    paths = files_of(test_data, name)
    assert paths
    for path in paths:
        header, seen = read_header(path.read_bytes()), dumped(program, path)
        ours = {name: "" if header.values[name] is None else str(header.values[name]) for name in ASKED}
        assert (path.name, ours) == (path.name, {name: seen.get(tag.lower(), "") for name, tag in ASKED.items()})
