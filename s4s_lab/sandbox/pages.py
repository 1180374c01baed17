"""The pages people see: consent, what is shared, errors, and a start page. Plain HTML, no script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from starlette.responses import HTMLResponse

from s4s_lab.sandbox.archive import Participant

STYLE = """
:root{color-scheme:light dark;--ink:#1d2733;--soft:#5a6675;--line:#d8dee6;--card:#fff;--back:#eef2f6;--go:#0b6e63;
--gone:#0a5c53;--tint:#e6f3f1;--no:#8d2b2b}
@media(prefers-color-scheme:dark){:root{--ink:#e8edf2;--soft:#a6b1be;--line:#3a4653;--card:#1e2731;--back:#12181f;
--go:#3fb5a5;--gone:#56c7b8;--tint:#1b3a38;--no:#e59a9a}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"DejaVu Sans",sans-serif}
main{max-width:36rem;margin:2.5rem auto;padding:0 1rem}
.card{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:1.75rem 2rem;
box-shadow:0 1px 3px #0001,0 12px 32px #0000000f}
.brand{display:flex;align-items:center;gap:.6rem;color:var(--soft);font-size:.9rem;margin:0 0 1rem}
.brand span{width:1.6rem;height:1.6rem;border-radius:50%;background:radial-gradient(circle at 50% 50%,
var(--card) 0 22%,var(--go) 24% 44%,var(--card) 46% 58%,var(--go) 60%)}
h1{font-size:1.45rem;line-height:1.3;margin:0 0 .35rem}
h2{font-size:1rem;margin:1.5rem 0 .5rem}
p{margin:.35rem 0 .75rem}
a{color:var(--go)}
form+p{margin-top:1.25rem}
.soft{color:var(--soft);font-size:.92rem}
ul{margin:.25rem 0 0;padding-left:1.2rem}
li{margin:.2rem 0}
fieldset{border:0;margin:1.5rem 0 0;padding:0;min-width:0}
legend{font-weight:600;padding:0;margin-bottom:.5rem}
.people{max-height:19rem;overflow:auto;border:1px solid var(--line);border-radius:10px}
.people label{display:flex;gap:.75rem;align-items:center;padding:.6rem .9rem;cursor:pointer}
.people label+label{border-top:1px solid var(--line)}
.people label:hover{background:var(--tint)}
.people label:has(input:checked){background:var(--tint)}
.people input{accent-color:var(--go);width:1.1rem;height:1.1rem;flex:none;margin:0}
.people small{display:block;color:var(--soft);font-size:.86rem}
.answers{display:flex;gap:.75rem;margin-top:1.5rem}
button{font:inherit;font-weight:600;border-radius:10px;padding:.65rem 1.4rem;cursor:pointer;
border:1px solid var(--line);background:transparent;color:var(--ink)}
button.go{background:var(--go);border-color:var(--go);color:var(--card);flex:1}
button.go:hover{background:var(--gone)}
button.no{color:var(--no)}
button:focus-visible,input:focus-visible{outline:3px solid var(--go);outline-offset:2px}
code{font-size:.9em;background:var(--back);border-radius:5px;padding:.1rem .35rem;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%}
td{padding:.7rem 0;border-top:1px solid var(--line);vertical-align:top}
td:last-child{text-align:right}
footer{color:var(--soft);font-size:.85rem;margin:1rem .25rem}
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()


def _page(title: str, body: str, *, status: int = 200, form_action: str = "'self'") -> HTMLResponse:
    html = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{STYLE}</style></head>'
        '<body><main><div class="card"><p class="brand"><span aria-hidden="true"></span>S4S Lab sandbox</p>'
        f"{body}</div>"
        "<footer>A reference server for tutorials and tests, not for real health records.</footer></main></body></html>"
    )
    policy = (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action {form_action}; base-uri 'none'; "
        "frame-ancestors 'none'"
    )
    headers = {"Content-Security-Policy": policy, "X-Frame-Options": "DENY", "Cache-Control": "no-store"}
    return HTMLResponse(html, status, headers)


@dataclass(frozen=True)
class Question:
    """What a consent page asks.

    Parameters
    ----------
    app_name : str
        Who asks; text from outside, shown as text.
    returns_to : str
        Host that the browser goes back to.
    form_action : str
        CSP source of that address: browsers apply `form-action` to the redirect that follows the form.
    asks_for : sequence of str
        One sentence each.
    notice : str
        Where these records come from.
    request_id, csrf : str
        Hidden fields of the form.
    """

    app_name: str
    returns_to: str
    form_action: str
    asks_for: Sequence[str]
    notice: str
    request_id: str
    csrf: str


def _person(one: Participant, summary: str, *, first: bool) -> str:
    checked = " checked" if first else ""
    born = f"born {one.birth_date}" if one.birth_date else ""
    detail = " · ".join(filter(None, [born, summary]))
    return (
        f'<label><input type="radio" name="participant" value="{escape(one.patient_id)}" required{checked}>'
        f"<span>{escape(one.name)}<small>{escape(detail)}</small></span></label>"
    )


def consent_page(question: Question, people: Sequence[tuple[Participant, str]]) -> HTMLResponse:
    """Show who asks for what, let the participant be picked, and the answer be given.

    Parameters
    ----------
    question : Question
        What is asked.
    people : sequence of (Participant, str)
        Each with a short summary of what there is to share.
    """
    asks = "".join(f"<li>{escape(one)}</li>" for one in question.asks_for)
    rows = "".join(_person(one, summary, first=number == 0) for number, (one, summary) in enumerate(people))
    body = (
        f"<h1>{escape(question.app_name)} asks to see your health records</h1>"
        f'<p class="soft">After your answer you return to <code>{escape(question.returns_to)}</code>.</p>'
        f"<h2>If you approve, it may</h2><ul>{asks}</ul>"
        '<form method="post" action="consent">'
        f'<input type="hidden" name="request" value="{escape(question.request_id)}">'
        f'<input type="hidden" name="csrf" value="{escape(question.csrf)}">'
        f'<fieldset><legend>Whose records?</legend><div class="people">{rows}</div></fieldset>'
        '<div class="answers"><button class="go" name="decision" value="approve">Approve</button>'
        '<button class="no" name="decision" value="deny" formnovalidate>Deny</button></div></form>'
        f'<p class="soft">{escape(question.notice)} You can stop sharing at any time on '
        '<a href="manage">this page</a>.</p>'
    )
    return _page(f"{question.app_name} asks to see your records", body, form_action=question.form_action)


@dataclass(frozen=True)
class Share:
    """One row of the page that shows what is shared.

    Parameters
    ----------
    approval_id : str
        What the button ends.
    app_name, participant_name, since : str
        As shown.
    asks_for : sequence of str
        What the app may read.
    """

    approval_id: str
    app_name: str
    participant_name: str
    since: str
    asks_for: Sequence[str]


def manage_page(shares: Sequence[Share], csrf: str) -> HTMLResponse:
    """Show what is shared with whom, each with a button that stops it.

    Parameters
    ----------
    shares : sequence of Share
        One for each approval that is alive.
    csrf : str
        Hidden field of the forms.
    """
    rows = "".join(
        f"<tr><td><strong>{escape(one.app_name)}</strong> sees the records of {escape(one.participant_name)}"
        f'<div class="soft">Since {escape(one.since)}. It may {escape("; ".join(one.asks_for))}.</div></td>'
        '<td><form method="post" action="manage">'
        f'<input type="hidden" name="csrf" value="{escape(csrf)}">'
        f'<button class="no" name="approval" value="{escape(one.approval_id)}">Stop sharing</button></form></td></tr>'
        for one in shares
    )
    listed = f"<table>{rows}</table>" if rows else "<p>Nothing is shared with any app at the moment.</p>"
    return _page("What you share", f"<h1>What you share</h1>{listed}")


def error_page(text: str, *, status: int = 400) -> HTMLResponse:
    """Show why a request goes nowhere.

    Parameters
    ----------
    text : str
        One or two sentences.
    status : int
        HTTP status.
    """
    body = (
        f"<h1>This request cannot go on</h1><p>{escape(text)}</p>"
        '<p class="soft">Nothing was shared. Go back to the app and start again.</p>'
    )
    return _page("This request cannot go on", body, status=status)


def start_page(fhir_url: str, wado_url: str, notice: str, participants: int) -> HTMLResponse:
    """Show what runs here, for people who open the server's address in a browser.

    Parameters
    ----------
    fhir_url, wado_url : str
        The service addresses.
    notice : str
        Where the records come from.
    participants : int
        How many there are.
    """
    people = "1 participant" if participants == 1 else f"{participants} participants"
    body = (
        f"<h1>A Sync for Science server runs here</h1><p>{escape(notice)} {people}.</p>"
        f"<h2>FHIR (STU3)</h2><p><code>{escape(fhir_url)}</code></p>"
        f"<h2>DICOM WADO-RS</h2><p><code>{escape(wado_url)}</code></p>"
        '<p class="soft"><a href="oauth/manage">What is shared with whom</a></p>'
    )
    return _page("S4S Lab sandbox", body)
