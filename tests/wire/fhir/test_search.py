"""Searches over the wire: the requests of the S4S page, all pages or an error, no step outside."""

from __future__ import annotations

import json
import socket

import pytest

from s4s_lab.errors import (
    AccessRefused,
    GrantExpired,
    IncompletePull,
    OriginRefused,
    S4SError,
    UnexpectedAnswer,
    Waiting,
)
from s4s_lab.fhir import Page, search, searching
from s4s_lab.net import Patience
from tests.wire.fhir.conftest import PATIENT, TOKEN, Slept, bundle, by_target, outcome, signing, study, talking, targets
from tests.wire.net.servers import Request, Script, Server, answers, reply, serving

FIRST = f"/fhir/ImagingStudy?patient={PATIENT}"
EACH = {"patient": PATIENT}


def searched(server: Server, *, base: str = "/fhir", patience: Patience | None = None) -> list[Page]:
    """Search a server for the patient's studies."""
    with signing(server.url, patience=patience) as client:
        return list(search(client, f"{server.url}{base}", "ImagingStudy", EACH))


def ids(pages: list[Page]) -> list[str | None]:
    return [entry.resource_id for page in pages for entry in page.entries]


LAST_CHECK = "gt2016-04-01T02:52:32.000Z"


@pytest.mark.clause("S4S-6", "S4S-7", "S4S-8", "S4S-9", "S4S-15")
@pytest.mark.parametrize("resource_type", ["ImagingStudy", "ExplanationOfBenefit"])
@pytest.mark.parametrize(
    ("parameters", "query"),
    [
        ({"patient": PATIENT}, f"patient={PATIENT}"),
        ({"patient": PATIENT, "_lastUpdated": LAST_CHECK}, f"patient={PATIENT}&_lastUpdated={LAST_CHECK}"),
    ],
    ids=["first-connection", "periodic-update"],
)
def test_the_requests_of_the_s4s_page_are_sent(resource_type: str, parameters: dict[str, str], query: str) -> None:
    with talking(answers(reply(200, body=bundle()))) as (server, client):
        pages = list(search(client, f"{server.url}/api/fhir/", resource_type, parameters))
    (request,) = server.requests
    assert (request.method, request.target) == ("GET", f"/api/fhir/{resource_type}?{query}")
    accepted = request.headers["accept"].split(", ")
    assert accepted == ["application/fhir+json", "application/json+fhir;q=0.9", "application/json;q=0.8"]
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert (len(pages), pages[0].number, pages[0].entries) == (1, 1, ())


def test_parameters_are_escaped_and_may_be_none_at_all() -> None:
    with talking(answers(reply(200, body=bundle()))) as (server, client):
        list(search(client, server.url, "ImagingStudy", {"patient": "a&b=c d+é#", "_include": "ImagingStudy:endpoint"}))
        list(search(client, server.url, "Patient", {}))
    assert targets(server) == [
        "/ImagingStudy?patient=a%26b%3Dc%20d%2B%C3%A9%23&_include=ImagingStudy:endpoint", "/Patient",
    ]  # fmt: skip


@pytest.mark.clause("S4S-5")
def test_a_busy_search_is_waited_out_on_any_page(slept: Slept) -> None:
    pages = [bundle(study(1), next_url="?page=2"), bundle(study(2))]
    busy = reply(503, "Retry-After: 300")
    script = answers(busy, reply(200, body=pages[0]), busy, reply(200, body=pages[1]))
    with serving(script) as server:
        assert ids(searched(server, patience=slept.patience())) == ["1", "2"]
    assert len(slept.seconds) == 2
    assert min(slept.seconds) >= 300


def test_a_search_that_would_wait_too_long_says_when_to_come_back() -> None:
    with serving(answers(reply(503, "Retry-After: 300"))) as server, pytest.raises(Waiting):
        searched(server, patience=Patience(budget_s=10))


@pytest.mark.parametrize(
    "link",
    [
        "{url}/fhir?page=2", "{url}/fhir/?page=2", "{url}/fhir/ImagingStudy?page=2", "/fhir?page=2", "?page=2",
        "?page=2#x", "ImagingStudy?page=2", "../fhir/ImagingStudy?page=2", "//127.0.0.1:{port}/fhir?page=2",
        "./?page=2", "HTTP://127.0.0.1:{port}/fhir?page=2", "{url}/fhir/_page/a%20b?c=%7Cd", "{url}/fhir/a%2Fb",
        "/fhir/a;b=c",
    ],
)  # fmt: skip
def test_a_next_link_below_the_base_is_followed(link: str) -> None:
    served: list[bytes] = []
    with serving(lambda _, connection: connection.sendall(reply(200, body=served.pop(0)))) as server:
        served += [bundle(study(1), next_url=link.format(url=server.url, port=server.port)), bundle(study(2))]
        pages = searched(server)
    assert ids(pages) == ["1", "2"]
    assert [page.number for page in pages] == [1, 2]
    assert server.requests[1].target.startswith("/fhir")
    assert server.seen(TOKEN) == 2


@pytest.mark.parametrize(("base", "link"), [("", "{url}?_getpages=7"), ("/base", "{url}/base?_getpages=7")])
def test_a_next_link_may_leave_the_path_out(base: str, link: str) -> None:
    served: list[bytes] = []
    with serving(lambda _, connection: connection.sendall(reply(200, body=served.pop(0)))) as server:
        served += [bundle(study(1), next_url=link.format(url=server.url)), bundle(study(2))]
        assert ids(searched(server, base=base)) == ["1", "2"]
    assert server.requests[1].target == f"{base or '/'}?_getpages=7"


AWAY = [
    "http://127.0.0.1:{other}/fhir/ImagingStudy", "//127.0.0.1:{other}/fhir", "HTTP://127.0.0.1:{other}/fhir",
    "http://localhost:{other}/fhir", "http://localhost:{ours}/fhir", "http://127.1:{other}/fhir",
    "http://0x7f.1:{other}/fhir", "http://2130706433:{other}/fhir", "http://0177.0.0.1:{other}/fhir",
    "http://[::ffff:127.0.0.1]:{other}/fhir", "http://[::1]:{other}/fhir", "http://127.0.0.1.:{other}/fhir",
    "http://127.0.0.1:{ours}@127.0.0.1:{other}/fhir", "http://user:pass@127.0.0.1:{ours}/fhir",
    "http://@127.0.0.1:{ours}/fhir", "http://127.0.0.1:{other}#@127.0.0.1:{ours}/fhir",
    "http://127.0.0.1:{other}?@127.0.0.1:{ours}/fhir", "http://127.0.0.1:{other}\\@127.0.0.1:{ours}/fhir",
    "http://127.0.0.1:{other}/fhir?x=http://127.0.0.1:{ours}/fhir", "http:\\\\127.0.0.1:{other}\\fhir",
    "\\\\127.0.0.1:{other}\\fhir", "http://127.0.0.1:{other}\t/fhir", "ht\ntp://127.0.0.1:{other}/fhir",
    "http://127.0.0.1:{other} /fhir", "http://127.0.0.1:{ours}:{ours}/fhir", "http://127.0.0.1:port/fhir",
    "http://127.0.0.1:{ours}0000/fhir", "http://127.0.0.1/fhir", "https://127.0.0.1:{ours}/fhir",
    "https://127.0.0.1:{other}/fhir", "ws://127.0.0.1:{ours}/fhir", "ftp://127.0.0.1:{other}/fhir",
    "file:///etc/passwd", "javascript:alert(1)", "data:,x", "http://[::1", "http://[x]/fhir",
    "http://127.0.0.1:{ours}.evil.example/fhir", "http://ehr.example/fhir", "http://fhir/", "http://①②⑦.0.0.1:{other}/fhir",
    "/", "/other/ImagingStudy?page=2", "/fhirs?page=2", "../admin?page=2", "/fhir/../admin", "/fhir/%2e%2e/admin",
    "/fhir/..%2fadmin", "/fhir/..;/admin", "/fhir/..%5cadmin", "{root}/fhir/../admin", "{root}/fhir/./../admin",
    "{root}/fhir/.%2E/admin", "{root}?page=2", "{root}/FHIR?page=2",
]  # fmt: skip


@pytest.mark.parametrize("link", AWAY)
def test_a_next_link_that_leads_away_is_refused_and_nothing_is_asked(link: str) -> None:
    with serving(answers(reply(200, body=bundle()))) as other:
        served: list[bytes] = []
        with serving(lambda _, connection: connection.sendall(reply(200, body=served[0]))) as ours:
            root = ours.url
            served.append(bundle(study(1), next_url=link.format(other=other.port, ours=ours.port, root=root)))
            with pytest.raises(OriginRefused, match="on page 1") as caught:
                searched(ours)
    assert other.requests == []
    assert targets(ours) == [FIRST]
    assert "page=2" not in str(caught.value)


@pytest.mark.parametrize("link", ["http://", "http:///fhir", "{root}/fhir", "#next"])
def test_a_next_link_that_says_little_leads_nowhere_else(link: str) -> None:
    served: list[bytes] = []
    with serving(lambda _, connection: connection.sendall(reply(200, body=served[0]))) as ours:
        served.append(bundle(study(1), next_url=link.format(root=ours.url)))
        with pytest.raises(IncompletePull, match="back to themselves"):
            searched(ours)
    assert len(ours.requests) <= 2


def test_a_search_that_is_redirected_away_is_refused() -> None:
    with serving(answers(reply(200, body=bundle(study(1))))) as other:
        script = answers(reply(302, f"Location: {other.url}/fhir/ImagingStudy"))
        with serving(script) as ours, pytest.raises(OriginRefused, match="redirected"):
            searched(ours)
    assert other.seen(TOKEN) == 0


def test_a_search_that_is_redirected_to_another_tenant_of_the_host_is_refused() -> None:
    script = by_target({"/other-tenant/ImagingStudy": bundle(study(1))})

    def elsewhere(request: Request, connection: socket.socket) -> None:
        if request.target == FIRST:
            connection.sendall(reply(302, "Location: /other-tenant/ImagingStudy"))
        else:
            script(request, connection)

    with serving(elsewhere) as server, pytest.raises(OriginRefused, match="away from the FHIR base URL"):
        searched(server)


def test_an_empty_page_is_not_the_end() -> None:
    script = by_target({
        FIRST: bundle(next_url="/fhir?page=2"),
        "/fhir?page=2": bundle(next_url="/fhir?page=3"),
        "/fhir?page=3": bundle(study(1)),
    })  # fmt: skip
    with serving(script) as server:
        pages = searched(server)
    assert [len(page.entries) for page in pages] == [0, 0, 1]
    assert pages[0].next_url == f"{server.url}/fhir?page=2"


@pytest.mark.parametrize(
    "links", [[FIRST], ["?page=2", FIRST], ["?page=2", "?page=3", "?page=2"], ["?page=2", "?page=2"]]
)
def test_pages_in_a_circle_end(links: list[str]) -> None:
    script = answers(*(reply(200, body=bundle(study(1), next_url=link)) for link in links))
    with serving(script) as server, pytest.raises(IncompletePull, match="back to themselves"):
        searched(server)
    assert len(server.requests) == len(links)


def test_pages_without_end_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert searching.MAX_PAGES == 10_000
    monkeypatch.setattr(searching, "MAX_PAGES", 12)

    def endless(_: Request, connection: socket.socket) -> None:
        connection.sendall(reply(200, body=bundle(next_url=f"?page={len(server.requests)}")))

    with serving(endless) as server, pytest.raises(IncompletePull, match="more than 12"):
        searched(server)
    assert len(server.requests) == 12


@pytest.mark.parametrize("status", [404, 410])
def test_an_expired_page_begins_the_search_anew_once(status: int) -> None:
    chain = [reply(200, body=bundle(study(1), next_url="?page=a")), reply(status)]
    again = [reply(200, body=bundle(study(1), next_url="?page=b")), reply(200, body=bundle(study(2)))]
    with serving(answers(*chain, *again)) as server:
        pages = searched(server)
    assert ids(pages) == ["1", "1", "2"]
    assert [page.number for page in pages] == [1, 2, 3]
    assert [page.anew for page in pages] == [False, True, False]
    assert [target.split("?")[1] for target in targets(server)] == [
        f"patient={PATIENT}", "page=a", f"patient={PATIENT}", "page=b",
    ]  # fmt: skip


def test_pages_that_always_expire_end() -> None:
    chain = [reply(200, body=bundle(study(1), next_url="?page=a")), reply(410)]
    with serving(answers(*chain, *chain)) as server, pytest.raises(IncompletePull, match=r"Page 3.*HTTP 410"):
        searched(server)
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (reply(500, body=b"no"), "HTTP 500"),
        (reply(404, body=b"<html>"), "HTTP 404"),
        (reply(200, "Content-Type: text/html", body=b"<html>log in</html>"), "web page"),
        (reply(200, body=b'{"resourceType": "Bundle", "entry": [{"resource": {"id": NaN}}]}'), "no FHIR JSON"),
        (reply(200, body=b'{"resourceType": "Bundle", "entry": ['), "no FHIR JSON"),
        (reply(200), "nothing"),
        (reply(204), "nothing"),
    ],
)  # fmt: skip
def test_a_page_that_did_not_arrive_makes_the_pull_incomplete(second: bytes, reason: str) -> None:
    first = reply(200, body=bundle(study(1), next_url="?page=2"))
    # The last reply is repeated: a 404 is still one after the search began anew.
    script = answers(first, second) if b" 404 " not in second else answers(first, second, first, second)
    arrived: list[Page] = []
    with talking(script) as (server, client), pytest.raises(IncompletePull, match=reason):
        arrived.extend(search(client, f"{server.url}/fhir", "ImagingStudy", EACH))
    assert ids(arrived)[:1] == ["1"]


@pytest.mark.parametrize("severity", ["error", "fatal"])
def test_an_error_among_the_results_makes_the_pull_incomplete(severity: str) -> None:
    page = bundle(study(1), outcome(severity, f"Partition 3 of Patient/{PATIENT} is down"))
    with (
        serving(answers(reply(200, body=page))) as server,
        pytest.raises(IncompletePull, match="Partition 3") as caught,
    ):
        searched(server)
    assert PATIENT not in str(caught.value)


@pytest.mark.parametrize("severity", ["warning", "information"])
def test_a_warning_among_the_results_is_an_entry(severity: str) -> None:
    with serving(answers(reply(200, body=bundle(study(1), outcome(severity, "slow"))))) as server:
        (page,) = searched(server)
    assert [entry.mode for entry in page.entries] == ["match", "outcome"]


REFUSALS: list[tuple[bytes, type[S4SError], str]] = [
    (reply(401), GrantExpired, "HTTP 401"),
    (reply(403, body=b'{"error": "Not allowed to query for \\"_include\\" parameter."}'), AccessRefused, "_include"),
    (reply(400, body=bundle()), UnexpectedAnswer, "HTTP 400"),
    (reply(404, "Content-Type: text/html", body=b"<html>secret</html>"), UnexpectedAnswer, "HTTP 404. Check"),
    (reply(500, "Content-Type: text/plain", body=b"QIDO answered\r\n204"), UnexpectedAnswer, "500: QIDO answered 204"),
    (reply(302), UnexpectedAnswer, "HTTP 302"),
    (reply(200, body=b'{"resourceType": "Patient"}'), UnexpectedAnswer, "Patient where a Bundle was due"),
]


@pytest.mark.parametrize(("answer", "kind", "reason"), REFUSALS)
def test_a_refused_search_says_why(answer: bytes, kind: type[S4SError], reason: str) -> None:
    with serving(answers(answer)) as server, pytest.raises(kind, match=reason) as caught:
        searched(server)
    assert type(caught.value) is kind
    assert f"{server.url}/fhir/ImagingStudy?…" in str(caught.value)
    assert PATIENT not in str(caught.value)


def test_what_an_outcome_says_is_quoted_without_patients() -> None:
    words = f"Unknown parameter in http://ehr/fhir/ImagingStudy?patient={PATIENT} for Patient/{PATIENT}, " + "x" * 500
    answer = reply(400, body=json.dumps(outcome("error", words)).encode())
    with serving(answers(answer)) as server, pytest.raises(UnexpectedAnswer, match="Unknown parameter") as caught:
        searched(server)
    assert PATIENT not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_pages_are_asked_for_one_at_a_time() -> None:
    script: Script = answers(reply(200, body=bundle(study(1), next_url="?page=2")), reply(200, body=bundle()))
    with talking(script) as (server, client):
        pages = search(client, f"{server.url}/fhir", "ImagingStudy", EACH)
        assert server.requests == []
        assert next(pages).entries[0].resource_id == "1"
        assert len(server.requests) == 1
