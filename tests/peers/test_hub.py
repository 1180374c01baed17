"""The launch panel on a real JupyterHub: the browser comes back through the hub's own address."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import expect

from s4s_lab import sandbox
from tests.conftest import missing
from tests.journey.conftest import free_port
from tests.peers.hub import PERSON, PROXY, running_hub
from tests.peers.lab import ARTEFACTS, running_browser


def test_the_redirect_comes_through_the_hub(tmp_path: Path, require: Callable[[str], str]) -> None:
    """A client that registers itself takes the hub's public address; one address serves every user of a hub."""
    if not PROXY.exists():
        missing("needs the hub's proxy: `npm install` in tests/peers (make peers)")
    ARTEFACTS.mkdir(exist_ok=True)
    with (
        sandbox.start() as server,
        running_hub(tmp_path) as hub,
        running_browser(require("chromium")) as browser,
        hub.signed_in(browser) as page,
    ):
        shared = f"{hub.url}/hub/user-redirect/proxy/{free_port()}"
        launch = f"import s4s_lab as s4s\npanel = s4s.launch({server.fhir_url!r}"
        cells = [f"{launch})\npanel", f"{launch}, redirect_uri='{shared}/callback')\npanel"]
        notebook = hub.open(page, "hub", cells)
        for number, base in enumerate((f"{hub.url}/user/{PERSON}/proxy/8723", shared)):
            someone = server.participants[number]
            notebook.run_cell(number)
            panel = notebook.panel.nth(number)
            expect(panel.get_by_role("link")).to_have_attribute("href", re.compile(re.escape(f"{base}/start-")))
            with page.context.expect_page() as opening:
                panel.get_by_role("link").click()
            opening.value.get_by_text(someone.name).click()
            opening.value.get_by_role("button", name="Approve").click()
            expect(opening.value.get_by_role("heading")).to_have_text("You are connected")
            assert opening.value.url.startswith(f"{hub.url}/user/{PERSON}/proxy/")
            expect(panel).to_contain_text("Connected")
            expect(panel).to_contain_text(someone.patient_id)
        notebook.picture("panel-on-a-hub")
    # The hub's proxy ends with the hub; nothing of the answer stands in what they said.
    said = hub.log.read_text(errors="replace")
    assert "callback" in said
    assert "code=s4s_sandbox" not in said
