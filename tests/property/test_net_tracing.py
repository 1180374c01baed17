"""Whatever URLs and headers hold, a trace shows none of it that is not known to be harmless."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from s4s_lab.net.showable import REQUEST_HEADERS, RESPONSE_HEADERS, traced_headers, traced_url

# What patient ids, tokens and codes look like: FHIR ids, base64, UUIDs; here always with a mark that is looked for.
letters = "abcxyzABCXYZ0123456789-._~"
secrets = st.builds(lambda a, b: f"{a}cAnArY{b}", st.text(letters, max_size=30), st.text(letters, max_size=30))
words = st.sampled_from(
    ["fhir", "Patient", "ImagingStudy", "studies", "series", "_history", "v", "sim", "metadata", "", "..", "%2F", ";x="]
)
digits = secrets.filter(lambda text: any(c.isdigit() for c in text))  # a name of letters only is shown as a name
names = st.sampled_from(
    ["patient", "_lastUpdated", "_count", "_include", "_id", "foo", "page", "_getpages", "code", ""]
)


@given(st.lists(words | secrets, max_size=8), st.lists(st.tuples(names | digits, secrets | words), max_size=6))
def test_no_secret_in_any_place_of_a_url_is_shown(path: list[str], query: list[tuple[str, str]]) -> None:
    pairs = "&".join(f"{name}={value}" for name, value in query)
    shown = traced_url(f"https://user:cAnArY@ehr.example:8443/{'/'.join(path)}?{pairs}#cAnArY")
    assert "cAnArY" not in shown
    assert shown.startswith("https://ehr.example:8443/")


@given(secrets)
def test_a_query_that_is_one_opaque_word_is_not_shown(secret: str) -> None:
    for query in (secret, f"{secret}=", f"{secret}==", f"a={secret}&{secret}"):
        assert "cAnArY" not in traced_url(f"https://ehr.example/fhir?{query}")


@given(st.text(max_size=60))
def test_any_text_is_taken_for_a_url(text: str) -> None:
    traced_url(text)
    traced_url(f"https://ehr.example/{text}")


@given(st.lists(st.tuples(st.sampled_from([*REQUEST_HEADERS, *RESPONSE_HEADERS, "x-other", "Set-Cookie"]), st.text())))
def test_any_headers_are_taken_and_only_listed_ones_are_kept(headers: list[tuple[str, str]]) -> None:
    shown = traced_headers(headers, RESPONSE_HEADERS)
    assert set(shown) <= set(RESPONSE_HEADERS)
    assert all(value.isprintable() and len(value) <= 200 for value in shown.values())


@given(secrets)
def test_credentials_are_never_shown(secret: str) -> None:
    sent = [("Authorization", f"{scheme} {secret}") for scheme in ("Bearer", "Basic", secret, "")]
    came = [("WWW-Authenticate", f'{secret} realm="{secret}"'), ("ETag", f'W/"{secret}"'), ("Set-Cookie", secret)]
    shown = f"{traced_headers(sent, REQUEST_HEADERS)}{traced_headers(came, RESPONSE_HEADERS)}"
    assert "cAnArY" not in shown
