"""An authorization server that rotates refresh tokens and takes a second use of one for theft (RFC 9700, 4.14.2).

It shares no code with the package; how it can lose an answer is what its tests are about.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Literal, Self
from urllib.parse import parse_qs

Loss = Literal["before", "after", "gateway", "page", "cut", "down"]
_RUBBISH = {"page": "<html>Please sign in</html>", "cut": '{"access_token": "s4s_sandbox_acc'}


class RotatingServer:
    """One grant: `refresh-N` buys `access-N+1` and `refresh-N+1`, once."""

    def __init__(self) -> None:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.origin = f"http://127.0.0.1:{self._http.server_port}"
        self.number = 1
        self.good: set[str] = {"s4s_sandbox_access_1"}
        self.refreshes = 0
        self.reuse_seen = 0
        self.forgives_retry = False
        self.losses: list[Loss] = []
        self.asked: list[str] = []
        self.on_refresh: Callable[[], None] = lambda: None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()

    def refuse_access(self) -> None:
        """End the access token, as time would."""
        self.good.clear()

    def refresh(self, token: str) -> tuple[int, dict[str, object] | str] | None:
        """Answer a refresh; None: the connection breaks before anything of the answer is sent."""
        with self._lock:
            self.asked.append(token)
            self.on_refresh()
            loss = self.losses.pop(0) if self.losses else None
            if loss == "before":
                return None
            if loss == "down":
                return 503, {}
            if token != f"s4s_sandbox_refresh_{self.number}":
                if not (self.forgives_retry and token == f"s4s_sandbox_refresh_{self.number - 1}"):
                    self.reuse_seen += 1
                    self.number += 1000  # the whole family ends
                    return 400, {"error": "invalid_grant"}
                self.number -= 1
            self.number += 1
            self.refreshes += 1
            self.good = {f"s4s_sandbox_access_{self.number}"}
            if loss == "after":
                return None
            if loss == "gateway":
                return 502, {}
            if loss in _RUBBISH:
                return 200, _RUBBISH[loss]
            tokens = {
                "access_token": f"s4s_sandbox_access_{self.number}",
                "refresh_token": f"s4s_sandbox_refresh_{self.number}",
            }
            return 200, {
                **tokens,
                "token_type": "Bearer",
                "expires_in": 3600,
                "patient": "p",
                "scope": "patient/*.read",
            }


def _handler(server: RotatingServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
            """Keep quiet."""

        def _send(self, answer: tuple[int, dict[str, object] | str] | None) -> None:
            if answer is None:
                self.close_connection = True
                return
            body = (answer[1] if isinstance(answer[1], str) else json.dumps(answer[1])).encode()
            self.send_response(answer[0])
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            self._send((200, {}) if token in server.good else (401, {}))

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self._send(server.refresh(form["refresh_token"][0]))

    return Handler
