"""Until when servers asked to be left alone: kept between runs, so that a restart asks nothing before its time."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock

from s4s_lab.errors import FURTHEST
from s4s_lab.sync.watermark import MAX_LEAD
from s4s_lab.values.instants import format_instant, parse_date_time, utc_now

_PATIENCE_S = 5.0


def within_reach(moment: datetime | None, now: datetime) -> bool:
    """Say whether a wait that was kept can be believed: one that ends later was kept while this clock was wrong.

    Parameters
    ----------
    moment : datetime or None
        When it ends, aware.
    now : datetime
        Our clock, aware.
    """
    return moment is not None and moment <= now + FURTHEST + MAX_LEAD


class KeptWaits:
    """The moments before which studies and resource types are not to be asked for, in one small file of mode 0600.

    It is advice: a file that is missing or damaged costs one early request.

    Parameters
    ----------
    folder : Path
        The dataset's; the file is made when the first wait is kept.
    connection_id : str
        Whose record.
    """

    def __init__(self, folder: Path, connection_id: str) -> None:
        self._path = folder / "dicom" / "waits.json"
        self._connection_id = connection_id

    def not_before(self, what: str) -> datetime | None:
        """Return the moment before which something is not to be asked for, None when it may be.

        Parameters
        ----------
        what : str
            A Study Instance UID, or a resource type.
        """
        text = self._load().get(self._key(what))
        try:
            moment = None if text is None else parse_date_time(text)
        except ValueError:
            return None
        return moment if within_reach(moment, utc_now()) else None

    def keep(self, what: str, not_before: datetime | None) -> None:
        """Remember a wait, or with None that there is none any more.

        Parameters
        ----------
        what : str
            A Study Instance UID, or a resource type.
        not_before : datetime or None
            Aware.
        """
        key = self._key(what)
        if not_before is None and key not in self._load():
            return
        # On a full disk it is not kept: that costs one early request.
        with suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # A pull and a fetch keep their waits at the same time.
            with FileLock(self._path.with_suffix(".lock"), timeout=_PATIENCE_S, mode=0o600):
                waits = self._load()
                waits.pop(key, None)
                if not_before is not None:
                    waits[key] = format_instant(not_before)
                part = self._path.with_name(f".part-{os.getpid()}-{self._path.name}")
                with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
                    json.dump(waits, handle)
                part.replace(self._path)

    def _key(self, what: str) -> str:
        return f"{self._connection_id}/{what}"

    def _load(self) -> dict[str, str]:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return (
            {key: text for key, text in content.items() if isinstance(text, str)} if isinstance(content, dict) else {}
        )
