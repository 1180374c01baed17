"""One study of a fetch: what is here of it, the addresses it can be had from, and what came."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from s4s_lab.connection import Connection
from s4s_lab.dicom import CachedStudy, Retrieval, StudyRequest, archive_key, retrieve_study
from s4s_lab.errors import AccessRefused, NotRetrievable, S4SError, ServerError, TruncatedAnswer, Waiting
from s4s_lab.fhir import ImageAddress, endpoint_references, image_addresses
from s4s_lab.lake import Dataset
from s4s_lab.net import HttpClient, shown
from s4s_lab.sync.declared import declared_instances, declared_series
from s4s_lab.sync.endpoints import EndpointLookup
from s4s_lab.sync.fetching_outlook import is_here
from s4s_lab.sync.reports import SeriesFetch, StudyFetch
from s4s_lab.values.origins import origin_of


@dataclass(frozen=True)
class Images:
    """The images of one connection's record: in the cache, and at the archives that the record names.

    Parameters
    ----------
    link : Connection
        Whose record.
    data : Dataset
        Where the images go.
    source : str or None
        The address of the one archive to ask; None: whichever the record names.
    """

    link: Connection
    data: Dataset
    source: str | None = None

    def __post_init__(self) -> None:
        if self.source is not None:
            origin_of(self.source)

    def cached(self, study_uid: str | None = None) -> dict[str, CachedStudy]:
        """Return what is here of the patient's studies, of each the fullest copy; archives' addresses may have changed.

        Parameters
        ----------
        study_uid : str, optional
            Only of this one.
        """
        found: dict[str, CachedStudy] = {}
        for study in self.data.images.studies(self.link.fhir_url, self.link.patient_id, study_uid):
            if self.source is not None and study.archive != self._key(self.source):
                continue
            best = found.setdefault(study.study_uid, study)
            if best.state != "complete" and study.state == "complete":
                found[study.study_uid] = study
        return found

    def instances(self, study_uid: str) -> int:
        """Return how many files of a study are here, in its fullest copy.

        Parameters
        ----------
        study_uid : str
            Bare.
        """
        cached = self.cached(study_uid).get(study_uid)
        return cached.instances if cached is not None else 0

    def _key(self, wado_base: str) -> str:
        return archive_key(wado_base, self.link.patient_id)

    def here(self, study_uid: str, study: Mapping[str, Any]) -> StudyFetch | None:
        """Return the result for a study that is complete in the cache, None when it has to be asked for.

        Parameters
        ----------
        study_uid : str
            Bare.
        study : mapping
            The ImagingStudy.
        """
        cached = self.cached(study_uid).get(study_uid)
        if cached is None or not is_here(cached, study):
            return None
        held = self.data.images.held(cached.archive, study_uid)
        if sum(map(len, held.values())) < cached.instances:  # somebody removed files behind the index's back
            return None
        there = Retrieval(
            study_uid, "complete", cached.instances, 0, cached.expected, cached.bytes, 0.0, (), cached.archive
        )
        return self._result(there, study)

    def addresses(self, study: Mapping[str, Any], lookup: EndpointLookup) -> list[ImageAddress]:
        """Return where a study can be had, the best address first.

        Parameters
        ----------
        study : mapping
            The ImagingStudy.
        lookup : EndpointLookup
            Resolves references.

        Raises
        ------
        NotRetrievable
            If the record names no address, or not that of the archive that was asked for.
        ServerError
            If the only Endpoints lie where they may not be read.
        """
        found = image_addresses(dict(study), lookup)
        if self.source is not None and found:
            wanted = self._key(self.source)
            named = ", ".join(dict.fromkeys(shown(address.wado_base) for address in found))
            found = [address for address in found if self._key(address.wado_base) == wanted]
            if not found:
                text = f"The record does not name the archive {shown(self.source)}."
                raise NotRetrievable(text, hint=f"It names {named}.")
        if found:
            return found
        for reference in endpoint_references(dict(study)):
            if reference in lookup.refusals:
                raise lookup.refusals[reference]
        raise NotRetrievable("The record names no endpoint for this study.", hint="Its metadata is all there is.")

    def retrieve(
        self,
        client: HttpClient,
        study: Mapping[str, Any],
        addresses: Sequence[ImageAddress],
        on_bytes: Callable[[int], None],
    ) -> StudyFetch:
        """Ask one address after the other until one has the study whole; of several parts the largest counts.

        Parameters
        ----------
        client : HttpClient
            Signs and sends.
        study : mapping
            The ImagingStudy.
        addresses : sequence of ImageAddress
            At least one.
        on_bytes : callable
            As for `retrieve_study`.

        Raises
        ------
        Waiting
            If no address has the study whole, and one of them asks for time.
        TruncatedAnswer
            If no address has anything whole to give, and one of them broke off.
        AccessRefused, NotRetrievable, ServerError
            What the first address said, if none has anything.
        """
        failures: list[S4SError] = []
        best: Retrieval | None = None
        for address in addresses:
            try:
                signed = self.link.signs(address.wado_base, address.requires_access_token)
                asked = client if signed else client.unsigned()
                found = retrieve_study(asked, self.data.images, self._request(address, study), on_bytes=on_bytes)
            except (AccessRefused, NotRetrievable, ServerError, Waiting, TruncatedAnswer) as error:
                failures.append(error)
                continue
            best = found if best is None or found.instances > best.instances else best
            if found.state == "complete":
                return self._result(best, study)
        # What a busy archive will have is more than what is missing for good; what broke off may come whole next time.
        busy = next((error for error in failures if isinstance(error, Waiting)), None)
        if busy is not None:
            raise busy
        if best is None:
            raise next((error for error in failures if isinstance(error, TruncatedAnswer)), failures[0])
        return self._result(best, study)

    def _request(self, address: ImageAddress, study: Mapping[str, Any]) -> StudyRequest:
        return StudyRequest(
            wado_base=address.wado_base,
            study_uid=address.study_uid,
            expected=declared_instances(study),
            source=self.link.fhir_url,
            patient_id=self.link.patient_id,
            participant_id=self.link.participant_id,
            series=declared_series(study),
        )

    def unfinished(
        self, study_uid: str, study: Mapping[str, Any], state: Literal["waiting", "failed"], error: str
    ) -> StudyFetch:
        """Report a study that is not to be had now, with what is here of it already.

        Parameters
        ----------
        study_uid : str
            Bare.
        study : mapping
            The ImagingStudy.
        state : "waiting" or "failed"
            Why.
        error : str
            In words.
        """
        cached = self.cached(study_uid).get(study_uid)
        instances, size = (cached.instances, cached.bytes) if cached else (0, 0)
        return StudyFetch(study_uid, state, instances, declared_instances(study), bytes=size, error=error)

    def _result(self, retrieval: Retrieval, study: Mapping[str, Any]) -> StudyFetch:
        series = self._by_series(retrieval, study)
        return StudyFetch(
            study_uid=retrieval.study_uid,
            state=retrieval.state,
            instances=retrieval.instances,
            expected=declared_instances(study),
            new=retrieval.new,
            bytes=retrieval.bytes,
            seconds=retrieval.seconds,
            error="; ".join(_issues(retrieval, study, series)) or None,
            series=series,
        )

    def _by_series(self, retrieval: Retrieval, study: Mapping[str, Any]) -> tuple[SeriesFetch, ...]:
        """Compare what is in the cache, series by series, with what the record declares."""
        here = self.data.images.series(retrieval.archive, retrieval.study_uid)
        declared = {series.series_uid: series.count for series in declared_series(study)}
        return tuple(
            SeriesFetch(uid, *here.get(uid, (0, 0)), expected=declared.get(uid))
            for uid in dict.fromkeys([*declared, *here])
        )


def _issues(retrieval: Retrieval, study: Mapping[str, Any], series: Sequence[SeriesFetch]) -> list[str]:
    issues = list(retrieval.issues)
    declared = declared_instances(study)
    if retrieval.state == "partial" and not issues and declared is not None:
        issues.append(f"the record declares {declared} instances and the archive gave {retrieval.instances}")
    return issues + [
        f"series {one.series_uid}: {one.expected} instances are declared, {one.instances} are here"
        for one in series
        if one.state != "complete"
    ]
