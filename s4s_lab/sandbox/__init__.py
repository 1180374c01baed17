"""A Sync for Science reference server on this computer: SMART authorization, FHIR STU3, DICOM WADO-RS.

Its records are invented, or real files of folders. It shares no code with the client beyond errors and plain values, so
that a fault of the one cannot hide behind the same fault of the other. The server's own dependencies are imported when
it starts.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s4s_lab.errors import UsageError
from s4s_lab.values import DEMO_REDIRECT_URI

if TYPE_CHECKING:
    from s4s_lab.sandbox.handle import Sandbox

__all__ = ["Sandbox", "serve", "start"]


def __getattr__(name: str) -> Any:
    if name == "Sandbox":
        return _handle().Sandbox
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _handle() -> Any:
    """Return the module that needs the optional dependencies."""
    try:
        from s4s_lab.sandbox import handle
    except ModuleNotFoundError as cause:
        missing = (cause.name or "").partition(".")[0]
        if missing not in ("starlette", "uvicorn"):
            raise
        hint = 'Install it with: pip install "s4s-lab[sandbox]".'
        raise UsageError(f"The sandbox needs {missing}, which is not installed.", hint=hint) from None
    return handle


def start(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    profile: str = "s4s",
    seed: int = 20,
    fhir: Path | None = None,
    dicom: Path | None = None,
    link: Path | None = None,
    redirect_uri: str = DEMO_REDIRECT_URI,
    retrieve_s: float = 1.0,
) -> Sandbox:
    """Start a reference server on a thread of its own and return when it answers.

    Parameters
    ----------
    host : str
        Address to listen at; anything but 127.0.0.1 can be reached from other machines.
    port : int
        Port, 0 for any that is free.
    profile : str
        Whose behaviour is shown; `s4s` is the imaging page as it is written.
    seed : int
        For the invented people; the same seed gives the same records and image bytes.
    fhir : Path, optional
        Folder of FHIR files (STU3) to serve instead of invented records.
    dicom : Path, optional
        Folder of DICOM files to serve; ImagingStudy resources are made from their headers.
    link : Path, optional
        JSON file that maps each DICOM PatientID to a FHIR Patient id; others become Patients of their own.
    redirect_uri : str
        Of the demo registration.
    retrieve_s : float
        How long the archive takes to hand over a study that is asked for the first time [s].

    Raises
    ------
    UsageError
        If an argument cannot be used, the port is taken, or the server's dependencies are not installed.

    Examples
    --------
    >>> with start() as server:
    ...     len(server.participants)
    4
    """
    handle = _handle()
    settings = handle.Settings(host, port, profile, seed, fhir, dicom, link, redirect_uri, retrieve_s)
    sandbox: Sandbox = handle.Sandbox(handle.Running(settings))
    return sandbox


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    profile: str = "s4s",
    seed: int = 20,
    fhir: Path | None = None,
    dicom: Path | None = None,
    link: Path | None = None,
    redirect_uri: str = DEMO_REDIRECT_URI,
    retrieve_s: float = 1.0,
    ready_file: Path | None = None,
    on_ready: Callable[[Sandbox], None] = lambda _: None,
) -> None:
    """Run a reference server until it is interrupted (SIGINT) or ended (SIGTERM).

    Parameters
    ----------
    host, port, profile, seed, fhir, dicom, link, redirect_uri, retrieve_s
        As for `start`.
    ready_file : Path, optional
        Receives the server's addresses and a demo registration as JSON once it answers; removed when it ends.
    on_ready : callable
        Gets the running server once it answers.

    Raises
    ------
    UsageError
        As `start`, or if the ready-file cannot be written.
    """
    handle = _handle()
    if ready_file is not None:
        ready_file.unlink(missing_ok=True)
    with (
        _ended() as ended,
        handle.Sandbox(
            handle.Running(handle.Settings(host, port, profile, seed, fhir, dicom, link, redirect_uri, retrieve_s))
        ) as sandbox,
    ):
        try:
            if ready_file is not None:
                handle.write_ready_file(ready_file, sandbox.ready())
            on_ready(sandbox)
            with contextlib.suppress(KeyboardInterrupt):
                ended.wait()
        finally:
            if ready_file is not None:
                ready_file.unlink(missing_ok=True)


@contextlib.contextmanager
def _ended() -> Iterator[threading.Event]:
    """Give an event that is set when the process is asked to end."""
    ended = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield ended
        return
    before = signal.signal(signal.SIGTERM, lambda *_: ended.set())
    try:
        yield ended
    finally:
        signal.signal(signal.SIGTERM, before)
