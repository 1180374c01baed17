"""How a launch and its connection look in a notebook: HTML made of facts, with Lab's own colours."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from importlib.resources import files
from typing import Literal

from s4s_lab.connection import Connection, ConnectionState
from s4s_lab.errors import GrantExpired
from s4s_lab.smart import LaunchStatus
from s4s_lab.values.origins import without_query

PanelStatus = LaunchStatus | ConnectionState
_Mood = Literal["busy", "good", "warn", "bad", "off"]
# Word, mood, and what it means for the one who reads it.
_SHOWN: dict[PanelStatus, tuple[str, _Mood, str]] = {
    "waiting": ("Waiting", "busy", "The participant opens this page and approves there."),
    "connecting": ("Exchanging", "busy", "Approved. Fetching the access token."),
    "connected": ("Connected", "good", ""),
    "expiring": ("Expiring", "warn", ""),
    "refresh failed": ("Refresh failed", "bad", "The access could not be renewed."),
    "refused": ("Not connected", "bad", ""),
    "closed": ("Closed", "off", ""),
    "ended": ("Ended", "off", "The access has ended. To read more, launch again and have it approved."),
}
STYLE = f"<style>{files('s4s_lab.widgets').joinpath('launch_card.css').read_text(encoding='utf-8')}</style>"


def heading(status: PanelStatus, fhir_url: str, said: str = "") -> str:
    """Return the first lines: how it stands, with whom, and what to know about that.

    Parameters
    ----------
    status : str
        As `LaunchPanel.status`.
    fhir_url : str
        The server.
    said : str, optional
        What an error said.
    """
    word, mood, meaning = _SHOWN[status]
    pill = f'<span class="s4s-pill s4s-{mood}" role="status">{word}</span>'
    server = f'<span class="s4s-server">{escape(without_query(fhir_url))}</span>'
    # An answer that was no answer is told while the launch goes on.
    tone = "warn" if mood == "busy" else mood
    lines = [
        f"<p>{escape(meaning)}</p>" if meaning else "",
        f'<p class="s4s-{tone}">{escape(said)}</p>' if said else "",
    ]
    return f'<div class="s4s-head">{pill}{server}</div>{"".join(lines)}'


def link(url: str, words: str = "Open the consent page", *, second: bool = False) -> str:
    """Return the link to the consent page, which needs nothing of the kernel's attention.

    Parameters
    ----------
    url : str
        Where it leads.
    words : str
        What it says.
    second : bool
        Whether another link comes before it.
    """
    kind = "s4s-link s4s-second" if second else "s4s-link"
    return f'<a class="{kind}" href="{escape(url)}" target="_blank" rel="noopener noreferrer">{escape(words)}</a>'


def alone(status: PanelStatus, fhir_url: str, said: str) -> str:
    """Return the first lines complete in themselves, for a page that has no panel any more.

    Parameters
    ----------
    status, fhir_url, said : str
        As for `heading`.
    """
    return f'{STYLE}<div class="s4s-panel">{heading(status, fhir_url, said)}</div>'


def warned(sentences: Iterable[str]) -> str:
    """Return what to know before anybody is sent to the server.

    Parameters
    ----------
    sentences : iterable of str
        What the server does not declare.
    """
    return "".join(f'<p class="s4s-warn">{escape(one)}</p>' for one in sentences)


def facts(connection: Connection) -> str:
    """Return what was shared, with whom, and for how long.

    Parameters
    ----------
    connection : Connection
        What the launch gave.
    """
    try:
        grant, not_granted = connection.grants.read(), connection.not_granted
    except GrantExpired:  # just now, in another thread
        return ""
    rows = {
        "Patient": escape(connection.patient_id),
        "Signed in": escape(grant.fhir_user or ""),
        "Granted": "".join(_scope(one) for one in grant.scope.split()),
        "Asked, not granted": "".join(_scope(one, "s4s-warn") for one in not_granted),
        "Access": escape(_access(connection)),
    }
    cells = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows.items() if value)
    return f"<dl>{cells}</dl>"


def _scope(name: str, kind: str = "") -> str:
    return f'<span class="s4s-scope {kind}">{escape(name)}</span>'


def _access(connection: Connection) -> str:
    minutes = connection.minutes_left
    left = f"{minutes} min left" if minutes else "the access token has run out"
    if isinstance(connection.renewal_error, GrantExpired):
        return f"{left}, then it ends: the participant approves again"
    if connection.refreshable:
        return f"{left}, {'then renewed by itself' if minutes else 'and is renewed with the next request'}"
    return f"{left}, not renewable: then the participant approves again"
