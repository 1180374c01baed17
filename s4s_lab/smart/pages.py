"""The pages that a participant's browser shows at the end of a launch: short, friendly, complete in themselves."""

from __future__ import annotations

from html import escape
from typing import Literal

Mood = Literal["good", "bad", "puzzled"]
_SIGN = {"good": "✓", "bad": "!", "puzzled": "?"}
_HUE = {"good": "#1a7f4b", "bad": "#b3261e", "puzzled": "#8a6100"}
_BACK = "You can close this tab and go back to where you began."
_AGAIN = "Go back to where you began, and use the link there."
_TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{title} – S4S Lab</title>
<style>
:root {{ color-scheme: light dark; --hue: {hue}; }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1.5rem;
  font: 1.0625rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  background: #eef2f6; color: #1d2733; }}
main {{ max-width: 30rem; width: 100%; background: #fff; border-radius: 14px; padding: 2.25rem 2.25rem 1.5rem;
  box-shadow: 0 1px 2px rgb(15 30 50 / .08), 0 12px 32px rgb(15 30 50 / .10); border-top: 5px solid var(--hue); }}
.sign {{ width: 3.25rem; height: 3.25rem; border-radius: 50%; display: grid; place-items: center;
  background: var(--hue); color: #fff; font-size: 1.7rem; font-weight: 700; line-height: 1; }}
h1 {{ font-size: 1.45rem; line-height: 1.25; margin: 1.1rem 0 .5rem; }}
p {{ margin: 0 0 .9rem; }}
.next {{ font-weight: 600; }}
footer {{ margin-top: 1.6rem; padding-top: .9rem; border-top: 1px solid #e3e8ee; font-size: .85rem; color: #5d6b7a; }}
@media (prefers-color-scheme: dark) {{
  body {{ background: #11161c; color: #e6ebf0; }}
  main {{ background: #1b222b; box-shadow: none; }}
  footer {{ border-color: #2d3742; color: #98a6b5; }}
}}
</style>
</head>
<body>
<main>
<div class="sign" aria-hidden="true">{sign}</div>
<h1>{title}</h1>
{paragraphs}
<p class="next">{next_step}</p>
<footer>S4S Lab, the program that you came from. This page keeps nothing and sends nothing.</footer>
</main>
</body>
</html>
"""


def page(mood: Mood, title: str, *paragraphs: str, next_step: str = _BACK) -> bytes:
    """Return one page as UTF-8.

    Parameters
    ----------
    mood : {"good", "bad", "puzzled"}
        Picks colour and sign.
    title, paragraphs, next_step : str
        Plain text; escaped here.
    """
    texts = "\n".join(f"<p>{escape(text)}</p>" for text in paragraphs if text)
    return _TEMPLATE.format(
        hue=_HUE[mood], sign=_SIGN[mood], title=escape(title), paragraphs=texts, next_step=escape(next_step)
    ).encode()


def connected_page() -> bytes:
    """Return the page for a launch that ended well."""
    return page(
        "good",
        "You are connected",
        "Thank you. Your approval has arrived, and the study can now read what you chose to share.",
    )


def refused_page(what: str, hint: str) -> bytes:
    """Return the page for a launch that was refused or failed.

    Parameters
    ----------
    what : str
        What went wrong, as one sentence.
    hint : str
        What to do next.
    """
    return page("bad", "Not connected", what, hint)


def denied_page() -> bytes:
    """Return the page for a participant who did not approve."""
    return page(
        "puzzled",
        "Nothing was shared",
        "The approval was not given, so the study cannot read anything.",
        "If that was not what you wanted, start again from where you began.",
    )


def unclear_page(what: str, hint: str) -> bytes:
    """Return the page for an error that names no launch.

    Parameters
    ----------
    what : str
        What arrived, as one sentence.
    hint : str
        What to do next.
    """
    return page("puzzled", "Nothing was shared by this", what, hint)


def stray_page(what: str) -> bytes:
    """Return the page for a visit that no launch is waiting for.

    Parameters
    ----------
    what : str
        What is the matter, as one sentence.
    """
    return page("puzzled", "Nothing is waiting for this", what, next_step=_AGAIN)
