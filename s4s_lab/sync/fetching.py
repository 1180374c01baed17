"""fetch: the DICOM files of studies, from the archives their Endpoints name, into the dataset's cache."""

from __future__ import annotations

import time
import warnings

from s4s_lab.connection import Connection
from s4s_lab.errors import NotEverything, UsageError
from s4s_lab.lake import Dataset
from s4s_lab.net import Patience
from s4s_lab.sync.endpoints import EndpointLookup
from s4s_lab.sync.fetching_choice import Wanted, chosen_studies
from s4s_lab.sync.fetching_outlook import outlook
from s4s_lab.sync.fetching_queue import Queue
from s4s_lab.sync.fetching_study import Images
from s4s_lab.sync.progress import progress
from s4s_lab.sync.reports import FetchReport
from s4s_lab.sync.waits import KeptWaits


def fetch(
    link: Connection,
    data: Dataset,
    studies: Wanted = None,
    *,
    max_wait_s: float = 1800.0,
    source: str | None = None,
) -> FetchReport:
    """Retrieve studies by WADO-RS into the cache; resumes where an earlier fetch stopped.

    Before it starts it shows how many studies are wanted, how many of them are here, and how much is to come, as far as
    the record tells. Studies that are complete in the cache are not asked for. The others are asked for in turn, up to
    four at once and two of one archive; an archive that answers "not yet" (503 with Retry-After, or no images) is left
    alone until the moment it named, and the other studies go on meanwhile. Where the record names several addresses for
    a study, the next is asked when one does not have it whole. A stream that breaks is taken up again after a pause, as
    long as tries bring files; three in a row that bring none are the last. Progress tells what is waited for: an
    archive, a server that has fallen silent, another process that retrieves the same study. Afterwards the table
    `dicom_instance` shows every file.

    Parameters
    ----------
    link : Connection
        The connection whose record names the studies.
    data : Dataset
        Where the record was pulled to, and where the images go.
    studies : DataFrame with a column `study_uid`, iterable of str, or str, optional
        Study Instance UIDs; all studies of the record when None. Rows of a table that has the columns `source` and
        `patient_id` count where they are this connection's.
    max_wait_s : float
        How long to go on while no study is ready, or another process has one [s]. What is still not ready then has the
        state `waiting`, and is not asked for before its time by a later fetch either.
    source : str, optional
        The address of an archive, as its Endpoint has it: where the record names several for one study, only this one
        is asked, and only what is here from this one counts.

    Returns
    -------
    FetchReport
        One row a study: state, files, bytes, time, waits, what went wrong; `outlook` is what was shown before.

    Raises
    ------
    NotInDataset
        If a study is not in this participant's record: pull first.
    AuthorizationError
        If the grant has ended: connect again.
    DatasetBusy
        If the participant is being forgotten.
    UsageError
        If `source` is no address, or another argument is none of what it may be.

    References
    ----------
    S4S imaging page, retrieval steps 1 to 3, and "Note on 503 response status and Retry-After hints".
    """
    began = time.monotonic()
    _require(link, Connection, "link = s4s_lab.connect(...)")
    _require(data, Dataset, "data = s4s_lab.open_dataset(...)")
    data.require_consent(link.fhir_url, link.patient_id, link.granted_at)
    record = data.connection(link.fhir_url, link.patient_id, link.participant_id)
    chosen = chosen_studies(studies, data, record)
    images = Images(link, data, source)
    before = outlook(chosen, images.cached())
    with (
        data.fetching(record),
        progress(total=len(chosen), unit="study") as bar,
        link.client(Patience(max_wait_s, bar.waiting, bar.sleep)) as client,
    ):
        lookup = EndpointLookup(data, record, client, link.fhir_url)
        waits = KeptWaits(data.path(), record.connection_id)
        bar.say(str(before))
        try:
            results = Queue(images, client, lookup, waits, bar, max_wait_s).work_off(chosen)
        finally:
            data.refresh_images()
    report = FetchReport(tuple(results), time.monotonic() - began, before)
    left = [study.study_uid for study in report.studies if study.state != "complete"]
    if left:
        some = f"{len(left)} of {len(report.studies)} studies {'is' if len(left) == 1 else 'are'}"
        which = some if len(report.studies) > 1 else "The study is"
        warnings.warn(NotEverything(f"{which} not complete."), stacklevel=2)
    return report


def _require(given: object, kind: type, example: str) -> None:
    if not isinstance(given, kind):
        hint = f"fetch takes a connection, a dataset, and studies; {example}."
        raise UsageError(f"{type(given).__name__} is no {kind.__name__}.", hint=hint)
