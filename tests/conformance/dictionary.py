"""The data dictionary page, printed from the catalogue: `make dictionary`."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from s4s_lab.dicom import DicomCache
from s4s_lab.views import data_dictionary, load_view, packaged_views

PAGE = Path(__file__).resolve().parents[2] / "docs" / "data-dictionary.md"
_INTRODUCTION = """\
# Data dictionary

Every column of every table, printed from the ViewDefinitions in `s4s_lab/views/catalogue` by `make dictionary`. Paths
are FHIRPath, relative to the row's element. Every table ends with `parse_issues`: what the view could not place.
"""


def dictionary_page() -> str:
    """Return the page as Markdown: one section a table, one row a column."""
    sections = [_section(name, _rows(name)) for name in packaged_views()]
    schema: pa.Schema = DicomCache.instance_schema()
    files = [(field.name, str(field.type), "", "", _said(field)) for field in schema]
    return _INTRODUCTION + "".join([*sections, _section("dicom_instance", files)])


def _rows(name: str) -> list[tuple[str, str, str, str, str]]:
    table = data_dictionary(load_view(name)).to_pylist()
    return [(r["column"], r["type"], r["fhir_stu3"], r["fhir_r4"], _unit(r["meaning"], r["unit"])) for r in table]


def _said(field: pa.Field) -> str:
    told = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    return _unit(told.get("meaning", ""), told.get("unit", ""))


def _unit(meaning: str, unit: str) -> str:
    return f"{meaning} [{unit}]" if unit else meaning


def _section(name: str, rows: list[tuple[str, str, str, str, str]]) -> str:
    lines = [f"\n## {name}\n", "| column | type | STU3 | R4 | meaning |", "|---|---|---|---|---|"]
    for column, kind, stu3, r4, meaning in rows:
        paths = " | ".join(f"`{path.replace('|', chr(92) + '|')}`" if path else "" for path in (stu3, r4))
        lines.append(f"| `{column}` | {kind} | {paths} | {meaning} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(dictionary_page(), encoding="utf-8")
