"""Study addresses and archive keys."""

from __future__ import annotations

import re

import pytest

from s4s_lab.dicom import archive_key, study_url
from s4s_lab.errors import BadUid, UsageError

UID = "2.16.124.113543.6003.1154777499.30246.19789.3503430045"
BASE = "https://imaging-server/Patient/smart-1288992/$wado-rs"
EVERY_FORM = [
    BASE,
    BASE + "/",
    BASE + "//",
    f"{BASE}/studies",
    f"{BASE}/studies/",
    f"{BASE}/studies/{UID}",
    f"{BASE}/studies/{UID}/",
    f"{BASE}/studies/urn:oid:{UID}",
]


@pytest.mark.parametrize("address", EVERY_FORM)
@pytest.mark.parametrize("uid", [UID, f"urn:oid:{UID}", f"URN:OID:{UID}"])
def test_every_form_of_address_and_uid_gives_the_address_of_the_page(address: str, uid: str) -> None:
    # The S4S imaging page: GET https://imaging-server/Patient/smart-1288992/$wado-rs/studies/2.16.124…
    assert study_url(address, uid) == f"{BASE}/studies/{UID}"


def test_joining_twice_changes_nothing() -> None:
    once = study_url("https://pacs.example/dicom-web/", UID)
    assert study_url(once, UID) == once


def test_an_address_of_another_study_gives_this_ones() -> None:
    assert study_url(f"{BASE}/studies/1.2.3", UID) == f"{BASE}/studies/{UID}"


def test_a_query_of_the_address_stays_behind_the_path() -> None:
    assert study_url("https://pacs.example/wado?tenant=7", "1.2") == "https://pacs.example/wado/studies/1.2?tenant=7"


def test_a_path_that_only_resembles_studies_is_kept() -> None:
    assert study_url("https://pacs.example/mystudies", "1.2") == "https://pacs.example/mystudies/studies/1.2"


@pytest.mark.parametrize("uid", ["", "../../etc", "1..2", "1.2/3", "1.2?x", "x" * 65, "1" * 65, "１.２"])
def test_no_address_is_built_from_what_is_no_uid(uid: str) -> None:
    with pytest.raises(BadUid):
        study_url(BASE, uid)


@pytest.mark.parametrize("base", ["", "ftp://pacs/wado", "/wado", "https://", "https://ho st/x"])
def test_what_is_no_web_address_is_refused(base: str) -> None:
    with pytest.raises(UsageError):
        study_url(base, UID)


def test_every_form_of_one_services_address_gives_one_archive() -> None:
    keys = {archive_key(address, "smart-1288992") for address in EVERY_FORM}
    assert len(keys) == 1
    assert re.fullmatch(r"[0-9a-f]{16}", keys.pop())


def test_two_patients_or_two_services_never_share_an_archive() -> None:
    keys = {
        archive_key("https://a.example/wado", "1"),
        archive_key("https://a.example/wado", "2"),
        archive_key("https://b.example/wado", "1"),
        archive_key("https://a.example:444/wado", "1"),
        archive_key("https://a.example/wado2", "1"),
        archive_key("https://a.example/wado?tenant=1", "1"),
    }
    assert len(keys) == 6


def test_the_default_port_and_the_case_of_the_host_make_no_second_archive() -> None:
    assert archive_key("https://A.example:443/wado", "1") == archive_key("https://a.example/wado", "1")


@pytest.mark.parametrize(
    "signature",
    [
        "X-Amz-Date=20260102T030405Z&X-Amz-Expires=300&X-Amz-Signature=ab%2Bcd",
        "X-Goog-Credential=a&X-Goog-Signature=b",
        "Expires=1790000000&Signature=abc~&Key-Pair-Id=K2",
        "sv=2024-05-04&st=2026-01-02&se=2026-01-03&sr=c&sp=r&spr=https&sig=a%3D",
        "access_token=abc",
    ],
)
def test_an_address_that_is_signed_anew_is_no_other_archive(signature: str) -> None:
    plain = archive_key("https://a.example/wado?tenant=1", "1")
    assert archive_key(f"https://a.example/wado?tenant=1&{signature}", "1") == plain
    assert archive_key(f"https://a.example/wado?{signature}&tenant=2", "1") != plain


ALONE = [
    "x-amz-security-token", "x-goog-expires", "sig", "signature", "expires", "policy", "key-pair-id", "googleaccessid",
    "awsaccesskeyid", "token", "access_token",
]  # fmt: skip
# Of shared access signatures of Azure's object store: for a service, an account, a user's delegation.
BESIDE_SIG = [
    "sd", "se", "si", "sp", "sr", "ss", "st", "sv", "spr", "skoid", "sktid", "skt", "ske", "sks", "skv", "ses", "scid",
]  # fmt: skip


@pytest.mark.parametrize("name", ALONE + [name.title() for name in ALONE])
def test_each_name_of_a_signature_leaves_the_archive_the_same(name: str) -> None:
    assert archive_key(f"https://a.example/wado?{name}=1", "1") == archive_key("https://a.example/wado", "1")


@pytest.mark.parametrize("name", BESIDE_SIG)
def test_each_short_name_of_a_signature_counts_beside_one_only(name: str) -> None:
    plain = archive_key("https://a.example/wado", "1")
    assert archive_key(f"https://a.example/wado?{name}=1&sig=a", "1") == plain
    assert archive_key(f"https://a.example/wado?{name}=1", "1") != plain


@pytest.mark.parametrize("name", ["x-amz", "amz-x-date", "signatures", "tokens", "s", "sx", "skx", "sz", "tenant"])
def test_other_names_tell_archives_apart(name: str) -> None:
    assert archive_key(f"https://a.example/wado?{name}=1&sig=a", "1") != archive_key("https://a.example/wado", "1")


def test_short_names_belong_to_a_signature_only_beside_one() -> None:
    assert archive_key("https://a.example/wado?sr=1", "1") != archive_key("https://a.example/wado?sr=2", "1")
