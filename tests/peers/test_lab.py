"""The launch panel in a real JupyterLab and a real browser, at the sandbox's own consent page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from s4s_lab import sandbox
from tests.journey.conftest import free_port
from tests.peers.lab import ARTEFACTS, Lab, Notebook, opened, running_browser, running_lab

# Busy until the test lets it go: nothing of the panel may need the kernel's attention meanwhile.
BUSY = (
    "from pathlib import Path\nimport time\nwhile not Path('go-on').exists():\n    time.sleep(0.05)\nprint('let', 'go')"
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    ARTEFACTS.mkdir(exist_ok=True)
    with running_lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture(scope="module")
def browser(require: Callable[[str], str]) -> Iterator[Browser]:
    with running_browser(require("chromium")) as browser:
        yield browser


@pytest.fixture(scope="module")
def server() -> Iterator[sandbox.Sandbox]:
    with sandbox.start(redirect_uri=f"http://127.0.0.1:{free_port()}/callback") as server:
        yield server


def _launch(fhir_url: str, **how: str) -> str:
    """The cell that shows the panel of a client that registers itself."""
    keywords = "".join(f", {name}={value!r}" for name, value in how.items())
    return f"import s4s_lab as s4s\npanel = s4s.launch({fhir_url!r}{keywords})\npanel"


def _here() -> str:
    return f"http://127.0.0.1:{free_port()}/callback"


def _consent_page(notebook: Notebook) -> Page:
    """Click the panel's link, and return the tab that it opens."""
    with notebook.page.context.expect_page() as opening:
        notebook.panel.get_by_role("link", name=re.compile("^Open the ")).last.click()
    page: Page = opening.value
    page.get_by_role("button", name="Approve").wait_for()
    return page


def _approve(page: Page, participant: str) -> None:
    page.get_by_text(participant).click()
    page.get_by_role("button", name="Approve").click()


def _shows(notebook: Notebook, *texts: str) -> None:
    for text in texts:
        expect(notebook.panel).to_contain_text(text)


def test_the_panel_turns_to_connected_while_another_cell_runs(
    lab: Lab, browser: Browser, server: sandbox.Sandbox
) -> None:
    someone = server.participants[2]
    with opened(lab, browser, "link", [_launch(server.fhir_url, redirect_uri=_here()), BUSY]) as notebook:
        notebook.run_cell(0)
        notebook.start_cell(1)
        notebook.wait_for_kernel("busy")
        _shows(notebook, "Waiting", server.fhir_url)
        notebook.picture("panel-waiting")
        page = _consent_page(notebook)
        page.screenshot(path=ARTEFACTS / "consent-page.png")
        _approve(page, someone.name)
        expect(page.get_by_role("heading")).to_have_text("You are connected")
        page.screenshot(path=ARTEFACTS / "way-back.png")
        _shows(
            notebook, "Connected", someone.patient_id, "patient/*.read", "offline_access", "60 min left, then renewed"
        )
        expect(notebook.panel.get_by_role("link")).to_have_count(0)
        notebook.wait_for_kernel("busy")
        notebook.picture("panel-connected")
        (lab.folder / "go-on").touch()
        notebook.wait_for_kernel("idle")


def test_the_redirect_comes_through_the_jupyter_servers_proxy(
    lab: Lab, browser: Browser, server: sandbox.Sandbox
) -> None:
    base = f"http://127.0.0.1:{lab.port}/proxy/{free_port()}"
    someone = server.participants[1]
    (lab.folder / "go-on").unlink(missing_ok=True)
    cells = [_launch(server.fhir_url, redirect_uri=f"{base}/callback"), BUSY]
    with opened(lab, browser, "proxy", cells) as notebook:
        notebook.run_cell(0)
        notebook.start_cell(1)
        notebook.wait_for_kernel("busy")
        link = notebook.panel.get_by_role("link")
        expect(link).to_have_attribute("href", re.compile(re.escape(f"{base}/start-")))
        page = _consent_page(notebook)
        _approve(page, someone.name)
        expect(page.get_by_role("heading")).to_have_text("You are connected")
        assert page.url.startswith(f"{base}/callback?")
        _shows(notebook, "Connected", someone.patient_id)
        notebook.wait_for_kernel("busy")
        notebook.picture("panel-connected-by-proxy")
        (lab.folder / "go-on").touch()
        notebook.wait_for_kernel("idle")


def test_the_address_of_a_page_that_fails_is_pasted(lab: Lab, browser: Browser, server: sandbox.Sandbox) -> None:
    someone = server.participants[3]
    cells = [_launch(server.fhir_url, redirect_uri=_here(), capture="paste"), "panel.status"]
    with opened(lab, browser, "paste", cells) as notebook:
        notebook.run_cell(0)
        while_waiting = notebook.saved()
        notebook.picture("panel-paste-waiting")
        notebook.panel.get_by_role("button", name="Show the link").click()
        expect(notebook.panel.get_by_role("link")).to_have_attribute("href", re.compile("/authorize"))
        notebook.picture("panel-paste-link")
        page = _consent_page(notebook)
        with page.expect_event("requestfailed", lambda request: "/callback?" in request.url) as failing:
            _approve(page, someone.name)
        box = notebook.panel.get_by_role("textbox")
        expect(box).to_be_visible()
        box.fill("this is not it")
        box.press("Enter")
        _shows(notebook, "Waiting", "Copy the whole address")
        expect(box).to_have_value("")
        notebook.picture("panel-paste")
        box.fill(failing.value.url)
        box.press("Enter")
        _shows(notebook, "Connected", someone.patient_id)
        expect(box).not_to_be_visible()
        saved = notebook.saved()
    answer = parse_qs(urlsplit(failing.value.url).query)
    assert "application/vnd.jupyter.widget-state+json" in saved
    assert "application/vnd.jupyter.widget-state+json" in while_waiting
    assert [name for name in ("code", "state") if answer[name][0] in saved + while_waiting] == []


def test_a_kernel_that_the_browser_cannot_reach_is_connected_by_the_second_link(
    lab: Lab, browser: Browser, server: sandbox.Sandbox
) -> None:
    someone = server.participants[2]
    # As for a browser on another machine, nothing answers at the address that it is sent back to.
    cells = [_launch(server.fhir_url, redirect_uri=_here()), "panel._pending._listener.close()"]
    with opened(lab, browser, "elsewhere", cells) as notebook:
        notebook.run_cell(0)
        notebook.run_cell(1)
        notebook.panel.get_by_text("No automatic return?").click()
        notebook.picture("panel-second-link-hidden")
        notebook.panel.get_by_role("button", name="Show the link").click()
        expect(notebook.panel.get_by_role("link")).to_have_count(2)
        notebook.picture("panel-second-link")
        page = _consent_page(notebook)
        assert "/authorize" in page.url
        with page.expect_event("requestfailed", lambda request: "/callback?" in request.url) as failing:
            _approve(page, someone.name)
        box = notebook.panel.get_by_role("textbox")
        box.fill(failing.value.url.removeprefix("http://"))
        box.press("Enter")
        _shows(notebook, "Connected", someone.patient_id)


# What other threads and requests make of an access, in a kernel that is idle otherwise.
ELSEWHERE = """
link = panel.wait()
import dataclasses, datetime
grants = link.grants
grants._grant = dataclasses.replace(grants.read(), expires_at=datetime.datetime.now(datetime.UTC))
"""


def test_what_becomes_of_an_access_is_seen_without_another_cell(
    lab: Lab, browser: Browser, server: sandbox.Sandbox
) -> None:
    cells = [_launch(server.fhir_url, redirect_uri=_here()), ELSEWHERE]
    cells += ["grants.renew(grants.read().generation, link._renewed) and None", "link.disconnect() and None", "panel"]
    with opened(lab, browser, "life", cells) as notebook:
        notebook.run_cell(0)
        callback = _callback(notebook)
        page = notebook.page.context.new_page()
        page.goto(f"{callback}?error=access_denied")
        expect(page.get_by_role("heading")).to_have_text("Nothing was shared by this")
        page.screenshot(path=ARTEFACTS / "way-back-without-state.png")
        _shows(notebook, "Waiting", "The server sent an error without state")
        notebook.page.bring_to_front()
        notebook.picture("panel-without-state")
        _approve(_consent_page(notebook), server.participants[0].name)
        _shows(notebook, "Connected")
        for cell, word in ((1, "Expiring"), (2, "Connected"), (3, "Ended")):
            notebook.run_cell(cell)
            _shows(notebook, word)
        notebook.run_cell(4)
        expect(notebook.panel).to_have_count(2)
        expect(notebook.panel.last).to_contain_text("Ended")
        notebook.picture("panel-ended-shown-again")


def _callback(notebook: Notebook) -> str:
    """The redirect URI, which listens beside the start address."""
    start = notebook.panel.get_by_role("link").get_attribute("href")
    assert start is not None
    return start.rpartition("/")[0] + "/callback"


def test_a_panel_that_was_closed_or_replaced_says_so(lab: Lab, browser: Browser, server: sandbox.Sandbox) -> None:
    launch = _launch(server.fhir_url, redirect_uri=_here())
    cells = [launch, launch.replace("panel", "newer"), "newer.close(); newer"]
    with opened(lab, browser, "closed", cells) as notebook:
        notebook.run_cell(0)
        notebook.run_cell(1)
        expect(notebook.panel.first).to_contain_text("A newer launch")
        expect(notebook.panel.last).to_contain_text("Waiting")
        notebook.picture("panel-superseded")
        notebook.run_cell(2)
        expect(notebook.panel.last).to_contain_text("closed before anybody answered")
        notebook.picture("panel-closed")


def test_a_cell_that_waits_asks_for_the_address_and_keeps_it_nowhere(
    lab: Lab, browser: Browser, server: sandbox.Sandbox
) -> None:
    someone = server.participants[1]
    cells = [_launch(server.fhir_url, redirect_uri=_here(), capture="paste"), "link = panel.wait()"]
    with opened(lab, browser, "waits", cells) as notebook:
        notebook.run_cell(0)
        notebook.start_cell(1)
        box = notebook.page.locator(".jp-Stdin-input")
        expect(box).to_be_visible()
        expect(notebook.panel.get_by_role("link")).to_be_visible()
        notebook.picture("panel-paste-while-a-cell-waits")
        page = _consent_page(notebook)
        with page.expect_event("requestfailed", lambda request: "/callback?" in request.url) as failing:
            _approve(page, someone.name)
        box.fill(failing.value.url)
        box.press("Enter")
        _shows(notebook, "Connected", someone.patient_id)
        notebook.wait_for_kernel("idle")
        saved = notebook.saved()
    answer = parse_qs(urlsplit(failing.value.url).query)
    assert [name for name in ("code", "state") if answer[name][0] in saved] == []


def test_a_denial_and_a_disconnection_are_shown(lab: Lab, browser: Browser, server: sandbox.Sandbox) -> None:
    cells = [_launch(server.fhir_url, redirect_uri=_here())]
    with opened(lab, browser, "end", cells) as notebook:
        notebook.run_cell(0)
        _consent_page(notebook).get_by_role("button", name="Deny").click()
        _shows(notebook, "Not connected", "Nothing was shared")
        notebook.picture("panel-refused")
        notebook.run_cell(0)
        _approve(_consent_page(notebook), server.participants[0].name)
        _shows(notebook, "Connected")
        button = notebook.panel.get_by_role("button", name="isconnect")
        button.click()
        expect(button).to_have_text("Really disconnect?")
        notebook.picture("panel-really")
        button.click()
        _shows(notebook, "Ended", "Disconnected")
        notebook.picture("panel-ended")


CANARIES = """
import json, logging
import s4s_lab as s4s
logging.basicConfig(level=logging.DEBUG)
told = json.loads(open({told!r}).read())
panel = s4s.launch({fhir_url!r}, s4s.Registration.from_file({told!r}))
panel
"""
USE = """
link = panel.wait()
grants = [link.grants.read()]
with link.client() as client:
    client.get(f"{link.fhir_url}/ImagingStudy?patient={link.patient_id}", accept="application/fhir+json")
grants.append(link.grants.renew(grants[0].generation, link._renewed))
secrets = [token.reveal() for grant in grants for token in (grant.access_token, grant.refresh_token)]
with open(told["kept"], "w") as file:
    json.dump([*secrets, link.registration.client_secret.reveal()], file)
del secrets
link, grants, link.registration, panel
"""
FAIL = """
%xmode Verbose
import dataclasses
dataclasses.replace(link.registration, client_secret=s4s.Registration("other").client_secret)
import pickle
pickle.dumps(grants)
"""


def test_no_secret_is_saved_or_logged(lab: Lab, browser: Browser, server: sandbox.Sandbox, tmp_path: Path) -> None:
    registration = server.registration
    assert registration.client_secret is not None
    handed_over = tmp_path / "handed-over"
    handed_over.mkdir()
    told = handed_over / "registration.json"
    told.touch(mode=0o600)
    fields = {name: getattr(registration, name) for name in ("client_id", "redirect_uri", "scope")}
    secret = registration.client_secret.reveal()
    told.write_text(json.dumps(fields | {"client_secret": secret, "kept": str(handed_over / "kept.json")}))
    cells = [CANARIES.format(told=str(told), fhir_url=server.fhir_url), USE, FAIL, "raise link.client"]
    with opened(lab, browser, "canaries", cells) as notebook:
        notebook.run_cell(0)
        _approve(_consent_page(notebook), server.participants[0].name)
        _shows(notebook, "Connected")
        for number in (1, 2, 3):
            notebook.run_cell(number)
        saved = notebook.saved()
    canaries = json.loads((handed_over / "kept.json").read_text())
    assert len({*canaries, secret}) == len(canaries) == 5
    assert "application/vnd.jupyter.widget-state+json" in saved
    assert "cannot be pickled" in saved or "cannot leave this process" in saved
    log = lab.log.read_text(errors="replace")
    assert "DEBUG" in saved or "DEBUG" in log
    for text in (saved, log):
        assert [one for one in canaries if one in text] == []
