"""The launch panel: a view of the launch, with nothing secret in what a notebook saves."""

from __future__ import annotations

import html
import json
import pickle
import re
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import ipywidgets
import pytest

from s4s_lab.errors import (
    GrantExpired,
    LaunchNotFinished,
    LaunchRefused,
    NotDeclared,
    S4SError,
    ScopeNarrowed,
    UsageError,
    Waiting,
)
from s4s_lab.smart import MemoryGrants
from s4s_lab.values import Registration
from s4s_lab.values.instants import utc_now
from s4s_lab.widgets import LaunchPanel, launch
from s4s_lab.widgets import launch_card as card
from tests.wire.smart.browser import approve, redirected_to, visit
from tests.wire.smart.server import CLIENT_ID, CLIENT_SECRET, PATIENT, Canned, SmartServer


@pytest.fixture
def server() -> Iterator[SmartServer]:
    with SmartServer() as server:
        yield server


@pytest.fixture
def registration(server: SmartServer) -> Registration:
    return replace(server.registration, redirect_uri=_redirect_uri())


def _redirect_uri() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"http://127.0.0.1:{probe.getsockname()[1]}/callback"


@pytest.fixture
def panel(server: SmartServer, registration: Registration) -> Iterator[LaunchPanel]:
    panel = launch(server.fhir_url, registration)
    yield panel
    panel.close()


def _saved(panel: LaunchPanel) -> str:
    """What a notebook would save: the output's texts, and the state of every widget behind it."""
    states = ipywidgets.Widget.get_manager_state()["state"]
    return json.dumps([panel._repr_mimebundle_(), states], default=str)


def _on_the_page() -> str:
    """What the widgets show, without showing the panel anew."""
    return json.dumps(ipywidgets.Widget.get_manager_state()["state"], default=str)


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
    state = panel._pending._launch.state.reveal()
    _paste_box().value = f"error=odd&state={state}&error_description=%3Cimg+src%3Dx+onerror%3Dalert%281%29%3E"
    assert panel.status == "refused"
    assert "&lt;img src=x onerror=alert(1)&gt;" in _saved(panel)
    assert "<img" not in _saved(panel)


def test_waiting_ends_in_time(panel: LaunchPanel) -> None:
    with pytest.raises(LaunchNotFinished):
        panel.wait(0.01)


def _by_paste(server: SmartServer, *more_scope: str, **more: Any) -> LaunchPanel:
    elsewhere = replace(server.registration, redirect_uri="https://hub.example/cb")
    return launch(server.fhir_url, replace(elsewhere, scope=" ".join([elsewhere.scope, *more_scope])), **more)


def _links(panel: LaunchPanel) -> list[str]:
    """Where the links lead that are shown."""
    return [html.unescape(one) for one in re.findall(r'href=\\"([^"]*)\\"', _saved(panel))]


def test_without_a_listener_the_paste_box_is_open_and_shows_the_link_when_asked(server: SmartServer) -> None:
    panel = _by_paste(server)
    states: dict[str, Any] = ipywidgets.Widget.get_manager_state()["state"]
    selected = [one["state"]["selected_index"] for one in states.values() if "selected_index" in one["state"]]
    assert (panel.start_url, selected, _links(panel)) == (None, [0], [])
    _button("Show the link").click()
    assert _links(panel) == [panel.authorize_url]
    panel.answer(redirected_to(panel.authorize_url))
    assert _links(panel) == []
    panel.close()


def test_whoever_waits_for_a_paste_is_shown_the_link_and_asked(
    server: SmartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = _by_paste(server)
    texts = iter(["no idea", redirected_to(panel.authorize_url)])

    def ask(prompt: str) -> str:
        assert "/authorize?" in _on_the_page()  # the link is there while the kernel waits
        return next(texts)

    monkeypatch.setattr("getpass.getpass", ask)
    assert panel.wait(5).patient_id == PATIENT
    assert list(texts) == []
    assert _links(panel) == []
    panel.close()


def test_waiting_for_a_paste_where_nobody_can_be_asked_ends_in_time_and_hides_the_link(
    server: SmartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = _by_paste(server)

    def ask(prompt: str) -> str:
        raise NotImplementedError(prompt)

    monkeypatch.setattr("getpass.getpass", ask)
    with pytest.raises(LaunchNotFinished):
        panel.wait(0.2)
    assert _links(panel) == []
    panel.close()


def test_a_kernel_elsewhere_that_nothing_gives_away_is_reached_by_the_servers_own_address(panel: LaunchPanel) -> None:
    _button("Show the link").click()
    assert _links(panel) == [panel.start_url, panel.authorize_url]
    _paste_box().value = redirected_to(panel.authorize_url)
    assert panel.status == "connected"
    assert _links(panel) == []


def test_a_panel_that_waits_for_a_paste_saves_no_state_nonce_or_launch_token(server: SmartServer) -> None:
    with pytest.warns(NotDeclared):
        panel = _by_paste(server, "openid", launch_token="of-the-ehr")
    sent = parse_qs(urlsplit(panel.authorize_url).query)
    secrets = [sent[name][0] for name in ("state", "nonce", "launch", "code_challenge")]
    assert [one for one in secrets if one in _saved(panel)] == []
    _button("Show the link").click()
    assert [one for one in secrets if one in _saved(panel)] == secrets
    panel._straight_until = time.monotonic()  # two minutes later
    _until(lambda: "/authorize?" not in _on_the_page())
    assert [one for one in secrets if one in _saved(panel)] == []
    _button("Show the link").click()
    panel.close()
    assert [one for one in secrets if one in _saved(panel) + panel._straight.value] == []


def test_an_error_without_state_is_shown_and_the_launch_goes_on(panel: LaunchPanel) -> None:
    visit(f"{panel._pending._launch.registration.redirect_uri}?error=access_denied&error_description=Call+555")
    assert "The server sent an error without state: access_denied. Launch again if that was you." in _saved(panel)
    assert "Call" not in _saved(panel)
    assert panel.status == "waiting"
    approve(_start(panel))
    assert panel.wait(5).patient_id == PATIENT
    assert "without state" not in _saved(panel)


def test_a_closed_panel_leaves_no_widget_and_no_listener(server: SmartServer, registration: Registration) -> None:
    before = set(ipywidgets.widgets.widget._instances)
    panel = launch(server.fhir_url, registration)
    panel.close()
    left = set(ipywidgets.widgets.widget._instances) - before
    assert not [one for one in left if isinstance(ipywidgets.widgets.widget._instances[one], ipywidgets.Box)]
    port = int(registration.redirect_uri.split(":")[2].split("/")[0])
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_a_closed_panel_says_so_to_whoever_waits_or_shows_it_again(panel: LaunchPanel) -> None:
    panel.close()
    with pytest.raises(LaunchNotFinished, match=r"closed before anybody answered\. Launch again"):
        panel.wait(5)
    shown = panel._repr_mimebundle_()
    assert shown["text/plain"] == "LaunchPanel(server=http://127.0.0.1, status=closed)"
    assert ">Closed</span>" in shown["text/html"]
    assert "closed before anybody answered. Launch again." in shown["text/html"]


def test_an_ended_panel_that_is_shown_again_says_how_it_ended(panel: LaunchPanel) -> None:
    approve(_start(panel))
    panel.wait(5)
    panel.disconnect()
    assert "application/vnd.jupyter.widget-view+json" in panel._repr_mimebundle_()
    assert ">Ended</span>" in _saved(panel)
    panel.close()
    assert ">Ended</span>" in panel._repr_mimebundle_()["text/html"]


def test_a_launch_that_a_newer_one_took_the_place_of_says_so(
    panel: LaunchPanel, server: SmartServer, registration: Registration
) -> None:
    newer = launch(server.fhir_url, registration)
    assert panel.status == "closed"
    shown = panel._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in shown
    assert "A newer launch" in _saved(panel)
    assert _links(newer) == [newer.start_url]
    newer.close()


def _until(true: Callable[[], bool]) -> None:
    """Wait for what a panel does by itself."""
    ends = time.monotonic() + 10
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.02)


def _watching() -> int:
    return sum(thread.name == "s4s panel" for thread in threading.enumerate())


def test_a_disconnection_elsewhere_turns_the_panel_to_ended_by_itself_and_ends_its_thread(panel: LaunchPanel) -> None:
    approve(_start(panel))
    link = panel.wait(5)
    assert _watching() == 1
    link.disconnect()
    _until(lambda: ">Ended</span>" in _on_the_page())
    assert PATIENT not in _saved(panel)
    _until(lambda: _watching() == 0)


def test_a_revocation_at_the_server_is_shown_once_a_request_meets_it(panel: LaunchPanel, server: SmartServer) -> None:
    approve(_start(panel))
    link = panel.wait(5)
    server.access_tokens, server.refresh_token = set(), None
    with pytest.raises(GrantExpired), link.client() as client:
        client.get(f"{link.fhir_url}/Patient/{PATIENT}", accept="application/json")
    _until(lambda: ">Ended</span>" in _on_the_page())


def test_a_renewal_turns_an_expiring_panel_to_connected_by_itself(panel: LaunchPanel) -> None:
    approve(_start(panel))
    assert _stand(panel, expires_at=utc_now() - timedelta(seconds=1)) == "expiring"
    link = panel.wait(5)
    link.grants.renew(link.grants.read().generation, link._renewed)
    _until(lambda: ">Connected</span>" in _on_the_page())
    assert "60 min left" in _saved(panel)


def test_all_panels_are_watched_by_one_thread_that_ends_with_the_last(server: SmartServer) -> None:
    panels = [launch(server.fhir_url, replace(server.registration, redirect_uri=_redirect_uri())) for _ in range(3)]
    for panel in panels:
        approve(_start(panel))
        panel.wait(5)
    assert _watching() == 1
    for panel in panels:
        panel.close()
    _until(lambda: _watching() == 0)


@pytest.mark.parametrize("answer", ["code=s3cret&state=forged", "code=s3cret&code=s3cret"])
def test_a_code_that_is_not_used_is_in_no_frame_of_a_traceback(panel: LaunchPanel, answer: str) -> None:
    with pytest.raises((LaunchRefused, UsageError)) as caught:
        panel.answer(answer)
    assert "s3cret" not in _frames_of(caught.value)


def test_a_code_whose_exchange_fails_is_in_no_frame_of_a_traceback(panel: LaunchPanel, server: SmartServer) -> None:
    answer = redirected_to(panel.authorize_url)
    server.canned["/token"].append(Canned(400))
    with pytest.raises(S4SError) as caught:
        panel.answer(answer)
    assert "s4s_sandbox_code_0" not in _frames_of(caught.value)


def _frames_of(error: BaseException) -> str:
    """What a traceback with locals shows of every frame of the package."""
    frames = [one for one in traceback.walk_tb(error.__traceback__) if "s4s_lab" in one[0].f_code.co_filename]
    shown = "".join(traceback.StackSummary.extract(iter(frames), capture_locals=True).format())
    assert "launch_panel.py" in shown
    return shown


def test_a_panel_cannot_be_pickled(panel: LaunchPanel) -> None:
    with pytest.raises(TypeError):
        pickle.dumps(panel)


def _button(word: str) -> ipywidgets.Button:
    """The one button that says this."""
    buttons = [one for one in ipywidgets.widgets.widget._instances.values() if isinstance(one, ipywidgets.Button)]
    (button,) = (one for one in buttons if word in one.description)
    return button


def _leave_button() -> ipywidgets.Button:
    return _button("isconnect")


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
    server.canned["/token"].append(Canned(503, headers={"Retry-After": "600"}))
    with pytest.raises(Waiting):
        link.grants.renew(link.grants.read().generation, link._renewed)
    assert _shown(panel) == "refresh failed"
    assert ">Refresh failed</span>" in _saved(panel)
    assert str(link.renewal_error) in html.unescape(_saved(panel))
    link.grants.renew(link.grants.read().generation, link._renewed)
    assert _shown(panel) == "connected"
    assert "Refresh failed" not in _saved(panel)


def test_a_refused_renewal_says_how_long_the_token_at_hand_is_still_good(
    panel: LaunchPanel, server: SmartServer
) -> None:
    approve(_start(panel))
    link = panel.wait(5)
    server.refresh_token = "another"
    with pytest.raises(GrantExpired):
        link.grants.renew(link.grants.read().generation, link._renewed)
    assert "60 min left, then it ends: the participant approves again" in card.facts(link)
    assert "next request tries again" not in _saved(panel)


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


def test_disconnecting_twice_does_not_take_back_what_was_said(server: SmartServer, registration: Registration) -> None:
    assert server.well_known is not None
    server.well_known["revocation_endpoint"] = f"{server.origin}/revoke"
    server.canned["/revoke"].extend([Canned(200)] * 2)
    panel = launch(server.fhir_url, registration)
    approve(_start(panel))
    panel.wait(5)
    for _ in range(2):
        panel.disconnect()
        assert "Disconnected: the server has taken the access back" in _saved(panel)
    panel.close()


def test_a_click_that_was_not_meant_is_forgotten(panel: LaunchPanel) -> None:
    approve(_start(panel))
    panel.wait(5)
    _leave_button().click()
    panel._really_until = time.monotonic()  # some seconds later
    _until(lambda: _leave_button().description == "Disconnect")  # by itself
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
