"""Errors: one tree, each says what to do, caught by the builtin a caller would guess."""

from __future__ import annotations

import inspect
import warnings
from datetime import UTC, datetime, timedelta, timezone

import pytest

from s4s_lab import errors

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_class_stands_in_the_drawing_and_below_one_root(kind: type) -> None:
    assert issubclass(kind, errors.S4SError | errors.S4SWarning)
    drawn = (errors.__doc__ or "").split("S4SError\n", 1)[1]
    assert kind is errors.S4SError or f" {kind.__name__} " in f" {drawn} ".replace("\n", " ")


def test_a_message_ends_with_what_to_do() -> None:
    assert str(errors.GrantExpired("The grant has ended.")) == (
        "The grant has ended. Connect again: the participant has to approve once more."
    )
    assert str(errors.ServerError("No.", hint="Ask later.")) == "No. Ask later."


def test_errors_carry_the_facts_a_program_needs() -> None:
    assert errors.LaunchRefused("No.", error="access_denied").error == "access_denied"
    assert errors.UnexpectedAnswer("No.", status=500).status == 500
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    assert errors.Waiting("Later.", not_before=moment).not_before == moment


def test_a_wait_names_the_moment_in_utc_rounded_up() -> None:
    moment = datetime(2026, 1, 1, 12, 0, 0, 1, tzinfo=timezone(timedelta(hours=1)))
    assert "after 2026-01-01 11:00:01 UTC" in str(errors.Waiting("Later.", not_before=moment))


def test_no_wait_lies_further_ahead_than_a_day() -> None:
    day = datetime.now(UTC) + timedelta(days=1)
    moment = errors.Waiting("Later.", not_before=datetime.max.replace(tzinfo=UTC)).not_before
    assert timedelta() <= moment - day < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.UsageError, ValueError),
        (errors.NotReachable, ConnectionError),
        (errors.NotADataset, FileNotFoundError),
        (errors.NotInDataset, LookupError),
        (errors.LaunchNotFinished, TimeoutError),
        (errors.AccessRefused, PermissionError),
    ],
)
def test_the_builtin_catches_it_too(kind: type[Exception], builtin: type[Exception]) -> None:
    with pytest.raises(builtin, match="so it is"):
        raise kind("so it is")


def test_strict_turns_our_warnings_into_errors_and_leaves_others_alone() -> None:
    with errors.strict(), pytest.raises(errors.TableBehind):
        warnings.warn(errors.TableBehind("behind"), stacklevel=1)
    with pytest.warns(errors.TableBehind):
        warnings.warn(errors.TableBehind("behind"), stacklevel=1)
