"""A head: skull, brain with folded cortex, ventricles, eyes; seen by CT and by three MR sequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from s4s_lab.sandbox.phantoms.fields import Field, axis, ellipsoid, lay, overlap, smooth_noise, soft, union

FIELD_MM = 230.0

# CT in Hounsfield units, MR in arbitrary units; in the order of _Tissue.
_CONTRASTS = {
    "CT": (-1000.0, 15.0, 950.0, 6.0, 38.0, 27.0, 12.0, 68.0),
    "T1": (8.0, 620.0, 60.0, 110.0, 400.0, 600.0, 150.0, 280.0),
    "T2": (8.0, 420.0, 50.0, 960.0, 520.0, 360.0, 900.0, 780.0),
    "FLAIR": (8.0, 330.0, 50.0, 70.0, 520.0, 410.0, 90.0, 860.0),
}


class _Tissue(NamedTuple):
    air: float
    scalp: float
    skull: float
    csf: float
    grey: float
    white: float
    eye: float
    lesion: float


@dataclass(frozen=True)
class Head:
    """How one head differs from others.

    Parameters
    ----------
    seed : int
        For folds, noise and small asymmetries.
    lesion_mm : float
        Radius of a lesion in the left hemisphere, 0 for none [mm].
    """

    seed: int
    lesion_mm: float = 0.0


def head_slices(head: Head, contrast: str, heights_mm: list[float], size: int) -> Field:
    """Return axial slices of a head.

    Parameters
    ----------
    head : Head
        Whose head.
    contrast : str
        `CT`, `T1`, `T2` or `FLAIR`.
    heights_mm : list of float
        Height of each slice above the ear line [mm].
    size : int
        Rows and columns.

    Returns
    -------
    ndarray of float32, shape (slices, size, size)
        Hounsfield units, or MR signal; row 0 is anterior, column 0 the patient's right.
    """
    random = np.random.default_rng(head.seed)
    shape = (len(heights_mm), size, size)
    z = np.array(heights_mm, dtype=np.float32)[:, None, None]
    y, x = axis(FIELD_MM, size)[None, :, None], axis(FIELD_MM, size)[None, None, :]
    points = (x, y, z)
    tissue = _Tissue(*_CONTRASTS[contrast])
    fold = smooth_noise(random, shape, (0.6, size / 50, size / 50))
    broad = smooth_noise(random, shape, (1.2, size / 14, size / 14))
    outer = ellipsoid(points, (0, 0, 14), (78 + head.seed % 4, 99, 96), power=2.15) + broad * 0.5
    image = lay(np.full(shape, tissue.air, np.float32), tissue.scalp, soft(outer, 1.0))
    image = lay(image, tissue.skull, soft(outer + 6, 0.9))
    image = lay(image, tissue.csf, soft(outer + 12, 0.9))
    brain = outer + 14
    # Sulci: the surface dips in where the noise is near zero, so that folds follow winding lines.
    depth = 17 * np.clip(1.1 + brain / 30, 0, 1)
    sulci = depth * np.exp(-((fold / 0.26) ** 2))
    image = lay(image, tissue.grey, soft(brain + sulci, 1.0))
    gyri = depth * 0.75 * np.exp(-((fold / 0.75) ** 2))
    image = lay(image, tissue.white, soft(brain + 5 + gyri + broad, 1.5))
    image = _depths(image, points, tissue, broad)
    image = _face(image, points, tissue, fold)
    if head.lesion_mm:
        spot = ellipsoid(points, (34, 22, 42), (head.lesion_mm,) * 3) + fold * 1.2
        image = lay(image, tissue.lesion, soft(spot, 1.4))
    sigma = 4.5 if contrast == "CT" else 14.0
    noise = random.standard_normal(shape, dtype=np.float32) * sigma
    return (image + noise if contrast == "CT" else np.hypot(image, noise)).astype(np.float32)


def _depths(image: Field, points: tuple[Field, Field, Field], tissue: _Tissue, broad: Field) -> Field:
    """Lay the deep structures over the brain: deep nuclei, ventricles, the fissure between the hemispheres."""
    x, y, z = points
    for side in (-1, 1):
        nucleus = ellipsoid(points, (side * 21, 0, 20), (8, 20, 16))
        thalamus = ellipsoid(points, (side * 9.5, 12, 20), (7, 12, 11))
        image = lay(image, tissue.grey, soft(union(nucleus, thalamus), 1.6))
        lean = side * (8 + 0.1 * np.abs(y))
        front = ellipsoid((x - lean, y, z), (0, -18, 34), (5, 20, 14)) + broad * 0.5
        back = ellipsoid((x - lean * 1.5, y, z), (0, 30, 30), (5.5, 20, 13)) + broad * 0.5
        image = lay(image, tissue.csf, soft(union(front, back), 1.0))
    image = lay(image, tissue.csf, soft(ellipsoid(points, (0, 10, 12), (2.4, 15, 10)), 0.9))
    fissure = overlap(np.abs(x) - 1.1, union(30 - np.abs(y), 52 - z))
    inside = soft(ellipsoid(points, (0, 0, 14), (64, 84, 82)), 1.5)
    return lay(image, tissue.csf, soft(fissure, 0.8) * inside)


def _face(image: Field, points: tuple[Field, Field, Field], tissue: _Tissue, fold: Field) -> Field:
    """Lay what is below the brain: skull base, air of the sinuses and mastoids, orbits with their eyes."""
    for side in (-1, 1):
        ridge = ellipsoid(points, (side * 40, 12, -30), (27, 9, 11)) + fold * 1.5
        image = lay(image, tissue.skull, soft(ridge, 1.4))
        cells = ellipsoid(points, (side * 58, 22, -32), (10, 13, 13)) + fold * 3
        image = lay(image, tissue.air, soft(cells, 1.4))
        orbit = ellipsoid(points, (side * 31, -68, -24), (17, 24, 17))
        image = lay(image, tissue.skull, soft(orbit - 3, 1.2) * soft(-orbit, 1.2))
        image = lay(image, tissue.scalp, soft(orbit, 1.2))
        image = lay(image, tissue.eye, soft(ellipsoid(points, (side * 31, -77, -24), (12, 12, 12)), 0.9))
    image = lay(image, tissue.skull, soft(ellipsoid(points, (0, -62, -34), (14, 32, 15)), 1.2))
    return lay(image, tissue.air, soft(ellipsoid(points, (0, -64, -36), (11, 29, 13)) + fold * 2.5, 1.2))
