"""Pages and resources from bytes: exact where they are right, refused with a sentence where they are not."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from s4s_lab.errors import UnexpectedAnswer
from s4s_lab.fhir.decoding import decode_resource
from s4s_lab.fhir.pages import Page, decode_page
from s4s_lab.net import Answer


def page(body: bytes | str, resource_type: str = "ImagingStudy") -> Page:
    content = body.encode() if isinstance(body, str) else body
    url = "https://ehr.example/fhir/ImagingStudy?patient=secret-id"
    return decode_page(Answer(200, {}, content, url, 0.25, None), resource_type, 1)


def bundle(*entries: str, **rest: object) -> str:
    head = json.dumps({"resourceType": "Bundle", "type": "searchset", **rest})[:-1]
    return f'{head}, "entry": [{", ".join(entries)}]}}'


def test_the_bytes_of_a_resource_are_those_received() -> None:
    raw = '{ "resourceType":"ImagingStudy",\n\t"id" : "1", "x": 1.50, "y": [ 1e2 ], "z": "\\u00e9é\u202f" }'
    (entry,) = page(bundle(f'{{"resource":  {raw}  , "fullUrl": "urn:uuid:1"}}')).entries
    assert entry.raw == raw.encode()
    assert (entry.resource_type, entry.resource_id, entry.full_url) == ("ImagingStudy", "1", "urn:uuid:1")
    assert entry.resource == json.loads(raw)


@pytest.mark.parametrize(
    ("search", "resource_type", "mode"),
    [
        ('{"mode": "match"}', "ImagingStudy", "match"), ('{"mode": "match"}', "Patient", "match"),
        ('{"mode": "include"}', "ImagingStudy", "include"), ('{"mode": "outcome"}', "OperationOutcome", "outcome"),
        ('{"mode": "match"}', "OperationOutcome", "outcome"), ("{}", "ImagingStudy", "match"),
        ("null", "Endpoint", "include"), ('"match"', "Endpoint", "include"), ('{"mode": 7}', "ImagingStudy", "match"),
        ("null", "OperationOutcome", "outcome"),
    ],
)  # fmt: skip
def test_every_entry_has_a_mode(search: str, resource_type: str, mode: str) -> None:
    (entry,) = page(bundle(f'{{"search": {search}, "resource": {{"resourceType": "{resource_type}"}}}}')).entries
    assert entry.mode == mode


def test_links_total_and_time_are_read() -> None:
    links = [
        None,
        {"relation": "self", "url": "https://ehr.example/fhir/ImagingStudy?patient=1"},
        {"relation": "next", "url": " https://ehr.example/fhir?page=2 "},
        {"relation": "next", "url": "https://ehr.example/fhir?page=3"},
        {"relation": "previous"},
    ]
    stamp = {"lastUpdated": "2019-03-29T14:07:59.605-04:00"}
    found = page(bundle(link=links, total=7, meta=stamp))
    assert found.self_url == "https://ehr.example/fhir/ImagingStudy?patient=1"
    assert found.next_url == "https://ehr.example/fhir?page=2"
    assert (found.total, found.elapsed_s, found.number, found.entries) == (7, 0.25, 1, ())
    assert found.bundle_time is not None
    assert found.bundle_time.isoformat() == "2019-03-29T18:07:59.605000+00:00"


@pytest.mark.parametrize("total", ["7", -1, 7.5, True, None, {}, [7]])
def test_a_total_that_is_no_count_counts_as_absent(total: object) -> None:
    assert page(bundle(total=total)).total is None


@pytest.mark.parametrize("meta", [None, [], "x", {}, {"lastUpdated": 5}, {"lastUpdated": "IGNORED_FIELD"}])
def test_a_bundle_time_that_is_none_counts_as_absent(meta: object) -> None:
    assert page(bundle(meta=meta)).bundle_time is None


@pytest.mark.parametrize("link", [None, {}, [], "x", [{"relation": "next", "url": ""}], [{"relation": 1, "url": 2}]])
def test_no_link_is_no_link(link: object) -> None:
    assert page(bundle(link=link)).next_url is None


def test_one_link_may_stand_without_a_list() -> None:
    assert page(bundle(link={"relation": "next", "url": "?page=2"})).next_url == "?page=2"


def test_entries_without_a_resource_bring_nothing() -> None:
    empty = ["null", "{}", '{"resource": null}', '{"response": {"status": "201"}}']
    assert page(bundle(*empty)).entries == ()
    assert page('{"resourceType": "Bundle", "entry": null}').entries == ()
    assert page('{"resourceType": "Bundle"}').entries == ()


@pytest.mark.parametrize("resource_id", ["null", "5", '""', '" "', "[]"])
def test_an_id_that_is_no_text_counts_as_absent(resource_id: str) -> None:
    (entry,) = page(bundle(f'{{"resource": {{"resourceType": "ImagingStudy", "id": {resource_id}}}}}')).entries
    assert entry.resource_id is None


def test_a_byte_order_mark_is_passed_over() -> None:
    assert page(b"\xef\xbb\xbf" + bundle().encode()).entries == ()


DEEP = 100_000
BAD = {
    "web page": (b"<!DOCTYPE html><html><body>Log in, secret-id</body></html>", "web page"),
    "web page in capitals": (b"\r\n <HTML>", "web page"),
    "XML": (b'<?xml version="1.0"?><Bundle xmlns="http://hl7.org/fhir"/>', "XML"),
    "nothing": (b"", "nothing"),
    "white space": (b" \r\n", "nothing"),
    "text": (b"DICOM Error: secret-id", "no FHIR JSON"),
    "a list": (b"[]", "no FHIR JSON"),
    "an empty object": (b"{}", "some other kind"),
    "a number": (b"5", "no FHIR JSON"),
    "a study": (b'{"resourceType": "ImagingStudy"}', "ImagingStudy where a Bundle was due"),
    "NaN": (bundle('{"resource": {"resourceType": "A", "x": NaN}}').encode(), "no FHIR JSON"),
    "infinity": (bundle('{"resource": {"resourceType": "A", "x": -Infinity}}').encode(), "no FHIR JSON"),
    "a cut": (bundle('{"resource": {"resourceType": "A"}}').encode()[:-9], "no FHIR JSON"),
    "a tail": (bundle().encode() + b"}", "no FHIR JSON"),
    "half a character": (bundle('{"resource": {"resourceType": "A", "x": "\\ud800"}}').encode(), "no FHIR JSON"),
    "another charset": (bundle('{"resource": {"resourceType": "A", "x": "é"}}').encode("latin-1"), "not UTF-8"),
    "brackets": (b"[" * DEEP, "no FHIR JSON"),
    "braces": (b'{"a":' * DEEP, "nested too deeply"),
    "a deep resource": (
        bundle('{"resource": {"resourceType": "A", "x": ' + "[" * DEEP + "]" * DEEP + "}}").encode(), "too deeply"
    ),
    "a resource too deep": (
        bundle('{"resource": {"resourceType": "A", "x": ' + "[" * 100 + "]" * 100 + "}}").encode(), "deeper than 100"
    ),
    "entries that are none": (b'{"resourceType": "Bundle", "entry": {"resource": 1}}', "no FHIR JSON"),
    "an entry that is none": (b'{"resourceType": "Bundle", "entry": ["secret-id"]}', "no FHIR JSON"),
    "a resource that is none": (bundle('{"resource": "secret-id"}').encode(), "no FHIR resource"),
    "a resource without type": (bundle('{"resource": {"id": "secret-id"}}').encode(), "no FHIR resource"),
    "an outcome": (
        b'{"resourceType": "OperationOutcome", "issue": [{"diagnostics": "no Patient/secret-id"}]}', "no Patient/…"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_page_is_refused_with_a_sentence(name: str) -> None:
    body, reason = BAD[name]
    with pytest.raises(UnexpectedAnswer, match=reason) as caught:
        page(body)
    assert "https://ehr.example/fhir/ImagingStudy?…" in str(caught.value)
    assert "secret-id" not in str(caught.value)


def test_nesting_up_to_the_limit_is_fine_and_brackets_in_texts_do_not_count() -> None:
    nested = "[" * 98 + "]" * 98
    text = "{[" * 500
    raw = f'{{"resourceType": "A", "x": {nested}, "text": "{text}"}}'
    assert decode_resource(raw.encode(), "x")["text"] == text


def test_numbers_that_no_type_holds_are_texts() -> None:
    numbers = ["9" * 5000, "-1e99999999999999999999"]
    resource = decode_resource(f'{{"resourceType": "A", "x": [{", ".join(numbers)}, 1, 0.5]}}'.encode(), "x")
    assert resource["x"] == [*numbers, 1, 0.5]


@pytest.mark.parametrize("text", ["", "{[", "]]", '\\"]', "[\\\\", "\n[", '"', "é]"])
def test_no_text_hides_how_deep_a_resource_is(text: str) -> None:
    """Texts with brackets beside every real bracket: neither too deep by theirs, nor saved by theirs."""
    for levels in (99, 100):
        value: object = 1
        for level in range(levels):
            value = [text, value, text] if level % 2 else {text: value, f"{text}1": text}
        raw = json.dumps({"resourceType": "A", "x": value}, ensure_ascii=False).encode()
        if levels == 99:
            assert decode_resource(raw, "x")["resourceType"] == "A"
        else:
            with pytest.raises(UnexpectedAnswer, match="deeper than 100"):
                decode_resource(raw, "x")


def test_numbers_beyond_floats_stay_exact() -> None:
    resource = decode_resource(b'{"resourceType": "A", "big": 1e400, "half": 0.5, "int": 1000000000000000000}', "x")
    assert resource["big"] == Decimal("1e400")
    assert (resource["half"], resource["int"]) == (0.5, 10**18)


PATIENTS = '"patient": {"reference": "Patient/1"}'


@pytest.mark.parametrize("space", ["", " ", "\n\t"])
@pytest.mark.parametrize(
    "twice",
    [
        '"id": "1", "id": "2"', '"id": "1", "id": "1"', '"id": "1", "x": [{"id": "3"}], "i\\u0064": "2"',
        '"meta": {}, "meta": {"versionId": "2"}', f"{PATIENTS}, {PATIENTS}", '"resourceType": "A"',
        '"\\u00e9": 1, "é": 2', '"x": 1, "x": {"a": 1e999}',
    ],
)  # fmt: skip
def test_a_resource_that_gives_an_element_twice_is_refused(twice: str, space: str) -> None:
    raw = f'{{"resourceType": "A", {twice}}}'.replace(" ", space)
    with pytest.raises(UnexpectedAnswer, match="two elements of one name"):
        decode_resource(raw.encode(), "x")


@pytest.mark.parametrize("spaces", range(60))
def test_no_name_of_spaces_makes_up_for_an_element_that_came_twice(spaces: int) -> None:
    raw = f'{{"resourceType":"A","x":{{"y":"2"}},"x":{{"y":"1"}},"{" " * spaces}":1}}'
    with pytest.raises(UnexpectedAnswer, match="two elements of one name"):
        decode_resource(raw.encode(), "x")


def test_a_page_keeps_its_many_small_elements_undecoded() -> None:
    elements = ", ".join(f'"a{number}": {number}' for number in range(1000))
    (entry,) = page(bundle(f'{{"resource": {{"resourceType": "ImagingStudy", {elements}}}}}')).entries
    assert entry.kept_members is None
    assert entry.elements("a7", "a8", "b") == {"a7": 7, "a8": 8}


A = '{"resource": {"resourceType": "A"}}'


@pytest.mark.parametrize("space", ["", " "])
@pytest.mark.parametrize(
    "body",
    [
        f'"entry": [{A}], "entry": []', f'"entry": [{A}], "\\u0065ntry": [{A}]', '"link": [], "link": []',
        '"other": 1, "other": 2', '"resourceType": "Bundle"', f'"entry": [null, {A[:-1]}, {A[1:]}]',
        '"id": "1", "id": "1"', f'"entry": [{A[:-1]}, "fullUrl": "a", "fullUrl": "b"}}]',
        '"entry": null, "entry": null',
    ],
)  # fmt: skip
def test_a_bundle_or_entry_that_gives_an_element_twice_is_refused(body: str, space: str) -> None:
    with pytest.raises(UnexpectedAnswer, match="two elements of one name"):
        page(f'{{"resourceType": "Bundle", {body}}}'.replace(" ", space))


@pytest.mark.parametrize("space", ["", " ", "\n\t"])
def test_names_may_come_again_in_other_objects(space: str) -> None:
    own = '"id": "b", "i\\u0065": 1, "x": [{"id": "1"}, {"id": "2"}]'
    one = f'{{"resource": {{"resourceType": "A", {own}}}, "a": {A}}}'
    text = f'{{"resourceType": "Bundle", "own": [{A}, {A}], "id": "1", "entry": [{one}, null, {one}], "xy": 1}}'
    assert len(page(text.replace(" ", space)).entries) == 2


def test_pages_show_neither_patients_nor_content() -> None:
    found = page(bundle('{"resource": {"resourceType": "ImagingStudy", "id": "secret-id"}}'))
    assert "secret-id" not in repr(found)
    assert "secret-id" not in repr(found.entries)


def test_every_bundle_among_real_files_is_read_whole(test_data: Path) -> None:
    entries = 0
    for path in sorted((test_data / "fhir").rglob("*.json")):
        content = path.read_bytes()
        expected = json.loads(content)
        if not (isinstance(expected, dict) and expected.get("resourceType") == "Bundle"):
            continue
        resources = [entry["resource"] for entry in expected.get("entry", []) if entry.get("resource")]
        found = page(content).entries
        assert [json.loads(entry.raw) for entry in found] == resources, path
        places = [content.find(entry.raw) for entry in found[:5]]
        assert -1 not in places, path
        assert places == sorted(places), path
        entries += len(found)
    assert entries > 5000
