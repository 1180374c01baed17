"""A chain of pages that begins anew: what its first pages showed and its new ones do not is not in the record."""

from __future__ import annotations

import json
import socket
from itertools import chain, repeat

from s4s_lab import Dataset, pull
from tests.wire.net.servers import Request, reply, serving
from tests.wire.sync.conftest import TYPES, connection
from tests.wire.sync.server import study
from tests.wire.sync.test_pull import LONG_AGO


def page(*numbers: int, next_url: str | None = None) -> bytes:
    entries = [{"resource": study(number, LONG_AGO)} for number in numbers]
    links = [{"relation": "next", "url": next_url}] if next_url else []
    return reply(
        200, body=json.dumps({"resourceType": "Bundle", "type": "searchset", "entry": entries, "link": links}).encode()
    )


def pulled(data: Dataset, *answers: bytes) -> list[str]:
    """Pull for the first time from scripted answers; what is asked beyond them is gone."""
    left = chain(answers, repeat(reply(410)))

    def script(_: Request, connection: socket.socket) -> None:
        connection.sendall(next(left))

    with serving(script) as server:
        report = pull(connection(f"{server.url}/fhir"), data, types=TYPES)
        assert report.outcome == "done"
    return sorted(data.table("imaging_study")["resource_id"])


def test_a_record_deleted_before_the_chain_began_anew_is_not_taken_as_shown(data: Dataset) -> None:
    brought = pulled(data, page(1, 2, next_url="?page=2"), reply(410), page(2, next_url="?page=b"), page(3))
    assert brought == ["s2", "s3"]
