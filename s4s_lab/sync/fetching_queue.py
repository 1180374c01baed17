"""The queue of a fetch: several studies at once, a bounded number an archive, those that wait asked again in time."""

from __future__ import annotations

import heapq
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor
from concurrent.futures import wait as first_of
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import SystemRandom
from typing import Any, Final

from s4s_lab.errors import (
    AccessRefused,
    DatasetBusy,
    ImageError,
    NotReachable,
    S4SError,
    ServerError,
    TruncatedAnswer,
    UsageError,
    Waiting,
)
from s4s_lab.net import HttpClient, Wait, pause_before_repeating
from s4s_lab.sync.endpoints import EndpointLookup
from s4s_lab.sync.fetching_study import Images
from s4s_lab.sync.fetching_watch import Watch
from s4s_lab.sync.progress import Progress
from s4s_lab.sync.reports import StudyFetch
from s4s_lab.sync.waits import KeptWaits
from s4s_lab.values.instants import utc_now
from s4s_lab.values.origins import origin_of

# A stream that breaks is asked for again: what arrived whole is kept, so each try begins where the last one ended. That
# many in a row that brought nothing are the last.
TRIES: Final = 3
AT_ONCE: Final = 4
AT_ONCE_OF_AN_ARCHIVE: Final = 2
# The others go on: it is this study's archive, address or grant that is wrong.
_ENDS_ONE_STUDY: Final = (AccessRefused, ImageError, ServerError, UsageError)
_SHOWN_EVERY_S: Final = 1.0
_spread = SystemRandom().random


@dataclass(order=True)
class _Turn:
    """One study's place in the queue: the earliest moment first, then the order of the request."""

    not_before: datetime
    number: int
    study_uid: str = field(compare=False)
    study: Mapping[str, Any] = field(compare=False)
    archive: str | None = field(default=None, compare=False)
    here: int = field(default=0, compare=False)
    broken: int = field(default=0, compare=False)
    broke: S4SError | None = field(default=None, compare=False)
    waited_s: float = field(default=0.0, compare=False)


@dataclass
class Queue:
    """Asks for each study in turn, the soonest first, until all are settled.

    Only the retrievals run on threads of their own: addresses are looked up, and waits passed, where Ctrl-C is heard.

    Parameters
    ----------
    images : Images
        What is here, and where the others are.
    client : HttpClient
        Asks the archives.
    lookup : EndpointLookup
        Resolves addresses.
    waits : KeptWaits
        Remembers waits for later fetches.
    bar : Progress
        Shows what happens.
    max_wait_s : float
        How long to go on while no study is ready [s].
    """

    images: Images
    client: HttpClient
    lookup: EndpointLookup
    waits: KeptWaits
    bar: Progress
    max_wait_s: float

    def __post_init__(self) -> None:
        self._left_s = self.max_wait_s
        self._stopped = threading.Event()
        self._waiting: list[_Turn] = []
        self._running: dict[Future[StudyFetch], _Turn] = {}
        self._watches: dict[Future[StudyFetch], Watch] = {}
        self._done: dict[int, StudyFetch] = {}

    def work_off(self, studies: Mapping[str, Mapping[str, Any]]) -> list[StudyFetch]:
        """Fetch studies; results in the order of the request.

        Parameters
        ----------
        studies : mapping of str to mapping
            ImagingStudy by study UID.

        Raises
        ------
        S4SError
            What ends a whole fetch, such as a grant that expired.
        """
        start = utc_now()
        for number, (uid, study) in enumerate(studies.items()):
            heapq.heappush(self._waiting, _Turn(self.waits.not_before(uid) or start, number, uid, study))
        with self._threads() as executor:
            while self._waiting or self._running:
                self._begin_what_may(executor)
                if self._running:
                    self._settle_what_ended()
                elif self._waiting and not self._wait():
                    self._give_up()
        return [self._done[number] for number in sorted(self._done)]

    @contextmanager
    def _threads(self) -> Iterator[ThreadPoolExecutor]:
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="s4s-fetch") as executor:
            try:
                yield executor
            except BaseException:
                self._stopped.set()
                # Wakes those who wait for bytes.
                self.client.close()
                raise

    def _begin_what_may(self, executor: ThreadPoolExecutor) -> None:
        held_up: list[_Turn] = []
        while self._waiting and self._waiting[0].not_before <= utc_now() and len(self._running) < AT_ONCE:
            turn = heapq.heappop(self._waiting)
            if self._is_full(turn.archive) or not self._begin(executor, turn):
                held_up.append(turn)
        for turn in held_up:
            heapq.heappush(self._waiting, turn)

    def _is_full(self, archive: str | None) -> bool:
        return Counter(turn.archive for turn in self._running.values())[archive] >= AT_ONCE_OF_AN_ARCHIVE

    def _begin(self, executor: ThreadPoolExecutor, turn: _Turn) -> bool:
        """Begin to retrieve a study, or settle it; False while its archive has enough to do."""
        here = self.images.here(turn.study_uid, turn.study)
        if here is not None:
            self._finish(turn, here)
            return True
        try:
            addresses = self.images.addresses(turn.study, self.lookup)
            turn.archive = origin_of(addresses[0].wado_base)
        except Waiting as wait:
            self._again(replace(turn, not_before=wait.not_before), wait.not_before)
            return True
        except _ENDS_ONE_STUDY as error:
            self._fail(turn, error)
            return True
        if self._is_full(turn.archive):
            return False
        self.bar.step(turn.study_uid)
        turn.here = self.images.instances(turn.study_uid)
        watch = Watch(turn.study_uid, turn.archive, self._stopped, self.max_wait_s, self.client.silence_s)
        future = executor.submit(self.images.retrieve, self.client, turn.study, addresses, watch)
        self._running[future], self._watches[future] = turn, watch
        return True

    def _settle_what_ended(self) -> None:
        """Wait until a retrieval ends, or a study's time comes for which there is room; say what is silent."""
        now = utc_now()
        # What is due already is held up by its archive, and begins when one ends.
        to_come = [(turn.not_before - now).total_seconds() for turn in self._waiting if turn.not_before > now]
        timeout = min([*to_come, _SHOWN_EVERY_S]) if len(self._running) < AT_ONCE else _SHOWN_EVERY_S
        ended, _ = first_of(self._running, timeout, return_when=FIRST_COMPLETED)
        for future in ended:
            del self._watches[future]
            self._settle(self._running.pop(future), future)
        self.bar.show("; ".join(filter(None, map(str, self._watches.values()))))

    def _settle(self, turn: _Turn, future: Future[StudyFetch]) -> None:
        try:
            self._finish(turn, future.result())
        except Waiting as wait:
            self._again(replace(turn, not_before=wait.not_before), wait.not_before)
        except (TruncatedAnswer, NotReachable) as error:
            self._repeat(turn, error)
        except DatasetBusy as error:
            self._finish(turn, self.images.unfinished(turn.study_uid, turn.study, "waiting", str(error)))
        except _ENDS_ONE_STUDY as error:
            self._fail(turn, error)

    def _repeat(self, turn: _Turn, error: S4SError) -> None:
        """Put a study whose stream broke back into the queue; a try that brought files was not in vain."""
        broken = 1 if self.images.instances(turn.study_uid) > turn.here else turn.broken + 1
        pause = pause_before_repeating("lost", None, earlier=broken - 1, spread=_spread())
        if broken >= TRIES or pause is None:
            self._fail(turn, error)
            return
        moment = utc_now() + timedelta(seconds=pause)
        self._again(replace(turn, not_before=moment, broken=broken, broke=error), None)

    def _fail(self, turn: _Turn, error: S4SError) -> None:
        self._finish(turn, self.images.unfinished(turn.study_uid, turn.study, "failed", str(error)))

    def _finish(self, turn: _Turn, result: StudyFetch) -> None:
        self.waits.keep(turn.study_uid, None)
        self._done[turn.number] = replace(result, waited_s=turn.waited_s)
        self.bar.step(turn.study_uid, done=True)

    def _again(self, turn: _Turn, told: datetime | None) -> None:
        self.waits.keep(turn.study_uid, told)
        heapq.heappush(self._waiting, turn)

    def _wait(self) -> bool:
        """Sleep until the next turn may begin; False when that is later than allowed."""
        left = (self._waiting[0].not_before - utc_now()).total_seconds()
        if left <= 0:
            return True
        if left > self._left_s:
            return False
        self._left_s -= left
        self.bar.waiting(Wait(left, self._reason(), self.images.link.fhir_url))
        self.bar.sleep(left)
        for turn in self._waiting:
            turn.waited_s += left
        return True

    def _reason(self) -> str:
        """Say what is waited for."""
        turn = self._waiting[0]
        if turn.broke is not None:
            return f"the connection to {turn.archive} broke off"
        count = len(self._waiting)
        return f"{count} studies are being prepared" if count > 1 else "1 study is being prepared"

    def _give_up(self) -> None:
        """Report every study that is still not ready as waiting; those whose stream broke have failed."""
        for turn in self._waiting:
            if turn.broke is not None:
                self._fail(turn, turn.broke)
                continue
            text = f"The archive asked to come back after {turn.not_before.isoformat(timespec='seconds')}."
            unfinished = self.images.unfinished(turn.study_uid, turn.study, "waiting", text)
            self._done[turn.number] = replace(unfinished, waited_s=turn.waited_s)
        self._waiting.clear()
