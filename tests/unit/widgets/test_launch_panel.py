"""The launch panel: a view of the launch, with nothing secret in what a notebook saves."""

from __future__ import annotations

import html
import json
import pickle
import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import ipywidgets
import pytest

from s4s_lab.errors import GrantExpired, LaunchNotFinished, LaunchRefused, NotDeclared, ScopeNarrowed, UnexpectedAnswer
from s4s_lab.smart import MemoryGrants
from s4s_lab.values import Registration
from s4s_lab.values.instants import utc_now
from s4s_lab.widgets import LaunchPanel, launch
from tests.wire.smart.browser import approve, redirected_to
from tests.wire.smart.server import CLIENT_ID, CLIENT_SECRET, PATIENT, Canned, SmartServer


@pytest.fixture
def server() -> Iterator[SmartServer]:
    with SmartServer() as server:
        yield server


@pytest.fixture
def registration(server: SmartServer) -> Registration:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return replace(server.registration, redirect_uri=f"http://127.0.0.1:{probe.getsockname()[1]}/callback")


@pytest.fixture
def panel(server: SmartServer, registration: Registration) -> Iterator[LaunchPanel]:
    panel = launch(server.fhir_url, registration)
    yield panel
    panel.close()


def _saved(panel: LaunchPanel) -> str:
    """What a notebook would save: the output's texts, and the state of every widget behind it."""
    states = ipywidgets.Widget.get_manager_state()["state"]
    return json.dumps([panel._repr_mimebundle_(), states], default=str)


def _paste_box() -> ipywidgets.Text:
    (box,) = (one for one in ipywidgets.widgets.widget._instances.values() if isinstance(one, ipywidgets.Text))
    return box


def _start(panel: LaunchPanel) -> str:
    assert panel.start_url is not None
    return panel.start_url


def test_the_text_is_the_same_from_run_to_run(panel: LaunchPanel) -> None:
    assert repr(panel) == "LaunchPanel(server=http://127.0.0.1, status=waiting)"
    assert panel._repr_mimebundle_()["text/plain"] == repr(panel)
    assert "application/vnd.jupyter.widget-view+json" in panel._repr_mimebundle_()


def test_a_waiting_panel_links_to_its_start_address_as_a_button(panel: LaunchPanel) -> None:
    saved = _saved(panel)
    assert f'href=\\"{panel.start_url}\\"' in saved
    assert "Open the consent page" in saved
    assert 'target=\\"_blank\\"' in saved
    assert ">Waiting</span>" in saved
    assert panel.status == "waiting"


def test_a_waiting_panel_saves_neither_state_nor_challenge(panel: LaunchPanel) -> None:
    saved = _saved(panel)
    for name in ("state=", "code_challenge", CLIENT_ID.replace(" ", "+"), CLIENT_SECRET):
        assert f"authorize?{name}" not in saved
    assert panel.authorize_url not in saved


def test_a_connected_panel_shows_patient_scopes_and_minutes(panel: LaunchPanel, server: SmartServer) -> None:
    approve(_start(panel))
    connection = panel.wait(5)
    saved = _saved(panel)
    assert connection.patient_id == PATIENT
    assert repr(panel) == "LaunchPanel(server=http://127.0.0.1, status=connected)"
    for part in (PATIENT, server.fhir_url, ">patient/*.read</span>", "60 min left, then renewed", ">Connected</span>"):
        assert part in saved
    assert "not granted" not in saved


def test_a_connected_panel_saves_nothing_secret_and_no_link(panel: LaunchPanel) -> None:
    approve(_start(panel))
    panel.wait(5)
    saved = _saved(panel)
    for secret in ("s4s_sandbox_code_0", "s4s_sandbox_access_1", "s4s_sandbox_refresh_1", CLIENT_SECRET, _start(panel)):
        assert secret not in saved


def test_what_was_not_granted_is_struck_out(panel: LaunchPanel, server: SmartServer) -> None:
    server.token_extras |= {"scope": "launch/patient patient/Patient.read", "refresh_token": None}
    approve(_start(panel))
    with pytest.warns(ScopeNarrowed):
        panel.wait(5)
    saved = _saved(panel)
    struck = re.findall(r's4s-scope s4s-warn\\">([^<]*)<', saved)
    assert struck == ["patient/*.read", "offline_access"]
    assert "not renewable: then the participant approves again" in saved


def test_a_pasted_answer_connects_and_the_box_is_empty_at_once(panel: LaunchPanel) -> None:
    seen: list[str] = []
    box = _paste_box()
    box.observe(lambda change: seen.append(change["new"]), names="value")
    box.value = redirected_to(panel.authorize_url)
    assert box.value == ""
    assert seen[0] == ""  # cleared before anybody after the panel hears of it
    assert panel.wait(5).patient_id == PATIENT
    assert "s4s_sandbox_code_0" not in _saved(panel)


def test_a_paste_that_is_no_answer_is_explained_and_may_be_repeated(panel: LaunchPanel) -> None:
    box = _paste_box()
    box.value = "https://ehr/?code=<b>&state=x"
    assert "belongs to another launch" in _saved(panel)
    assert "&lt;b&gt;" not in _saved(panel)
    box.value = "nonsense"
    assert "Copy the whole address" in _saved(panel)
    assert panel.status == "waiting"
    assert panel.answer(redirected_to(panel.authorize_url)).patient_id == PATIENT


def test_a_refusal_is_shown_with_what_to_do(panel: LaunchPanel, server: SmartServer) -> None:
    server.denies = True
    approve(_start(panel))
    with pytest.raises(LaunchRefused):
        panel.wait(5)
    assert "Nothing was shared; launch again" in _saved(panel)
    assert repr(panel) == "LaunchPanel(server=http://127.0.0.1, status=refused)"


def test_what_a_server_says_is_text_not_markup(panel: LaunchPanel) -> None:
    _paste_box().value = "error=odd&error_description=%3Cimg+src%3Dx+onerror%3Dalert%281%29%3E"
    assert panel.status == "refused"
    assert "&lt;img src=x onerror=alert(1)&gt;" in _saved(panel)
    assert "<img" not in _saved(panel)


def test_waiting_ends_in_time(panel: LaunchPanel) -> None:
    with pytest.raises(LaunchNotFinished):
        panel.wait(0.01)


def test_without_a_listener_the_link_leads_to_the_server_and_the_paste_box_is_open(server: SmartServer) -> None:
    panel = launch(server.fhir_url, replace(server.registration, redirect_uri="https://hub.example/cb"))
    states: dict[str, Any] = ipywidgets.Widget.get_manager_state()["state"]
    selected = [one["state"]["selected_index"] for one in states.values() if "selected_index" in one["state"]]
    assert panel.start_url is None
    assert selected == [0]
    assert f"{server.origin}/authorize?" in _saved(panel)
    panel.answer(redirected_to(panel.authorize_url))
    assert "/authorize?" not in _saved(panel)
    panel.close()


def test_a_closed_panel_leaves_no_widget_and_no_listener(server: SmartServer, registration: Registration) -> None:
    before = set(ipywidgets.widgets.widget._instances)
    panel = launch(server.fhir_url, registration)
    panel.close()
    left = set(ipywidgets.widgets.widget._instances) - before
    assert not [one for one in left if isinstance(ipywidgets.widgets.widget._instances[one], ipywidgets.Box)]
    port = int(registration.redirect_uri.split(":")[2].split("/")[0])
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_a_panel_cannot_be_pickled(panel: LaunchPanel) -> None:
    with pytest.raises(TypeError):
        pickle.dumps(panel)


def _leave_button() -> ipywidgets.Button:
    (button,) = (one for one in ipywidgets.widgets.widget._instances.values() if isinstance(one, ipywidgets.Button))
    return button


def test_the_exchange_is_shown_while_it_lasts(panel: LaunchPanel, server: SmartServer) -> None:
    seen: list[str] = []
    heads = [one for one in ipywidgets.widgets.widget._instances.values() if isinstance(one, ipywidgets.HTML)]
    for one in heads:
        one.observe(lambda change: seen.append(change["new"]), names="value")
    approve(_start(panel))
    panel.wait(5)
    words = re.findall(r'role="status">([^<]*)<', " ".join(seen))
    assert words[:2] == ["Exchanging", "Connected"]


def _shown(panel: LaunchPanel) -> str:
    """Let the panel look, as it does by itself now and then, and return its word."""
    panel._show()
    return panel.status


def _stand(panel: LaunchPanel, **changed: Any) -> str:
    """Let the grant be another, as time and servers make it, and return the panel's word for that."""
    grants = panel.wait(5).grants
    assert isinstance(grants, MemoryGrants)
    grants._grant = replace(grants.read(), **changed)
    return _shown(panel)


def test_a_token_about_to_end_is_shown_as_expiring(panel: LaunchPanel) -> None:
    approve(_start(panel))
    assert _stand(panel, expires_at=utc_now() + timedelta(seconds=50)) == "expiring"
    assert ">Expiring</span>" in _saved(panel)
    assert "1 min left, then renewed by itself" in _saved(panel)
    assert _stand(panel, expires_at=utc_now() - timedelta(seconds=1)) == "expiring"
    assert "run out, and is renewed with the next request" in _saved(panel)
    assert _stand(panel, expires_at=utc_now() - timedelta(seconds=1), refresh_token=None) == "ended"
    assert "launch again" in _saved(panel)


def test_a_renewal_that_fails_is_shown_with_its_reason_until_one_works(panel: LaunchPanel, server: SmartServer) -> None:
    approve(_start(panel))
    link = panel.wait(5)
    server.canned["/token"].extend([Canned(500)] * 2)  # a lost answer is asked for once more
    with pytest.raises(UnexpectedAnswer):
        link.grants.renew(link.grants.read().generation, link._renewed)
    assert _shown(panel) == "refresh failed"
    assert ">Refresh failed</span>" in _saved(panel)
    assert str(link.renewal_error) in html.unescape(_saved(panel))
    link.grants.renew(link.grants.read().generation, link._renewed)
    assert _shown(panel) == "connected"
    assert "Refresh failed" not in _saved(panel)


def test_disconnecting_takes_two_clicks_and_leaves_nothing(panel: LaunchPanel, server: SmartServer) -> None:
    approve(_start(panel))
    link = panel.wait(5)
    button = _leave_button()
    button.click()
    assert (panel.status, button.description) == ("connected", "Really disconnect?")
    button.click()
    assert panel.status == "ended"
    assert PATIENT not in _saved(panel)
    with pytest.raises(GrantExpired):
        link.grants.read()


def test_a_click_that_was_not_meant_is_forgotten(panel: LaunchPanel) -> None:
    approve(_start(panel))
    panel.wait(5)
    _leave_button().click()
    panel._show()  # as it does by itself now and then
    _leave_button().click()
    assert panel.status == "connected"


def test_nobody_can_be_disconnected_before_the_answer(panel: LaunchPanel) -> None:
    with pytest.raises(LaunchNotFinished):
        panel.disconnect()


def test_what_the_server_lacks_is_said_beside_the_link(server: SmartServer, registration: Registration) -> None:
    assert server.well_known is not None
    server.well_known["capabilities"] = ["launch-standalone", "client-confidential-symmetric"]
    with pytest.warns(NotDeclared):
        panel = launch(server.fhir_url, registration)
    lacks = panel._pending.lacks
    assert lacks
    assert [one for one in lacks if one not in html.unescape(_saved(panel))] == []
    approve(_start(panel))
    panel.wait(5)
    assert [one for one in lacks if one in html.unescape(_saved(panel))] == []
    panel.close()
