"""The pages by themselves: whatever a name holds stays text."""

from __future__ import annotations

from starlette.responses import HTMLResponse

from s4s_lab.sandbox.archive import Participant
from s4s_lab.sandbox.pages import Question, Share, consent_page, error_page, manage_page, start_page

HOSTILE = "<img src=x onerror=alert(1)>\"'&"
SHOWN = "&lt;img src=x onerror=alert(1)&gt;&quot;&#x27;&amp;"


def html(page: HTMLResponse) -> str:
    return bytes(page.body).decode()


def question(text: str) -> Question:
    return Question(
        app_name=text,
        returns_to=text,
        form_action="'self'",
        asks_for=[text],
        notice=text,
        request_id=text,
        csrf=text,
    )


def test_hostile_text_is_shown_as_text_on_every_page() -> None:
    pages = [
        consent_page(question(HOSTILE), [(Participant(HOSTILE, HOSTILE, HOSTILE), HOSTILE)]),
        manage_page([Share(HOSTILE, HOSTILE, HOSTILE, HOSTILE, [HOSTILE])], HOSTILE),
        error_page(HOSTILE),
        start_page(HOSTILE, HOSTILE, HOSTILE, 3),
    ]
    for page in pages:
        assert "<img" not in html(page)
        assert SHOWN in html(page)
        assert "default-src 'none'" in page.headers["content-security-policy"]


def test_a_participant_shows_what_is_known_of_it() -> None:
    page = html(
        consent_page(
            question("App"), [(Participant("1", "Known", "1970-02-03"), "2 claims"), (Participant("2", "Unknown"), "")]
        )
    )
    assert "<span>Known<small>born 1970-02-03 · 2 claims</small></span>" in page
    assert "<span>Unknown<small></small></span>" in page


def test_an_error_has_the_status_it_is_given() -> None:
    assert error_page("No.", status=403).status_code == 403
    assert error_page("No.").status_code == 400
