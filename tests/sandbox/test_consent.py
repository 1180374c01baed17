"""The consent page and the page of what is shared: what people see, and what keeps others out."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from html.parser import HTMLParser

import httpx2
import pytest

from s4s_lab import sandbox
from tests.sandbox.app import App, query_of


class Elements(HTMLParser):
    """Every start tag of a page with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def of(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        return [found for name, found in self.found if name == tag and attributes.items() <= found.items()]


@pytest.fixture
def browser() -> Iterator[httpx2.Client]:
    with httpx2.Client(trust_env=False) as client:
        yield client


def hidden(page: httpx2.Response) -> dict[str, str]:
    fields = Elements(page.text).of("input", type="hidden")
    return {str(one["name"]): str(one["value"]) for one in fields}


def test_the_page_shows_who_asks_for_what_and_every_participant(app: App, browser: httpx2.Client) -> None:
    page = browser.get(app.authorize_url())
    assert page.status_code == 200
    assert "S4S Lab asks to see your health records" in page.text
    assert "come back for news later" in page.text
    radios = Elements(page.text).of("input", type="radio", name="participant")
    assert [one["value"] for one in radios] == [one.patient_id for one in app.server.participants]
    assert ["checked" in one for one in radios] == [True] + [False] * (len(radios) - 1)
    assert all(one.name in page.text for one in app.server.participants)


def test_the_page_can_be_used_without_sight_and_without_script(app: App, browser: httpx2.Client) -> None:
    page = Elements(browser.get(app.authorize_url()).text)
    assert page.of("html", lang="en")
    assert len(page.of("h1")) == 1
    assert len(page.of("legend")) == 1
    assert len(page.of("label")) == len(app.server.participants)
    assert [one["value"] for one in page.of("button", name="decision")] == ["approve", "deny"]
    assert not page.of("script")


def test_the_policy_allows_this_style_and_the_way_back_and_nothing_else(app: App, browser: httpx2.Client) -> None:
    page = browser.get(app.authorize_url())
    style = re.search(r"<style>(.*)</style>", page.text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = dict(one.strip().split(" ", 1) for one in page.headers["content-security-policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "style-src": f"'sha256-{digest}'",
        "form-action": "'self' http://127.0.0.1:8723",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-store"
    assert not re.search(r"style=|\son\w+=", page.text)


def test_the_name_of_an_app_is_shown_as_text(app: App, browser: httpx2.Client) -> None:
    name = "<script>alert('x')</script>\"&"
    metadata = {"redirect_uris": [app.server.registration.redirect_uri], "client_name": name}
    client_id = app.http.post(f"{app.root}/oauth/register", json=metadata).json()["client_id"]
    page = browser.get(app.authorize_url(client_id=client_id))
    assert "<script" not in page.text
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;&quot;&amp; asks" in page.text


def test_the_cookie_is_kept_from_scripts_and_other_sites(app: App, browser: httpx2.Client) -> None:
    cookie = browser.get(app.authorize_url()).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "path=/oauth" in cookie


@pytest.mark.parametrize("change", [{"csrf": "0" * 64}, {"csrf": ""}], ids=["wrong", "missing"])
def test_a_form_without_this_browsers_token_is_refused(
    app: App, browser: httpx2.Client, change: dict[str, str]
) -> None:
    form = hidden(browser.get(app.authorize_url())) | {"decision": "deny"}
    assert browser.post(f"{app.root}/oauth/consent", data=form | change).status_code == 403
    assert browser.post(f"{app.root}/oauth/consent", data=form).status_code == 303


def test_a_form_from_another_browser_is_refused(app: App, browser: httpx2.Client) -> None:
    form = hidden(browser.get(app.authorize_url())) | {"decision": "deny"}
    answered = httpx2.post(f"{app.root}/oauth/consent", data=form, trust_env=False)
    assert answered.status_code == 403
    assert "location" not in answered.headers


@pytest.mark.parametrize(
    "answer",
    [{}, {"decision": "maybe"}, {"decision": "approve"}, {"decision": "approve", "participant": "nobody"}],
    ids=["nothing", "neither", "nobody", "unknown"],
)
def test_half_an_answer_is_asked_again(app: App, browser: httpx2.Client, answer: dict[str, str]) -> None:
    form = hidden(browser.get(app.authorize_url()))
    assert browser.post(f"{app.root}/oauth/consent", data=form | answer).status_code == 400
    again = form | {"decision": "approve", "participant": app.server.participants[0].patient_id}
    assert "code" in query_of(browser.post(f"{app.root}/oauth/consent", data=again).headers["location"])


def test_a_question_is_answered_once(app: App, browser: httpx2.Client) -> None:
    form = hidden(browser.get(app.authorize_url())) | {"decision": "deny"}
    assert browser.post(f"{app.root}/oauth/consent", data=form).status_code == 303
    second = browser.post(f"{app.root}/oauth/consent", data=form)
    assert second.status_code == 400
    assert "location" not in second.headers


def test_what_is_shared_can_be_stopped_on_the_manage_page(fresh: App, browser: httpx2.Client) -> None:
    manage = f"{fresh.root}/oauth/manage"
    assert "Nothing is shared" in browser.get(manage).text
    tokens = fresh.tokens(participant=1)
    page = browser.get(manage)
    assert f"sees the records of {fresh.server.participants[1].name}" in page.text
    approval = Elements(page.text).of("button", name="approval")[0]["value"]
    answered = browser.post(manage, data=hidden(page) | {"approval": str(approval)})
    assert (answered.status_code, answered.headers["location"]) == (303, "manage")
    assert "Nothing is shared" in browser.get(manage).text
    assert fresh.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert browser.get(f"{fresh.server.fhir_url}/ImagingStudy", headers=headers).status_code == 401


def test_sharing_cannot_be_stopped_from_elsewhere(fresh: App, browser: httpx2.Client) -> None:
    tokens = fresh.tokens()
    approval = Elements(browser.get(f"{fresh.root}/oauth/manage").text).of("button", name="approval")[0]["value"]
    form = {"csrf": "0" * 64, "approval": str(approval)}
    assert browser.post(f"{fresh.root}/oauth/manage", data=form).status_code == 403
    assert fresh.refresh(tokens["refresh_token"]).status_code == 200


def test_the_consent_page_of_many_people_offers_each(
    http: httpx2.Client, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("many")
    for number in range(60):
        (folder / f"{number}.json").write_text(f'{{"resourceType": "Patient", "id": "p{number}"}}')
    with sandbox.start(fhir=folder) as server:
        page = http.get(App(server, http).authorize_url())
    assert len(Elements(page.text).of("input", type="radio")) == 60
