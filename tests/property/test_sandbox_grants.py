"""Codes and tokens against a model: whatever is done in whatever order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from s4s_lab.sandbox.authorization import Client, Grants
from s4s_lab.sandbox.authorization.grants import challenge_of
from s4s_lab.sandbox.web import OAuthRefusal
from s4s_lab.values import S4S_SCOPE, Secret

REDIRECT, VERIFIER = "https://app.example/back", "v" * 43
CLIENTS = [Client(name, name, (REDIRECT,), Secret("s")) for name in ("one", "two")]
Family = dict[str, Any]


class TokensOfOneServer(RuleBasedStateMachine):
    """The model: a family is alive until a code or refresh token of it is used twice, or it is revoked or ended."""

    families: Bundle[Family] = Bundle("families")
    waiting: Bundle[Family] = Bundle("waiting")

    def __init__(self) -> None:
        super().__init__()
        self.clock = 1000.0
        self.grants = Grants(now=lambda: self.clock)
        self.known: list[Family] = []

    @rule(target=waiting, client=st.sampled_from(CLIENTS), patient=st.sampled_from("AB"))
    def approve(self, client: Client, patient: str) -> Family:
        code = self.grants.approve(client, patient, S4S_SCOPE, redirect_uri=REDIRECT, challenge=challenge_of(VERIFIER))
        return {"client": client, "patient": patient, "code": code, "at": self.clock}

    @rule(target=families, family=consumes(waiting))
    def redeem(self, family: Family) -> Family:
        family |= {"alive": self.clock - family["at"] < 100, "access": {}, "refresh": [], "redeemed": True}
        if family["alive"]:
            self.keep(family, self.redeemed(family))
            self.known.append(family)
        else:
            self.refused(lambda: self.redeemed(family))
        return family

    def redeemed(self, family: Family) -> dict[str, Any]:
        return self.grants.redeem(family["client"], family["code"], redirect_uri=REDIRECT, verifier=VERIFIER)

    def keep(self, family: Family, answer: dict[str, Any]) -> None:
        assert answer["patient"] == family["patient"]
        family["access"][answer["access_token"]] = self.clock + 3600
        family["refresh"].append(answer["refresh_token"])

    def refused(self, attempt: Any) -> None:
        with pytest.raises(OAuthRefusal) as caught:
            attempt()
        assert caught.value.error == "invalid_grant"

    def end(self, family: Family) -> None:
        family["alive"] = False

    @rule(family=families)
    def redeem_again(self, family: Family) -> None:
        self.refused(lambda: self.redeemed(family))
        self.end(family)

    @rule(family=families)
    def refresh(self, family: Family) -> None:
        if family["alive"]:
            self.keep(family, self.grants.refresh(family["client"], family["refresh"][-1], None))

    @rule(family=families, which=st.integers(0, 3))
    def refresh_with_an_old_token(self, family: Family, which: int) -> None:
        old = family["refresh"][:-1]
        if old:
            self.refused(lambda: self.grants.refresh(family["client"], old[which % len(old)], None))
            self.end(family)

    @rule(family=families)
    def refresh_by_another_client(self, family: Family) -> None:
        other = next(one for one in CLIENTS if one != family["client"])
        if family["refresh"]:
            self.refused(lambda: self.grants.refresh(other, family["refresh"][-1], None))

    @rule(family=families)
    def revoke_access(self, family: Family) -> None:
        for token in list(family["access"])[-1:]:
            self.grants.revoke(family["client"], token)
            del family["access"][token]

    @rule(family=families)
    def revoke_refresh(self, family: Family) -> None:
        for token in family["refresh"][-1:]:
            self.grants.revoke(family["client"], token)
            self.end(family)

    @rule(seconds=st.sampled_from((1, 60, 99, 100, 1800, 3601)))
    def wait(self, seconds: int) -> None:
        self.clock += seconds

    @invariant()
    def tokens_are_good_as_the_model_says(self) -> None:
        for family in self.known:
            for token, until in family["access"].items():
                good = family["alive"] and self.clock < until
                held = self.grants.find(token)
                assert (held is not None) == good
                assert held is None or held.approval.patient_id == family["patient"]
        alive = [(one["client"].client_id, one["patient"]) for one in self.known if one["alive"]]
        assert sorted((one.client_id, one.patient_id) for one in self.grants.approvals()) == sorted(alive)


TokensOfOneServer.TestCase.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
TestTokensOfOneServer = TokensOfOneServer.TestCase
