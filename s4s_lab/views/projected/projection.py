"""All views over one resource type, compiled together: one projection, one shape a view and FHIR version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from s4s_lab.views.building import Part, TableBuilder
from s4s_lab.views.fhirpath import parse
from s4s_lab.views.heads import Provenance, patient_path
from s4s_lab.views.loading import View
from s4s_lab.views.projected.batches import Batch, Level
from s4s_lab.views.projected.elements import Element, bundle_decoder, resource_decoder
from s4s_lab.views.projected.expressions import Reading, Unsupported, value
from s4s_lab.views.projected.operators import Find, single
from s4s_lab.views.projected.placing import place_head, place_rows
from s4s_lab.views.projected.plans import Cells, Positions, Rows, Shape, compile_shape, rows_of
from s4s_lab.views.projected.versions import VersionTeller
from s4s_lab.views.signs import FHIR_VERSIONS, FhirVersion

_HEAD = ("source", "participant_id", "patient_id", "resource_id", "version_id", "last_updated")


class Projection:
    """What some views read of the resources of one type.

    Parameters
    ----------
    resource_type : str
        The FHIR resource type.
    views : sequence of View
        The views over it.
    """

    def __init__(self, resource_type: str, views: Sequence[View]) -> None:
        root = Element()
        self._identity = [root.child(name) for name in ("resourceType", "id")]
        for element in self._identity:
            element.is_read = True
        self.teller = VersionTeller(resource_type, root)
        self.shapes: dict[View, Mapping[FhirVersion, Shape]] = {}
        with suppress(Unsupported):
            self._head = _head(resource_type, root)
            for view in views:
                with suppress(Unsupported):
                    self.shapes[view] = {
                        version: compile_shape(
                            view.plans[version],
                            Reading(root, view.plans[version].constants, view.packaged, resource_type),
                        )
                        for version in FHIR_VERSIONS
                    }
        self._columns = {view: tuple(view.plans["r4"].all_columns()) for view in self.shapes}
        self.decode = resource_decoder(root)
        self.decode_bundle = bundle_decoder(root)

    def identity(self, resource: Any) -> tuple[Any, Any]:
        """Return `resourceType` and `id` of a struct.

        Parameters
        ----------
        resource : struct
            What `decode` gave.
        """
        kind, resource_id = self._identity
        return kind.get(resource), resource_id.get(resource)

    def rows(
        self, resources: Sequence[Any], batch: Batch, version: FhirVersion
    ) -> tuple[list[list[Any]], dict[View, Rows]]:
        """Read the first columns and the rows of every fast view; resources that are odd are noted in the batch.

        Parameters
        ----------
        resources : sequence of struct
            All of one version.
        batch : Batch
            Their keys and references.
        version : str
            The FHIR version they are read as.
        """
        level = Level(list(resources), batch, np.arange(len(resources)))
        head = [single(find(level), level) for find in self._head]
        rows = {view: rows_of(shapes[version], level, self._columns[view]) for view, shapes in self.shapes.items()}
        batch.close()
        return head, rows


@lru_cache(maxsize=64)
def projection_of(resource_type: str, views: tuple[View, ...]) -> Projection:
    """Return the projection of some views, compiled once.

    Parameters
    ----------
    resource_type : str
        The FHIR resource type.
    views : tuple of View
        All over it.
    """
    return Projection(resource_type, views)


def _head(resource_type: str, root: Element) -> list[Find]:
    how = Reading(root, {}, tolerant=True, owner=resource_type)
    return [
        value(parse(path), how, str) for path in (patient_path(resource_type), "meta.versionId", "meta.lastUpdated")
    ]


def placed_head(provenances: Sequence[Provenance], keys: Sequence[str], found: Sequence[list[Any]]) -> list[Cells]:
    """Place the first columns of resources.

    Parameters
    ----------
    provenances : sequence of Provenance
        One a resource.
    keys : sequence of str
        One a resource.
    found : sequence of list
        What the resources themselves say: patient, version, last update.
    """
    patients = [
        said if known.patient_id is None else known.patient_id
        for known, said in zip(provenances, found[0], strict=True)
    ]
    columns: list[list[Any]] = [
        [one.source for one in provenances],
        [one.participant_id for one in provenances],
        patients,
        list(keys),
    ]
    return place_head(_HEAD, [*columns, *found[1:]])


def placed_part(builder: TableBuilder, rows: Rows, head: Sequence[Cells], places: Positions) -> Part:
    """Turn the rows of one view into Arrow.

    Parameters
    ----------
    builder : TableBuilder
        Of the view; told how many values fitted no cell.
    rows : Rows
        What `Projection.rows` gave.
    head : sequence of placed columns
        What `placed_head` gave.
    places : numpy.ndarray
        Of the resources in the batch.

    Returns
    -------
    tuple of pyarrow.RecordBatch and numpy.ndarray
        The rows, repeated texts as dictionaries, and the place of each row's resource.
    """
    view: View = builder.view
    arrays, issues = place_rows(rows, head if view.packaged else (), has_issues=view.packaged)
    builder.note(issues)
    places_of_rows = places if rows.node_of is None else places[rows.node_of]
    return pa.RecordBatch.from_arrays(arrays, names=builder.schema.names), places_of_rows
