"""What commands say: one sentence for an error, the exit code that tells which kind of no."""

from __future__ import annotations

import json
import warnings
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer

from s4s_lab import errors
from s4s_lab.cli.output import command, exit_code, gravest, show


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UsageError("x"), 2),
        (errors.NotFhir("x"), 2),
        (errors.NotADataset("x"), 2),
        (errors.Waiting("x", not_before=datetime(2026, 1, 1, tzinfo=UTC)), 3),
        (errors.GrantExpired("x"), 4),
        (errors.NotReachable("x"), 1),
        (errors.LaunchRefused("x", error="access_denied"), 1),
        (errors.DatasetBusy("x"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_exit_code_tells_which_kind_of_no(error: errors.S4SError, code: int) -> None:
    assert exit_code(error) == code


def test_the_gravest_counts_failed_before_connect_again_before_waiting() -> None:
    assert gravest([]) == 0
    assert gravest([0, 3, 0]) == 3
    assert gravest([3, 4, 0]) == 4
    assert gravest([4, 1, 3]) == 1


def run(body: object, **options: object) -> int:
    def verb(json_output: bool = False) -> int | None:
        if isinstance(body, BaseException):
            raise body
        return body if isinstance(body, int) else None

    with pytest.raises(typer.Exit) as ended:
        command(verb)(**options)  # type: ignore[arg-type]  # the options of the command under test
    return ended.value.exit_code


def test_an_error_is_one_sentence_on_stderr_and_nothing_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(errors.NotReachable("No answer from https://ehr.example.")) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("s4s: No answer from https://ehr.example. Check")
    assert len(err.splitlines()) == 1


def test_with_json_the_error_is_an_object_on_stdout_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(errors.UsageError("No."), json_output=True) == 2
    assert json.loads(capsys.readouterr().out) == {"outcome": "failed", "error": "No."}


def test_an_operating_system_error_names_the_file_not_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(PermissionError(13, "Permission denied", "/root/x")) == 1
    assert capsys.readouterr().err == "s4s: Permission denied: /root/x\n"


def test_an_interrupt_says_that_nothing_is_lost(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(KeyboardInterrupt()) == 130
    assert "what had arrived whole is kept" in capsys.readouterr().err


def test_done_is_zero_and_a_returned_code_is_kept() -> None:
    assert run(None) == 0
    assert run(3) == 3


def test_our_warnings_become_notes(capsys: pytest.CaptureFixture[str]) -> None:
    def verb() -> None:
        warnings.warn(errors.TableBehind("The table is behind."), stacklevel=1)

    with pytest.raises(typer.Exit):
        command(verb)()
    assert capsys.readouterr().err == "note: The table is behind.\n"


def test_a_table_into_a_pipe_shortens_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    long = "1.2.840." + "9" * 56
    show("Studies", ["study_uid", "files"], [[long, 3], [None, 12]])
    out = capsys.readouterr().out
    assert long in out
    assert "None" not in out
