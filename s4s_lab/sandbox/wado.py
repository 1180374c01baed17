"""WADO-RS: studies, series and instances as streamed multipart/related, after the wait of a real archive."""

from __future__ import annotations

import json
import math
import secrets
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pydicom
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from s4s_lab.sandbox.access import bearer, require
from s4s_lab.sandbox.archive import Archive, ImageStudy, Instance
from s4s_lab.sandbox.authorization import Grants
from s4s_lab.sandbox.media import judge_dicom, parse_accept
from s4s_lab.sandbox.site import Site
from s4s_lab.sandbox.web import TextRefusal
from s4s_lab.values.uids import is_uid

CHUNK_BYTES = 1 << 16
DICOM_JSON = "application/dicom+json"
_QUIET = threading.Lock()


@dataclass
class Retrievals:
    """When each study was first asked for: a PACS takes its time to hand one over.

    Parameters
    ----------
    retrieve_s : float
        How long that takes [s].
    now : callable
        A monotonic clock [s].
    """

    retrieve_s: float
    now: Callable[[], float] = time.monotonic
    _ready_at: dict[ImageStudy, float] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def seconds_left(self, study: ImageStudy) -> float:
        """Return how long a study still takes; the first question begins the retrieval.

        Parameters
        ----------
        study : ImageStudy
            What is asked for.

        Returns
        -------
        float
            Zero when the study is there [s].
        """
        with self._lock:
            ready_at = self._ready_at.setdefault(study, self.now() + self.retrieve_s)
        return max(0.0, ready_at - self.now())


def _parts(instances: Sequence[Instance], boundary: str, location: str) -> Iterator[bytes]:
    """Yield the multipart body piece by piece, each file exactly as stored.

    References
    ----------
    RFC 2046, section 5.1; DICOM PS3.18, section 8.6.1.2.1.
    """
    for one in instances:
        with one.open() as file:
            size = file.seek(0, 2)
            file.seek(0)
            yield (
                f"--{boundary}\r\n"
                f"Content-Type: application/dicom; transfer-syntax={one.transfer_syntax_uid}\r\n"
                f"Content-Length: {size}\r\n"
                f"Content-Location: {location}/series/{one.series_uid}/instances/{one.instance_uid}\r\n\r\n"
            ).encode()
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()


class WadoService:
    """The image server.

    Parameters
    ----------
    site : Site
        Its addresses.
    archive : Archive
        What it serves.
    grants : Grants
        Who may see it.
    retrieve_s : float
        How long the first retrieval of a study takes [s].

    References
    ----------
    DICOM PS3.18, section 10.4 (Retrieve Transaction); S4S imaging page, "Note on 503 response status".
    """

    def __init__(self, site: Site, archive: Archive, grants: Grants, retrieve_s: float) -> None:
        self._site = site
        self._archive = archive
        self._grants = grants
        self._retrievals = Retrievals(retrieve_s)

    def routes(self) -> list[Route]:
        """Return the routes below `/wado`, each with its metadata."""
        series = "/wado/studies/{study}/series/{series}"
        resources = ("/wado/studies/{study}", series, series + "/instances/{instance}")
        # Metadata is made by pydicom, outside the event loop: Starlette runs a plain function on a thread.
        return [
            *(Route(path, self.retrieve, methods=["GET"]) for path in resources),
            *(Route(path + "/metadata", self.metadata, methods=["GET"]) for path in resources),
        ]

    def _asked(self, request: Request) -> tuple[ImageStudy, list[Instance]]:
        """Return the study and the instances asked for, once it is clear that they may be seen."""
        token = bearer(request, self._grants)
        require(token, "ImagingStudy", "r")
        uids = request.path_params
        if not all(map(is_uid, uids.values())):
            raise TextRefusal(400, "The address holds something that is no DICOM UID.")
        study = self._archive.study(uids["study"], token.approval.patient_id)
        found = study.select(uids.get("series"), uids.get("instance")) if study is not None else []
        if study is None or not found:
            raise TextRefusal(404, "There are no such images in this patient's record.")
        return study, found

    def _waiting(self, study: ImageStudy) -> Response | None:
        left = self._retrievals.seconds_left(study)
        if left == 0:
            return None
        headers = {"Retry-After": str(math.ceil(left)), "Cache-Control": "no-store"}
        return PlainTextResponse("The archive is retrieving this study; ask again later.\n", 503, headers)

    async def retrieve(self, request: Request) -> Response:
        """Answer with the DICOM files of a study, a series or an instance.

        Parameters
        ----------
        request : Request
            Names them in its path.

        Raises
        ------
        FhirRefusal
            401 or 403, when the token is missing or does not cover images.
        TextRefusal
            404 when this patient has no such images, 406 when they cannot be given as asked.
        """
        study, found = self._asked(request)
        refused = judge_dicom(request.headers.get("accept"), (one.transfer_syntax_uid for one in found))
        if refused is not None:
            raise TextRefusal(406, refused)
        waiting = self._waiting(study)
        if waiting is not None:
            return waiting
        boundary = secrets.token_hex(16)
        content_type = f'multipart/related; type="application/dicom"; boundary={boundary}'
        headers = {"Content-Type": content_type, "Cache-Control": "no-store"}
        location = f"{self._site.wado_url}/studies/{study.study_uid}"
        # No file is opened, or drawn, for an answer without a body.
        return StreamingResponse(_parts(found if request.method == "GET" else (), boundary, location), headers=headers)

    def metadata(self, request: Request) -> Response:
        """Answer with the headers of the files, as DICOM JSON without bulk data.

        Parameters
        ----------
        request : Request
            Names them in its path.

        Raises
        ------
        FhirRefusal
            401 or 403, when the token is missing or does not cover images.
        TextRefusal
            404 when this patient has no such images, 406 for another format.
        """
        study, found = self._asked(request)
        ranges = (one.name for one in parse_accept(request.headers.get("accept")) if one.quality > 0)
        if not {DICOM_JSON, "application/json", "application/*", "*/*"} & set(ranges):
            raise TextRefusal(406, f"Metadata can be given as {DICOM_JSON} only.")
        waiting = self._waiting(study)
        if waiting is not None:
            return waiting
        return Response(json.dumps([_header(one) for one in found]), media_type=DICOM_JSON)


def _header(one: Instance) -> dict[str, object]:
    # What pydicom has to say about headers outside the standard helps no client; its warnings are turned off for the
    # whole process meanwhile, hence the lock. Forced, because archives hold files without a preamble.
    with _QUIET, warnings.catch_warnings(), one.open() as file:
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(file, force=True, stop_before_pixels=True)
        header: dict[str, object] = dataset.to_json_dict(suppress_invalid_tags=True)
    return header
