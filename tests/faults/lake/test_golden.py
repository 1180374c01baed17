"""A dataset of an earlier day opens, says what it said, and goes on; one of a later format is refused."""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from s4s_lab import Dataset, open_dataset
from s4s_lab.errors import NotADataset, S4SWarning
from s4s_lab.lake.entries import entry_path, read_entry
from s4s_lab.values.instants import from_millis
from tests.faults.lake import golden
from tests.unit.lake.records import SOURCE

NOW = (golden.claim(1, "cancelled"), golden.claim(2), golden.study(1))
Spoil = Callable[[str], str]


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    """The dataset that the file holds."""
    return golden.opened(tmp_path)


def content_digest(resource: dict[str, Any]) -> str:
    """A resource's hash as its definition says: SHA-256 of the JSON with sorted names and no blanks."""
    return hashlib.sha256(json.dumps(resource, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def digest(lines: list[list[str | None]]) -> str:
    """The digest as its definition says: SHA-256 of a JSON line a resource, in the order of their keys."""
    return "sha256:" + hashlib.sha256(b"".join(json.dumps(line).encode() + b"\n" for line in sorted(lines))).hexdigest()


def test_it_says_what_it_said(data: Dataset) -> None:
    lines: list[list[str | None]] = [
        [SOURCE, "p1", one["resourceType"], one["id"], content_digest(one), None] for one in NOW
    ]
    gone: list[str | None] = [SOURCE, "p1", "ImagingStudy", "s2", "gone", "deleted"]
    assert data.citation() == f"S4S Lab dataset {data.dataset_id}, version 2, {digest([*lines, gone])}"
    claims = data.table("explanation_of_benefit")
    assert dict(zip(claims["resource_id"], claims["status"], strict=True)) == {"c1": "cancelled", "c2": "active"}
    assert set(claims["participant_id"]) == {"P-0001"}
    assert len(data.table("eob_item")) == 4
    assert list(data.table("imaging_study")["resource_id"]) == ["s1"]
    assert sorted(data.table("imaging_study", as_of=1)["resource_id"]) == ["s1", "s2"]
    assert len(data.ledger.rows()) == 2


def test_it_is_whole(data: Dataset) -> None:
    report = data.verify()
    assert report.outcome == "done", report.found.to_dict()


def test_pulling_goes_on_where_it_was(data: Dataset) -> None:
    record = data.connections()[0]
    cursor = data.cursor(record, "ExplanationOfBenefit", "query")
    assert data.log.last_check(cursor) == from_millis(golden.LAST_CHECK + 2)
    golden.commit(data, [golden.version(golden.claim(3))], 3)
    assert sorted(data.table("explanation_of_benefit")["resource_id"]) == ["c1", "c2", "c3"]


def test_a_later_format_is_refused_with_a_sentence(data: Dataset) -> None:
    settings = data.path() / "dataset.json"
    settings.write_text(settings.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(NotADataset, match=r"has format 2; this version of S4S Lab knows 1\. Use .* a newer one\."):
        open_dataset(data.path())


def in_place(pattern: str, replacement: str) -> Spoil:
    """Change the last match of a pattern, the length staying the same."""

    def spoil(text: str) -> str:
        *_, match = re.finditer(pattern, text)
        new = match.expand(replacement)
        assert len(new) == len(match[0])
        assert new != match[0]
        return text[: match.start()] + new + text[match.end() :]

    return spoil


CLASSES = {
    "structure": in_place(r'\{"add"', r'["add"'),
    "kind of action": in_place(r'"add"', '"ade"'),
    "path": in_place(r'("path":"[^"]*part-0000)0', r"\g<1>9"),
    "size": in_place(r'("size":)(\d)', r"\g<1>9"),
    "partition": in_place(r'("bucket":")\d', r"\g<1>9"),
    "data change": in_place(r'"dataChange":true ?', '"dataChange":nope'),
    "statistics": in_place(r'(minValues.*?"patient_id\\":\\")p1', r"\g<1>q1"),
    "row count": in_place(r'(numRecords\\":)\d', r"\g<1>7"),
    "watermark": in_place(r'("txn".*"version":1793534)4', r"\g<1>5"),
    "cursor": in_place(r'("txn":\{"appId":")\w{4}', r"\g<1>zzzz"),
    "time": in_place(r'("timestamp":)1', r"\g<1>2"),
    "bytes that are no text": lambda text: text.replace("part-0000", "part-\udcff000", 1),
}


@pytest.mark.parametrize("spoil", CLASSES.values(), ids=CLASSES.keys())
def test_a_newest_entry_with_any_wrong_byte_is_found_when_it_opens_or_is_verified(data: Dataset, spoil: Spoil) -> None:
    entry = entry_path(data.log.path, 2)
    written = entry.stat()
    entry.write_bytes(spoil(entry.read_text()).encode(errors="surrogateescape"))
    # A byte that changes by itself leaves the file's time as it was.
    os.utime(entry, ns=(written.st_atime_ns, written.st_mtime_ns))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", S4SWarning)
        again = open_dataset(data.path())
    if any("never finished" in str(one.message) for one in caught):
        assert again.log.version == 1
    else:
        assert again.verify().outcome == "failed"


@pytest.mark.parametrize("table", ["resources", "pulls", "tables/eob_item"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_a_flipped_byte_of_a_data_file_is_found_when_it_is_verified(data: Dataset, table: str, share: float) -> None:
    folder = data.path() / table
    file = folder / read_entry(folder, 1).added[0].path
    content = bytearray(file.read_bytes())
    content[int(share * len(content))] ^= 1
    file.write_bytes(content)
    assert data.verify().outcome == "failed"
