"""How the way back is chosen: from the redirect URI, from where the kernel runs, or as the user says."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import closing

import pytest

from s4s_lab.errors import LaunchNotTried, UsageError
from s4s_lab.smart.redirects import Capture, Surroundings, listen_for, redirect_uri_here
from s4s_lab.smart.return_address import return_address
from s4s_lab.values import DEMO_REDIRECT_URI

HUB = {
    "JUPYTERHUB_SERVICE_PREFIX": "/base/user/ann/",
    "JUPYTERHUB_PUBLIC_HUB_URL": "https://hub.example/base/",
}
LOCAL = Surroundings({})
ELSEWHERE = [
    Surroundings(HUB),
    Surroundings({"SSH_CONNECTION": "192.0.2.1 50000 192.0.2.2 22"}),
    Surroundings({"CODESPACES": "true"}),
    Surroundings({"BINDER_SERVICE_HOST": "192.0.2.3"}),
    Surroundings({}, modules={"google.colab"}),
]


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


@pytest.fixture
def free_uri() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"http://127.0.0.1:{probe.getsockname()[1]}/callback"


@pytest.mark.parametrize(
    ("redirect_uri", "way", "listens", "sees", "start"),
    [
        ("http://127.0.0.1:8723/callback", "loopback", ("127.0.0.1", 8723), "/callback", "http://127.0.0.1:8723"),
        ("http://localhost/cb", "loopback", ("127.0.0.1", 80), "/cb", "http://localhost"),
        ("http://[::1]:9000", "loopback", ("::1", 9000), "/", "http://[::1]:9000"),
        (
            "https://hub.example/user/ann/proxy/8723/callback",
            "proxy",
            ("127.0.0.1", 8723),
            "/callback",
            "https://hub.example/user/ann/proxy/8723",
        ),
        (
            "https://hub.example/hub/user-redirect/proxy/9000/a/b",
            "proxy",
            ("127.0.0.1", 9000),
            "/a/b",
            "https://hub.example/hub/user-redirect/proxy/9000",
        ),
        ("http://localhost:8888/proxy/8723/", "proxy", ("127.0.0.1", 8723), "/", "http://localhost:8888/proxy/8723"),
    ],
)
def test_a_redirect_uri_tells_the_port_and_the_path(
    redirect_uri: str, way: str, listens: tuple[str, int], sees: str, start: str
) -> None:
    found = return_address(redirect_uri)
    assert found is not None
    assert (found.way, (found.host, found.port), found.path, found.public_base) == (way, listens, sees, start)


@pytest.mark.parametrize(
    "redirect_uri",
    [
        "https://app.example/callback",
        "https://127.0.0.1:8723/callback",
        "https://hub.example/proxy/0/callback",
        "https://hub.example/proxy/65536/callback",
        "https://hub.example/proxy/8723",
        "https://hub.example/callback?to=/proxy/8723/callback",
        "http://127.0.0.1:8723/callback?x=1",
    ],
)
def test_another_redirect_uri_leads_nowhere_here(redirect_uri: str) -> None:
    assert return_address(redirect_uri) is None
    assert listen_for(redirect_uri, surroundings=LOCAL) is None


@pytest.mark.parametrize(
    "redirect_uri",
    [
        "http://hub.example/user/ann/proxy/8723/callback",  # plain http, and not to this machine
        "http://app.example/callback",
        "http://127.0.0.1.evil.example/callback",
        "http://127.0.0.1:99999/callback",
        "http://127.0.0.1:8723/callback#part",
        "javascript:alert(1)//127.0.0.1",
        "data:text/html,x",
        "file:///tmp/callback",
        "urn:ietf:wg:oauth:2.0:oob",
        "org.example.app:/callback",
        "banana",
        "",
    ],
)
@pytest.mark.parametrize("capture", [None, "paste"])
def test_no_code_is_sent_where_others_could_read_it(redirect_uri: str, capture: Capture | None) -> None:
    assert return_address(redirect_uri) is None
    with pytest.raises(UsageError):
        listen_for(redirect_uri, capture, LOCAL)


@pytest.mark.parametrize(
    ("redirect_uri", "host"),
    [
        ("http://127.0.0.1:80/callback", "127.0.0.1"),
        ("https://hub.example:443/user/ann/proxy/8723/callback", "hub.example"),
        ("https://hub.example:80/user/ann/proxy/8723/callback", "hub.example:80"),
        ("http://localhost:8443/cb", "localhost:8443"),
    ],
)
def test_the_schemes_own_port_is_not_in_the_host_header(redirect_uri: str, host: str) -> None:
    found = return_address(redirect_uri)
    assert found is not None
    assert found.shown_host == host


def test_on_this_machine_the_browser_comes_back_to_it(free_uri: str) -> None:
    assert redirect_uri_here(surroundings=LOCAL) == DEMO_REDIRECT_URI
    listener = listen_for(free_uri, surroundings=LOCAL)
    assert listener is not None
    with closing(listener):
        assert listener.near


@pytest.mark.parametrize("around", ELSEWHERE)
def test_where_the_browser_is_elsewhere_the_link_does_not_lead_to_this_machine(
    around: Surroundings, free_uri: str
) -> None:
    listener = listen_for(free_uri, surroundings=around)
    assert listener is not None  # a forwarded port may still bring the answer
    with closing(listener):
        assert not listener.near


def test_a_taken_port_matters_only_where_the_browser_is_here(taken_port: int) -> None:
    uri = f"http://127.0.0.1:{taken_port}/callback"
    assert listen_for(uri, surroundings=ELSEWHERE[0]) is None
    with pytest.raises(LaunchNotTried):
        listen_for(uri, surroundings=LOCAL)
    with pytest.raises(LaunchNotTried):
        listen_for(uri, "loopback", ELSEWHERE[0])


def test_the_user_may_say_otherwise(free_uri: str) -> None:
    assert listen_for(free_uri, "paste", LOCAL) is None
    listener = listen_for(free_uri, "loopback", ELSEWHERE[1])
    assert listener is not None
    with closing(listener):
        assert listener.near
    with pytest.raises(UsageError, match="cannot be caught by proxy, only by loopback"):
        listen_for(free_uri, "proxy", LOCAL)


@pytest.mark.parametrize(
    ("environment", "proxied", "expected"),
    [
        (HUB, True, "https://hub.example/base/user/ann/proxy/8723/callback"),
        (
            HUB | {"JUPYTERHUB_PUBLIC_URL": "https://ann.hub.example/x/"},
            True,
            "https://ann.hub.example/x/proxy/8723/callback",
        ),
        (HUB, False, DEMO_REDIRECT_URI),
        (HUB | {"S4S_REDIRECT_URI": "https://app.example/cb"}, True, "https://app.example/cb"),
        ({"JUPYTERHUB_SERVICE_PREFIX": "/user/ann/"}, True, DEMO_REDIRECT_URI),
    ],
)
def test_a_client_that_registers_on_a_hub_is_sent_through_its_proxy(
    environment: Mapping[str, str], proxied: bool, expected: str
) -> None:
    assert redirect_uri_here(surroundings=Surroundings(environment, proxied=proxied)) == expected


@pytest.mark.parametrize("capture", ["loopback", "paste"])
def test_a_hubs_proxy_is_not_used_against_the_users_will(capture: Capture) -> None:
    assert redirect_uri_here(capture, Surroundings(HUB, proxied=True)) == DEMO_REDIRECT_URI


def test_a_proxy_whose_address_is_unknown_cannot_be_wished_for() -> None:
    with pytest.raises(LaunchNotTried, match=r"S4S_REDIRECT_URI"):
        redirect_uri_here("proxy", LOCAL)
