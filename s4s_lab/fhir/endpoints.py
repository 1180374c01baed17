"""Where the images of a study are: Endpoint references in every form that servers use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from s4s_lab.errors import UsageError
from s4s_lab.fhir.elements import objects, text
from s4s_lab.fhir.references import study_uid_of
from s4s_lab.values.origins import base_url
from s4s_lab.values.uids import bare_uid, is_uid

Source = Literal["contained", "included", "relative", "absolute", "url"]
Lookup = Callable[[str], dict[str, Any] | None]

_WADO_RS = "dicom-wado-rs"
_REQUIRES_TOKEN = "/requires-access-token"  # noqa: S105  the name of an extension
_OUT_OF_USE = ("off", "entered-in-error")


@dataclass(frozen=True)
class ImageAddress:
    """One place from which a study can be retrieved by WADO-RS.

    Parameters
    ----------
    wado_base : str
        The service's base URL: `{wado_base}/studies/{study_uid}` is the study.
    study_uid : str
        Bare.
    requires_access_token : bool or None
        Whether the server says that the access token is needed there, None where it says nothing of it. It is no
        permission to send it.
    source : str
        How the study named it: "contained", "included" (an entry of the same Bundle), "relative", "absolute", or "url"
        (the service's URL in place of a reference).
    """

    wado_base: str
    study_uid: str
    requires_access_token: bool | None
    source: Source


def endpoint_references(study: dict[str, Any]) -> list[str]:
    """Return the endpoint references of an ImagingStudy, of the study first, then of its series, without repetition.

    Parameters
    ----------
    study : dict
        The ImagingStudy, STU3 or R4.

    References
    ----------
    FHIR STU3: ImagingStudy.endpoint, ImagingStudy.series.endpoint.
    """
    holders = [study, *objects(study.get("series"))]
    found = (text(each.get("reference")) for holder in holders for each in objects(holder.get("endpoint")))
    return list(dict.fromkeys(reference.strip() for reference in found if reference is not None))


def image_addresses(study: dict[str, Any], lookup: Lookup) -> list[ImageAddress]:
    """Return every usable address of one ImagingStudy, those declared as WADO-RS first.

    Parameters
    ----------
    study : dict
        The ImagingStudy, STU3 or R4.
    lookup : callable
        Returns the Endpoint resource of a reference that is not contained, or None.

    Returns
    -------
    list of ImageAddress
        Without repetition; empty when the study has no UID or no usable endpoint.

    References
    ----------
    S4S imaging page, items 1 to 3. SMART Imaging Access, "Endpoint".
    """
    study_uid = study_uid_of(study)
    if study_uid is None:
        return []
    ranked = sorted(_ranked(study, study_uid, lookup), key=lambda item: item[0])
    by_base: dict[str, ImageAddress] = {}
    for _, address in ranked:
        by_base.setdefault(address.wado_base, address)
    return list(by_base.values())


def _ranked(study: dict[str, Any], study_uid: str, lookup: Lookup) -> Iterator[tuple[int, ImageAddress]]:
    contained = {text(each.get("id")): each for each in objects(study.get("contained"))}
    for reference in endpoint_references(study):
        # Servers are seen that leave out the "#" of a contained one.
        endpoint = contained.get(reference.removeprefix("#"))
        source: Source = "contained"
        if endpoint is None:
            if reference.startswith("#"):
                continue
            source = _source(reference)
            endpoint = {"address": reference} if source == "url" else lookup(reference)
        rank, base = _rank(endpoint), _wado_base(endpoint)
        if endpoint is not None and rank is not None and base is not None:
            yield rank, ImageAddress(base, study_uid, _requires_token(endpoint), source)


def _source(reference: str) -> Source:
    if reference.lower().startswith("urn:"):
        return "included"
    if not reference.lower().startswith(("http://", "https://")):
        return "relative"
    # RSNA's broker puts the DICOM Retrieve URL (0008,1190) where a reference belongs.
    return "absolute" if urlsplit(reference).path.split("/")[-2:-1] == ["Endpoint"] else "url"


def _rank(endpoint: dict[str, Any] | None) -> int | None:
    """Return 0 for a declared WADO-RS service, 1 for one of undeclared type, None for one that cannot be used."""
    if endpoint is None or endpoint.get("status") in _OUT_OF_USE:
        return None
    # STU3 and R4 have one Coding, R5 several CodeableConcepts.
    types = objects(endpoint.get("connectionType"))
    codes = {text(coding.get("code")) for each in types for coding in [each, *objects(each.get("coding"))]} - {None}
    if _WADO_RS in codes:
        return 0
    return None if codes else 1


def _wado_base(endpoint: dict[str, Any] | None) -> str | None:
    """Return the base URL of a service: its address, cut before the last `/studies` when it names a study already.

    FHIR has `Endpoint.address`; the S4S page calls it `Endpoint.url`.
    """
    for candidate in (endpoint or {}).get("address"), (endpoint or {}).get("url"):
        try:
            base = base_url((text(candidate) or "").strip())
        except UsageError:
            continue
        head, names_study, tail = f"{base}/".rpartition("/studies/")
        named = bare_uid(unquote(tail.partition("/")[0]))
        return head if names_study and (is_uid(named) or not named) else base
    return None


def _requires_token(endpoint: dict[str, Any]) -> bool | None:
    said = [
        extension.get("valueBoolean") is True
        for extension in objects(endpoint.get("extension"))
        if str(extension.get("url")).endswith(_REQUIRES_TOKEN)
    ]
    return any(said) if said else None
