"""Secrets: never shown, pickled, copied or written."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from s4s_lab.values import Registration, Secret

CANARY = "canary-5d0b1f"


def test_no_way_of_printing_shows_it() -> None:
    secret = Secret(CANARY)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>40}", repr([secret]), repr(Registration("id", secret))]
    assert all(CANARY not in text for text in shown)
    assert secret.reveal() == CANARY


@pytest.mark.parametrize("leave", [pickle.dumps, copy.copy, copy.deepcopy], ids=["pickle", "copy", "deepcopy"])
def test_it_cannot_leave_by_pickle_or_copy(leave: object) -> None:
    assert callable(leave)
    with pytest.raises(TypeError, match="cannot be pickled or copied"):
        leave(Secret(CANARY))
    with pytest.raises(TypeError):
        json.dumps(Secret(CANARY))


def test_equal_secrets_are_equal_and_text_is_not() -> None:
    assert Secret(CANARY) == Secret(CANARY)
    assert hash(Secret(CANARY)) == hash(Secret(CANARY))
    assert Secret(CANARY) != Secret("other")
    assert Secret(CANARY) != CANARY
    assert not Secret("")


def test_a_registration_knows_whether_it_is_confidential() -> None:
    assert Registration("id", Secret(CANARY)).confidential
    assert not Registration("id").confidential
