"""Which redirect URIs a client may use, and how many clients are kept."""

from __future__ import annotations

import pytest

from s4s_lab.sandbox.authorization.clients import MAX_CLIENTS, Client, Clients
from s4s_lab.values import Secret

REGISTERED = ("http://127.0.0.1:8723/callback", "http://[::1]/callback", "https://app.example/back?x=1")
OFFERED = {
    # Redirect URI: whether a confidential client may use it, whether a public one may.
    "http://127.0.0.1:8723/callback": (True, True),
    "http://127.0.0.1:1/callback": (False, True),
    "http://[::1]:9/callback": (False, True),
    "http://127.0.0.1/callback": (False, False),
    "http://127.0.0.1:8723/callback/": (False, False),
    "http://127.0.0.1:8723/Callback": (False, False),
    "http://127.0.0.1:8723/callback#x": (False, False),
    "http://127.0.0.1:8723/callback?x": (False, False),
    "http://user@127.0.0.1:8723/callback": (False, False),
    "http://127.0.0.1:99999/callback": (False, False),
    "https://127.0.0.1:8723/callback": (False, False),
    "http://127.0.0.2:8723/callback": (False, False),
    "https://app.example/back?x=1": (True, True),
    "https://app.example:444/back?x=1": (False, False),
    "https://app.example/back": (False, False),
    "": (False, False),
}


@pytest.mark.parametrize("uri", OFFERED)
def test_a_redirect_uri_is_the_registered_text_but_for_a_public_clients_port(uri: str) -> None:
    confidential = Client("c", "c", REGISTERED, Secret("s"))
    public = Client("p", "p", REGISTERED, None)
    assert (confidential.may_return_to(uri), public.may_return_to(uri)) == OFFERED[uri]


def test_a_secret_is_known_or_not() -> None:
    client = Client("c", "c", REGISTERED, Secret("sécret"))
    assert client.knows_secret("sécret")
    assert not client.knows_secret("secret")
    assert not client.knows_secret("")
    assert not Client("p", "p", REGISTERED, None).knows_secret("")
    assert "sécret" not in repr(client)


def test_the_first_client_stays_when_too_many_register() -> None:
    clients = Clients()
    demo = clients.add(Client("demo", "demo", REGISTERED, Secret("s")))
    first = clients.register({"redirect_uris": ["https://app.example/"]})["client_id"]
    for _ in range(MAX_CLIENTS):
        last = clients.register({"redirect_uris": ["https://app.example/"]})["client_id"]
    assert clients.get("demo") is demo
    assert clients.get(first) is None
    assert clients.get(last) is not None
    assert clients.get(None) is None
