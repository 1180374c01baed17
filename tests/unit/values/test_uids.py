"""UIDs: what is one, and that nothing else ever becomes part of a path."""

from __future__ import annotations

import pytest

from s4s_lab.errors import BadUid
from s4s_lab.values.uids import bare_uid, checked_uid, is_uid

PAGE = "2.16.124.113543.6003.1154777499.30246.19789.3503430045"


@pytest.mark.parametrize("text", [f"urn:oid:{PAGE}", PAGE, f" URN:OID:{PAGE}\n", f"{PAGE} "])
def test_a_uid_is_read_with_and_without_its_prefix(text: str) -> None:
    assert bare_uid(text) == PAGE
    assert checked_uid(text) == PAGE


@pytest.mark.parametrize(
    "text",
    ["", ".", "1..2", "1.2.", ".1", "../../etc/passwd", "/etc/cron.d/x", "1.2/3", "1.2\x003", "1.2\n3", "١.٢", "1.2a",
     "1." * 32 + "11", "urn:uuid:5", "a" * 5000]
)  # fmt: skip
def test_hostile_and_broken_text_is_no_uid(text: str) -> None:
    assert not is_uid(text)
    with pytest.raises(BadUid, match="no DICOM UID"):
        checked_uid(text)


def test_real_uids_with_leading_zeros_and_one_component_pass() -> None:
    assert is_uid("1.2.840.00.5")
    assert is_uid("1")
    assert is_uid("1" * 64)
    assert not is_uid("1" * 65)


def test_the_message_does_not_repeat_endless_text() -> None:
    with pytest.raises(BadUid) as refused:
        checked_uid("9" * 10_000)
    assert len(str(refused.value)) < 250
