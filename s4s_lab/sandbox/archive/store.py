"""What the sandbox serves: versioned FHIR resources by participant, and the images of their studies."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, BinaryIO

import msgspec

from s4s_lab.values.instants import EPOCH, format_instant, utc_now


@dataclass(frozen=True)
class Participant:
    """A person whose records can be shared.

    Parameters
    ----------
    patient_id : str
        Id of the FHIR Patient.
    name : str
        As shown in the participant picker.
    birth_date : str
        FHIR date, or empty when the archive does not know it.
    """

    patient_id: str
    name: str
    birth_date: str = ""


@dataclass(frozen=True)
class Stored:
    """One version of one resource, never changed after it was made.

    Parameters
    ----------
    resource_type, resource_id : str
        Together the address of the resource.
    patient_id : str or None
        Whose record it belongs to; None for what anybody may read, such as an Endpoint.
    version_id : str
        As in `meta.versionId`.
    last_updated : datetime
        Aware, UTC, whole milliseconds; the same moment as `meta.lastUpdated`.
    raw : bytes
        The JSON as it goes over the wire.
    """

    resource_type: str
    resource_id: str
    patient_id: str | None
    version_id: str
    last_updated: datetime
    raw: bytes

    @property
    def reference(self) -> str:
        """The relative reference, such as `ImagingStudy/17`."""
        return f"{self.resource_type}/{self.resource_id}"

    @cached_property
    def resource(self) -> dict[str, Any]:
        """The JSON decoded, for looking things up; never written back."""
        decoded: dict[str, Any] = msgspec.json.decode(self.raw)
        return decoded


def store(
    resource: Mapping[str, Any], patient_id: str | None, last_updated: datetime, *, version_id: str = "1"
) -> Stored:
    """Make the stored version of a resource: `meta` is written from the arguments.

    Parameters
    ----------
    resource : mapping
        With `resourceType` and `id`; values may be `msgspec.Raw` where the spelling of a number matters.
    patient_id : str or None
        Whose record it belongs to.
    last_updated : datetime
        Aware, UTC.
    version_id : str
        For `meta.versionId`.
    """
    meta = {"versionId": version_id, "lastUpdated": format_instant(last_updated)}
    stamped = {"resourceType": resource["resourceType"], "id": resource["id"], "meta": meta}
    stamped |= {name: value for name, value in resource.items() if name not in stamped}
    raw = msgspec.json.encode(stamped)
    return Stored(resource["resourceType"], resource["id"], patient_id, version_id, last_updated, raw)


@dataclass(frozen=True)
class Instance:
    """One DICOM file of a study.

    Parameters
    ----------
    series_uid, instance_uid : str
        Bare UIDs.
    transfer_syntax_uid : str
        Of the file as stored.
    open : callable
        Opens the file's bytes for reading.
    """

    series_uid: str
    instance_uid: str
    transfer_syntax_uid: str
    open: Callable[[], BinaryIO]


@dataclass(frozen=True)
class ImageStudy:
    """The images of one study.

    Parameters
    ----------
    study_uid : str
        Bare UID.
    patient_id : str
        Whose images they are.
    instances : tuple of Instance
        In the order in which they are sent.
    """

    study_uid: str
    patient_id: str
    instances: tuple[Instance, ...]

    def select(self, series_uid: str | None = None, instance_uid: str | None = None) -> list[Instance]:
        """Return the instances of the study, of one series, or the one instance asked for.

        Parameters
        ----------
        series_uid, instance_uid : str, optional
            Bare UIDs.
        """
        return [
            one
            for one in self.instances
            if series_uid in (None, one.series_uid) and instance_uid in (None, one.instance_uid)
        ]


@dataclass
class Archive:
    """Everything one server holds; safe to use from several threads.

    Parameters
    ----------
    participants : tuple of Participant
        In the order of the picker.
    notice : str
        One sentence for the consent page: where these records come from.
    """

    participants: tuple[Participant, ...]
    notice: str = ""
    _resources: dict[str, dict[str, Stored]] = field(default_factory=dict, repr=False)
    _removed: set[tuple[str, str]] = field(default_factory=set, repr=False)
    _studies: dict[tuple[str, str], ImageStudy] = field(default_factory=dict, repr=False)
    _told: datetime = field(default=EPOCH, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def put(self, resources: Iterable[Stored], studies: Iterable[ImageStudy] = ()) -> None:
        """Add resources and images, or put newer versions in place of older ones, all at once.

        Parameters
        ----------
        resources : iterable of Stored
            Versions.
        studies : iterable of ImageStudy
            Images.
        """
        with self._lock:
            for one in resources:
                self._resources.setdefault(one.resource_type, {})[one.resource_id] = one
                self._removed.discard((one.resource_type, one.resource_id))
            for study in studies:
                self._studies[study.patient_id, study.study_uid] = study

    def remove(self, stored: Stored, study_uid: str = "") -> None:
        """Take a resource, and the images that go with it, out of the record.

        Parameters
        ----------
        stored : Stored
            What the archive holds now.
        study_uid : str
            Of the images, or empty.
        """
        with self._lock:
            del self._resources[stored.resource_type][stored.resource_id]
            self._removed.add((stored.resource_type, stored.resource_id))
            self._studies.pop((stored.patient_id or "", study_uid), None)

    def read(self, resource_type: str, resource_id: str) -> Stored | None:
        """Return a resource, or None when there is none.

        Parameters
        ----------
        resource_type, resource_id : str
            Its address.
        """
        with self._lock:
            return self._resources.get(resource_type, {}).get(resource_id)

    def was_removed(self, resource_type: str, resource_id: str) -> bool:
        """Say whether there was such a resource once.

        Parameters
        ----------
        resource_type, resource_id : str
            Its address.
        """
        with self._lock:
            return (resource_type, resource_id) in self._removed

    def snapshot(self, resource_type: str, patient_id: str | None) -> tuple[datetime, list[Stored]]:
        """Return what a participant may see of a type, and the moment at which that was so.

        Parameters
        ----------
        resource_type : str
            FHIR resource type.
        patient_id : str or None
            Whose record; what belongs to nobody in particular comes with it.
        """
        with self._lock:
            held = self._resources.get(resource_type, {}).values()
            self._told = max(utc_now(), self._told)
            return self._told, [one for one in held if one.patient_id in (None, patient_id)]

    @contextmanager
    def changing(self) -> Iterator[datetime]:
        """Give the moment of a change, and keep everybody else out until it is done.

        The moment is later than any that a snapshot has told: who asks for what changed since misses nothing.

        Yields
        ------
        datetime
            Aware, UTC, whole milliseconds.
        """
        with self._lock:
            yield max(utc_now(), self._told + timedelta(milliseconds=1))

    def study(self, study_uid: str, patient_id: str) -> ImageStudy | None:
        """Return the images of a participant's study; None when there are none, or they are somebody else's.

        Parameters
        ----------
        study_uid : str
            Bare UID.
        patient_id : str
            Who asks.
        """
        with self._lock:
            return self._studies.get((patient_id, study_uid))

    def participant(self, choice: int | str) -> Participant | None:
        """Return a participant, or None when there is none.

        Parameters
        ----------
        choice : int or str
            Position, patient id or name.
        """
        if isinstance(choice, int):
            return self.participants[choice] if -len(self.participants) <= choice < len(self.participants) else None
        return next((one for one in self.participants if choice in (one.patient_id, one.name)), None)

    def count(self, resource_type: str, patient_id: str) -> int:
        """Return how many resources of a type a participant has.

        Parameters
        ----------
        resource_type : str
            FHIR resource type.
        patient_id : str
            Whose record.
        """
        with self._lock:
            held = self._resources.get(resource_type, {}).values()
            return sum(one.patient_id == patient_id for one in held)
