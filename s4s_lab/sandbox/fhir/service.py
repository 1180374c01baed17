"""The FHIR routes: metadata, read, search."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from s4s_lab.sandbox.access import bearer, require
from s4s_lab.sandbox.archive import Archive, Stored
from s4s_lab.sandbox.authorization import Grants
from s4s_lab.sandbox.fhir.bundles import Pagings, Result, page_bundle, self_link, total_bundle
from s4s_lab.sandbox.fhir.kinds import KINDS, Kind
from s4s_lab.sandbox.fhir.search import read_search
from s4s_lab.sandbox.media import FHIR_JSON, takes_fhir_json
from s4s_lab.sandbox.site import Site
from s4s_lab.sandbox.web import MAX_FIELDS, FhirRefusal, json_answer


class FhirService:
    """The FHIR server.

    Parameters
    ----------
    site : Site
        Its addresses.
    archive : Archive
        What it serves.
    grants : Grants
        Who may see it.
    statement : dict
        The CapabilityStatement.
    configuration : dict
        The SMART configuration.

    References
    ----------
    FHIR STU3, "RESTful API", "Search"; S4S imaging page.
    """

    def __init__(
        self, site: Site, archive: Archive, grants: Grants, statement: dict[str, Any], configuration: dict[str, Any]
    ) -> None:
        self._site = site
        self._archive = archive
        self._grants = grants
        self._statement = msgspec.json.encode(statement)
        self._configuration = msgspec.json.encode(configuration)
        self._pagings = Pagings()

    def routes(self) -> list[Route]:
        """Return the routes below `/fhir`; what is not among them is answered as a type that is not served."""
        return [
            Route("/fhir/metadata", self.metadata, methods=["GET"]),
            Route("/fhir/.well-known/smart-configuration", self.configuration, methods=["GET"]),
            Route("/fhir/{resource_type}", self.search, methods=["GET"]),
            Route("/fhir/{resource_type}/_search", self.search, methods=["POST"]),
            Route("/fhir/{resource_type}/{resource_id}", self.read, methods=["GET"]),
        ]

    async def metadata(self, request: Request) -> Response:
        """Answer with the CapabilityStatement; no token is needed.

        Parameters
        ----------
        request : Request
            Its Accept header and `_format` count.

        Raises
        ------
        FhirRefusal
            406 when it wants another format.
        """
        _check_format(request)
        return json_answer(self._statement, media_type=FHIR_JSON)

    async def configuration(self, _: Request) -> Response:
        """Answer with the SMART configuration; no token is needed."""
        return json_answer(self._configuration)

    async def read(self, request: Request) -> Response:
        """Answer with one resource.

        Parameters
        ----------
        request : Request
            Names type and id in its path.

        Raises
        ------
        FhirRefusal
            401, 403, 404, or 410 for what was removed.
        """
        _check_format(request)
        token = bearer(request, self._grants)
        kind = _kind(request)
        require(token, kind.name, "r")
        resource_id = request.path_params["resource_id"]
        found = self._archive.read(kind.name, resource_id)
        if found is None:
            gone = self._archive.was_removed(kind.name, resource_id)
            text = f"This {kind.name} was removed." if gone else f"There is no {kind.name} of this id."
            raise FhirRefusal(410 if gone else 404, "not-found", text)
        if found.patient_id not in (None, token.approval.patient_id):
            raise FhirRefusal(403, "forbidden", f"This {kind.name} belongs to another patient than the token's.")
        modified = found.last_updated.strftime("%a, %d %b %Y %H:%M:%S GMT")
        headers = {"ETag": f'W/"{found.version_id}"', "Last-Modified": modified}
        return json_answer(found.raw, headers=headers, media_type=FHIR_JSON)

    async def search(self, request: Request) -> Response:
        """Answer with a page of a search: a new one, or a later page of one begun before.

        Parameters
        ----------
        request : Request
            GET, or POST to `_search` with a form.

        Raises
        ------
        FhirRefusal
            400, 401, 403, 404 for a type that is not served, or 410 for a page that has ended.
        """
        _check_format(request)
        token = bearer(request, self._grants)
        kind = _kind(request)
        require(token, kind.name, "s")
        pairs = list(request.query_params.multi_items())
        if request.method == "POST":
            pairs += await _form_pairs(request)
        patient_id = token.approval.patient_id
        if page := dict(pairs).get("_page"):
            return self._later_page(kind, page, patient_id)
        strict = "handling=strict" in request.headers.get("prefer", "").replace(" ", "").lower()
        search = read_search(kind, pairs, patient_id=patient_id, fhir_url=self._site.fhir_url, strict=strict)
        moment, held = self._archive.snapshot(kind.name, patient_id)
        result = Result(
            kind.name,
            patient_id,
            tuple(search.matching(held, moment)),
            search.count,
            self_link(self._site.fhir_url, kind.name, search.used),
            moment,
            search.include,
        )
        return json_answer(total_bundle(result) if search.summary else self._page(result), media_type=FHIR_JSON)

    def _later_page(self, kind: Kind, page: str, patient_id: str) -> Response:
        kept = self._pagings.find(page)
        if kept is None or kept[2].resource_type != kind.name or kept[2].patient_id != patient_id:
            raise FhirRefusal(410, "not-found", "This page has ended; search again.")
        return json_answer(self._page(kept[2], kept[0], kept[1]), media_type=FHIR_JSON)

    def _page(self, result: Result, key: str = "", offset: int = 0) -> bytes:
        return page_bundle(result, self._pagings, self._site.fhir_url, self._endpoints_of, (key, offset))

    def _endpoints_of(self, study: Stored) -> list[Stored]:
        """Return the Endpoints of this server that a study refers to, in order."""
        references = dict.fromkeys(_endpoint_references(study.resource))
        found = (self._archive.read(*one.split("/", 1)) for one in references if one.startswith("Endpoint/"))
        return [one for one in found if one is not None]


def _endpoint_references(study: dict[str, Any]) -> Iterable[str]:
    for holder in (study, *study.get("series", ())):
        for endpoint in holder.get("endpoint", ()):
            yield str(endpoint.get("reference", ""))


def _kind(request: Request) -> Kind:
    name = request.path_params["resource_type"]
    if name not in KINDS:
        raise FhirRefusal(404, "not-supported", f"{name[:64]} is no resource type of this server; see /fhir/metadata.")
    return KINDS[name]


def _check_format(request: Request) -> None:
    if not takes_fhir_json(request.headers.get("accept"), request.query_params.get("_format")):
        raise FhirRefusal(406, "not-supported", "Only JSON can be given: application/fhir+json.")


async def _form_pairs(request: Request) -> list[tuple[str, str]]:
    if not request.headers.get("content-type", "").lower().startswith("application/x-www-form-urlencoded"):
        raise FhirRefusal(415, "not-supported", "_search takes application/x-www-form-urlencoded.")
    try:
        return parse_qsl((await request.body()).decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise FhirRefusal(400, "invalid", "The body is no form.") from None
