"""Faults of connections and statuses: resets, cuts, drips, floods, and servers that ask for time."""

from __future__ import annotations

from datetime import timedelta
from email.utils import format_datetime

from tests.faults.server.faults import fault, sends
from tests.faults.server.record import START
from tests.faults.server.wire import Reply, Talk

DRIPS = 100
DRIP_S = 0.05


@fault("reset at once", anywhere=True)
async def reset_at_once(talk: Talk) -> None:
    talk.reset()


@fault("reset mid answer", anywhere=True)
async def reset_mid_answer(talk: Talk) -> None:
    data = talk.honest.wire()
    await talk.send(data[: talk.chance.randrange(1, len(data))])
    talk.reset()


@fault("closed mid answer", anywhere=True)
async def closed_mid_answer(talk: Talk) -> None:
    data = talk.honest.wire()
    await talk.send(data[: talk.chance.randrange(1, len(data))])
    talk.close()


@fault("two resets, then well", "harmless", anywhere=True)
async def resets_twice(talk: Talk) -> None:
    if talk.turn < 2:
        return talk.reset()
    return await talk.send(talk.honest.wire())


@fault("chunks without an end", anywhere=True)
async def chunks_without_end(talk: Talk) -> None:
    body = talk.honest.body
    cut = body[: talk.chance.randrange(1, len(body))]
    await talk.send(talk.honest.head("Transfer-Encoding: chunked") + b"%x\r\n%s\r\n" % (len(cut), cut))
    talk.close()


@fault("a body that ends with the connection, cut")
async def cut_by_close(talk: Talk) -> None:
    body = talk.honest.body
    await talk.send(talk.honest.head("Connection: close") + body[: talk.chance.randrange(1, len(body))])
    talk.close()


@fault("Content-Length too long", anywhere=True)
async def length_too_long(talk: Talk) -> None:
    await talk.send(talk.honest.head(f"Content-Length: {len(talk.honest.body) + 7}") + talk.honest.body)
    talk.close()


@fault("Content-Length too short")
async def length_too_short(talk: Talk) -> None:
    await talk.send(talk.honest.head(f"Content-Length: {len(talk.honest.body) - 7}") + talk.honest.body)
    talk.close()


@fault("two lengths", anywhere=True)
async def two_lengths(talk: Talk) -> None:
    await talk.send(talk.honest.head("Content-Length: 5", f"Content-Length: {len(talk.honest.body)}"))
    await talk.send(talk.honest.body)
    talk.close()


@fault("no HTTP", anywhere=True)
async def no_http(talk: Talk) -> None:
    await talk.send(talk.chance.randbytes(400) + b"\r\n\r\n")
    talk.close()


@fault("headers without end", anywhere=True)
async def endless_headers(talk: Talk) -> None:
    await talk.send(b"HTTP/1.1 200 X\r\n")
    for number in range(600):
        await talk.send(b"X-%d: %s\r\n" % (number, b"x" * 1000))
    talk.close()


@fault("informational answers without end", anywhere=True)
async def endless_informational(talk: Talk) -> None:
    for _ in range(10_000):
        await talk.send(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n")
    talk.close()


async def _drip(talk: Talk, data: bytes) -> None:
    for byte in data[:DRIPS]:
        await talk.send(bytes([byte]))
        await talk.pause(DRIP_S)
    talk.close()


@fault("a head in drips", anywhere=True)
async def head_in_drips(talk: Talk) -> None:
    await _drip(talk, talk.honest.head("X-Long: " + "x" * DRIPS))


@fault("a body in drips", anywhere=True)
async def body_in_drips(talk: Talk) -> None:
    await talk.send(talk.honest.head(f"Content-Length: {len(talk.honest.body) + DRIPS}"))
    await _drip(talk, talk.honest.body + b" " * DRIPS)


@fault("silence", anywhere=True)
async def silence(talk: Talk) -> None:
    await talk.pause(DRIPS * DRIP_S)
    talk.close()


@fault("one byte at a time, but quickly", "harmless", anywhere=True)
async def byte_by_byte(talk: Talk) -> None:
    for byte in talk.honest.wire():
        await talk.send(bytes([byte]))


@fault("a redirect to itself", anywhere=True)
async def redirect_to_itself(talk: Talk) -> None:
    await talk.send(Reply(302, b"", (f"Location: {talk.request.target}",)).wire())


sends("a redirect to another host", Reply(302, b"", ("Location: http://127.0.0.2:9/fhir/ImagingStudy?page=1",)))
for _status in (400, 403, 404, 406, 408, 410, 418, 500, 501, 502, 504):
    sends(f"HTTP {_status}", Reply(_status))
for _status in (204, 304):
    sends(f"HTTP {_status}", Reply(_status))
for _status in (502, 504, 408, 500):
    sends(f"HTTP {_status} once", Reply(_status), "harmless", times=1)

_DATE = f"Date: {format_datetime(START, usegmt=True)}"
_IN_TWO_DAYS = format_datetime(START + timedelta(days=2), usegmt=True)
_IN_A_MINUTE = format_datetime(START + timedelta(minutes=1), usegmt=True)
sends("503 for days", Reply(503, b"", ("Retry-After: 172800",)))
sends("503 until a date far off", Reply(503, b"", (_DATE, f"Retry-After: {_IN_TWO_DAYS}")))
sends("503 without end", Reply(503, b"", ("Retry-After: 60",)))
sends("503 without end that does not say for how long", Reply(503))
sends("429 without end", Reply(429))
sends("503 twice", Reply(503, b"", ("Retry-After: 300",)), "harmless", times=2)
sends("503 twice until a date", Reply(503, b"", (_DATE, f"Retry-After: {_IN_A_MINUTE}")), "harmless", times=2)
sends("503 twice in words", Reply(503, b"", ("Retry-After: soon",)), "harmless", times=2)
sends("429 five times", Reply(429), "harmless", times=5)
