"""Heads of requests, as bytes."""

from __future__ import annotations

import pytest

from s4s_lab.smart.loopback_server import Request, parse_request

HEAD = b"GET /callback?code=c HTTP/1.1\r\nAccept: */*\r\nHOST:  127.0.0.1:8723 \r\n\r\n"


def test_a_browsers_request_is_read() -> None:
    assert parse_request(HEAD) == Request("GET", "/callback?code=c", "127.0.0.1:8723")


def test_who_asks_and_for_what_is_read() -> None:
    more = b"Origin: https://Evil.example\r\nSec-Fetch-Mode: CORS\r\n\r\n"
    request = parse_request(HEAD.removesuffix(b"\r\n") + more)
    assert request == Request("GET", "/callback?code=c", "127.0.0.1:8723", "https://evil.example", "cors")


def test_a_request_does_not_show_its_query() -> None:
    assert "code" not in repr(parse_request(HEAD))


@pytest.mark.parametrize(
    "head",
    [
        HEAD.replace(b"/callback", b"callback"),
        HEAD.replace(b"/callback", b"http://127.0.0.1/callback"),
        HEAD.replace(b"/callback", b"/call back"),
        HEAD.replace(b"GET", b"get"),
        HEAD.replace(b"HTTP/1.1", b"HTTP/2"),
        HEAD.replace(b"HOST", b"X"),
        HEAD.replace(b"Accept: */*", b"Host: other"),
        HEAD.replace(b"Accept: */*", b"Origin: null\r\nOrigin: null"),
        HEAD.replace(b"Accept: */*", b"Sec-Fetch-Mode: navigate\r\nsec-fetch-mode: navigate"),
        HEAD.replace(b"code", b"c\xc3\xb6de"),
        HEAD.replace(b"code", b"a" * 9000),
        b"\r\n\r\n",
    ],
)
def test_what_no_browser_sends_is_none(head: bytes) -> None:
    assert parse_request(head) is None
