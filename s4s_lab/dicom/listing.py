"""What an archive itself lists of a study: its series and instances, by WADO-RS metadata."""

from __future__ import annotations

from typing import Final

import msgspec

from s4s_lab.dicom.address import below
from s4s_lab.dicom.resume import DeclaredSeries
from s4s_lab.errors import NotReachable, UnexpectedAnswer, Waiting
from s4s_lab.net import HttpClient
from s4s_lab.values.uids import is_uid

_ACCEPT: Final = "application/dicom+json"
# Five kilobytes an instance is usual, with all of its header: this is room for ten thousand.
_MAX_BYTES: Final = 64 << 20


class _Uid(msgspec.Struct):
    """A DICOM JSON attribute that holds UIDs."""

    values: list[str] = msgspec.field(name="Value", default_factory=list)


class _Instance(msgspec.Struct):
    """Of one instance's header, what names it."""

    study: _Uid = msgspec.field(name="0020000D")
    series: _Uid = msgspec.field(name="0020000E")
    instance: _Uid = msgspec.field(name="00080018")

    def uids(self) -> tuple[str, str, str]:
        """Return study, series and instance; ValueError where one is missing, or no UID."""
        (study,), (series,), (instance,) = self.study.values, self.series.values, self.instance.values
        if not (is_uid(series) and is_uid(instance)):
            raise ValueError
        return study, series, instance


def listed_series(client: HttpClient, url: str, study_uid: str) -> tuple[DeclaredSeries, ...] | None:
    """Ask an archive once which series and instances of a study it has.

    Parameters
    ----------
    client : HttpClient
        Signs and sends the request.
    url : str
        The study's address, as `study_url` gives it.
    study_uid : str
        Bare.

    Returns
    -------
    tuple of DeclaredSeries or None
        None when the archive does not say: S4S asks of it no more than whole studies.

    References
    ----------
    DICOM PS3.18, sections 10.4.1.1.2 (metadata resources) and F.2 (DICOM JSON).
    """
    try:
        body = _body(client, below(url, "/metadata"))
        named = [one.uids() for one in msgspec.json.decode(body, type=list[_Instance])]
    except (NotReachable, UnexpectedAnswer, Waiting, ValueError):
        return None
    found: dict[str, set[str]] = {}
    for study, series, instance in named:
        if study != study_uid:
            return None
        found.setdefault(series, set()).add(instance)
    return tuple(DeclaredSeries(uid, len(uids), frozenset(uids)) for uid, uids in found.items()) or None


def _body(client: HttpClient, url: str) -> bytes:
    with client.stream(url, accept=_ACCEPT) as stream:
        body = bytearray()
        for chunk in stream.chunks() if stream.status == 200 else ():
            body += chunk
            if len(body) > _MAX_BYTES:
                return b""
        return bytes(body)
