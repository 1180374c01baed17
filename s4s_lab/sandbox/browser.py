"""A participant's browser, as far as a consent page needs one: cookies, a form, redirects."""

from __future__ import annotations

from collections.abc import Mapping
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import httpx2

from s4s_lab.errors import LaunchNotTried, LaunchRefused, NotReachable
from s4s_lab.values.origins import without_query

_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_HOPS = 5


class _Form(HTMLParser):
    """The form of a page: where it goes, and its hidden fields."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take where the form goes, and the fields that it sends without being filled in.

        Parameters
        ----------
        tag : str
            Element name.
        attrs : list of (str, str or None)
            Its attributes.
        """
        given = {name: value or "" for name, value in attrs}
        if tag == "form" and self.action is None:
            self.action = given.get("action", "")
        elif tag == "input" and given.get("type") == "hidden":
            self.fields[given["name"]] = given.get("value", "")


def _hop(http: httpx2.Client, url: str, form: Mapping[str, str] | None = None) -> httpx2.Response:
    try:
        return http.get(url) if form is None else http.post(url, data=dict(form))
    except httpx2.TransportError:
        raise NotReachable(f"Nobody answers at {without_query(url)}.") from None


def answer_consent(authorize_url: str, choice: Mapping[str, str]) -> str:
    """Open an authorize URL, fill in the consent page, submit it, and return where the app is sent.

    Parameters
    ----------
    authorize_url : str
        As the app made it.
    choice : mapping
        What to choose: `participant`, and `decision`, which is `approve` or `deny`.

    Returns
    -------
    str
        The redirect URI with the answer; it was not fetched.

    Raises
    ------
    LaunchRefused
        If the server shows an error, or sends the browser back without asking.
    NotReachable
        If nobody answers.
    """
    with httpx2.Client(trust_env=False, timeout=30) as http:
        page = _hop(http, authorize_url)
        if page.status_code in _REDIRECTS:
            return urljoin(authorize_url, page.headers["location"])
        form = _Form()
        form.feed(page.text)
        if page.status_code != 200 or form.action is None:
            text = f"The consent page cannot be used (HTTP {page.status_code})."
            raise LaunchRefused(text, error="invalid_request", hint="Open the address in a browser to see why.")
        answered = _hop(http, urljoin(authorize_url, form.action), form.fields | dict(choice))
        if answered.status_code not in _REDIRECTS:
            text = f"The server did not take the answer (HTTP {answered.status_code})."
            raise LaunchRefused(text, error="invalid_request")
        return urljoin(authorize_url, answered.headers["location"])


def return_to_app(url: str) -> None:
    """Fetch the address that the app is sent to, as the browser does; further redirects of the app are followed.

    Parameters
    ----------
    url : str
        As returned by `answer_consent`.

    Raises
    ------
    LaunchNotTried
        If nobody listens there.
    """
    with httpx2.Client(trust_env=False, timeout=30) as http:
        for _ in range(_MAX_HOPS):
            try:
                page = _hop(http, url)
            except NotReachable:
                host = urlsplit(url).netloc
                hint = "Start the launch's listener first, or give the address to the launch yourself."
                raise LaunchNotTried(f"The app does not listen at {host}.", hint=hint) from None
            if page.status_code not in _REDIRECTS:
                return
            url = urljoin(url, page.headers["location"])
