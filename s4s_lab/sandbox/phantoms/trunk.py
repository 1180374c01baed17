"""A trunk: chest and abdomen with their organs, as slices of CT and MR, and projected as radiographs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from s4s_lab.sandbox.phantoms.fields import (
    Field,
    axis,
    blur,
    capsule,
    ellipsoid,
    lay,
    overlap,
    smooth_noise,
    soft,
    union,
)

FIELD_MM = 370.0


class _Tissue(NamedTuple):
    air: float
    fat: float
    muscle: float
    bone: float
    marrow: float
    lung: float
    blood: float
    liver: float
    spleen: float
    kidney: float
    fluid: float
    lesion: float


# CT in Hounsfield units (with contrast medium in the vessels), MR in arbitrary units.
_CONTRASTS = {
    "CT": _Tissue(-1000, -100, 52, 620, 230, -860, 165, 105, 118, 165, 8, 52),
    "T2": _Tissue(6, 620, 170, 40, 330, 30, 60, 210, 420, 520, 950, 620),
}
Points = tuple[Field, Field, Field]


@dataclass(frozen=True)
class Trunk:
    """How one trunk differs from others.

    Parameters
    ----------
    seed : int
        For texture, noise and build.
    lesion_mm : float
        Radius of a lesion: a nodule in the right lung, or a spot in the liver; 0 for none [mm].
    """

    seed: int
    lesion_mm: float = 0.0

    @property
    def build(self) -> float:
        """How stout this trunk is, around 1."""
        return 0.94 + 0.02 * (self.seed % 7)


def _wall(points: Points, tissue: _Tissue, trunk: Trunk, fat_mm: float) -> tuple[Field, Field]:
    """Return body wall and spine, and the distance to the inside of the wall."""
    x, y, z = points
    shoulders = 26 / (1 + np.exp(-(z - 95) / 14)) - 120 / (1 + np.exp(-(z - 172) / 9))
    body = ellipsoid((x, y), (0, 0), (160 * trunk.build, 108 * trunk.build), power=2.5) - shoulders + 0 * z
    image = lay(
        np.full(np.broadcast_shapes(*(p.shape for p in points)), tissue.air, np.float32), tissue.fat, soft(body, 1.6)
    )
    image = lay(image, tissue.muscle, soft(body + fat_mm, 1.8))
    back = 74 * trunk.build
    disc = 6.5 * np.clip(np.cos(2 * np.pi * z / 31) - 0.72, 0, 1)
    vertebra = ellipsoid((x, y), (0, back - 22), (21, 17), power=2.6) + disc * 3
    arch = union(
        capsule((x, y), (-24, back + 4), (24, back + 4), 5.0), capsule((x, y), (0, back + 8), (0, back + 24), 4.5)
    )
    image = lay(image, tissue.bone, soft(union(vertebra, arch + disc * 5), 1.4))
    image = lay(image, tissue.marrow, soft(vertebra + 4, 1.6))
    image = lay(image, tissue.fluid, soft(ellipsoid((x, y), (0, back), (8.5, 7.5)) + 0 * z, 1.2))
    return image, (body + fat_mm + 14).astype(np.float32)


def _bones(image: Field, points: Points, tissue: _Tissue, inside: Field, trunk: Trunk) -> Field:
    """Lay ribs, sternum and collar bones."""
    x, y, z = points
    phase = np.cos(2 * np.pi * (z + 0.42 * y + 0.06 * np.abs(x)) / 25)
    behind_sternum = np.clip((y + 98 * trunk.build) / 16, 0, 1)
    reach = np.clip((150 - z) / 12, 0, 1) * np.clip((z + 128) / 10, 0, 1)
    ribs = soft(np.abs(inside - 3.5) - 4.0, 1.5) * soft((0.36 - phase) * 9, 2.4) * behind_sternum * reach
    image = lay(image, tissue.bone, ribs)
    sternum = ellipsoid((x, y, z), (0, -86 * trunk.build, 30), (15, 6, 78), power=3)
    image = lay(image, tissue.bone, soft(sternum, 1.5))
    for side in (-1, 1):
        collar = np.hypot(capsule((x, z), (side * 14, 112), (side * 118, 137), 0.0), y + 58) - 6.5
        image = lay(image, tissue.bone, soft(collar, 1.5))
    return image


def chest(points: Points, trunk: Trunk, random: np.random.Generator) -> Field:
    """Return a chest in Hounsfield units.

    Parameters
    ----------
    points : tuple of three ndarrays
        Coordinates to the left, backward and upward from the middle of the chest [mm].
    trunk : Trunk
        Whose chest.
    random : Generator
        For texture.

    Returns
    -------
    ndarray of float32
        As the coordinates broadcast.
    """
    tissue = _CONTRASTS["CT"]
    x, y, z = points
    image, inside = _wall(points, tissue, trunk, 13.0)
    shape = image.shape
    grain = max(1.0, shape[-1] / 46)
    branches = smooth_noise(random, shape, (grain * 0.9, grain, grain))
    image = _bones(image, points, tissue, inside, trunk)
    heart = ellipsoid(points, (24, -26, -52), (62, 50, 54))
    middle = np.abs(x - 2) - 24 - 10 * np.exp(-(((z + 5) / 34) ** 2))
    spine = ellipsoid((x, y), (0, 60), (30, 30)) + 0 * z
    lungs = np.full(shape, 1e3, np.float32)
    for side in (-1, 1):
        dome = ellipsoid(points, (side * 72, 4, -178 + 8 * (side < 0)), (72, 92, 86))
        apex = ellipsoid((x, y, z), (side * 66, 4, -40), (64, 104, 178), power=2.3)
        lungs = union(lungs, overlap(apex, overlap(inside + 8, -dome)))
    lungs = overlap(lungs, 2 - heart, -middle, -spine)
    hilum = np.exp(-(((np.abs(x) - 36) / 46) ** 2) - ((y - 4) / 62) ** 2 - ((z + 4) / 92) ** 2)
    vessels = np.exp(-((branches / (0.10 + 0.12 * hilum)) ** 2)) * (0.16 + 0.75 * hilum)
    image = lay(image, tissue.lung + 780 * vessels, soft(lungs, 1.6))
    image = lay(image, tissue.blood, soft(heart + 12, 6.0) * 0.9)
    image = _great_vessels(image, points, tissue)
    if trunk.lesion_mm:
        spot = ellipsoid(points, (-74, 6, 22), (trunk.lesion_mm,) * 3) + branches * 0.5
        image = lay(image, 40.0, soft(spot, 1.2))
    return image


def _great_vessels(image: Field, points: Points, tissue: _Tissue) -> Field:
    x, y, z = points
    descending = overlap(np.hypot(x - 27, y - 34) - 12, z - 58)
    ascending = overlap(np.hypot(x + 14, y + 22) - 14, np.abs(z - 20) - 42)
    along = np.hypot((x - 6) / 21, (y - 6) / 28)
    arch = np.hypot((along - 1) * 24, z - 60) - 11
    trunk = overlap(np.abs(z - 22) - 12, np.hypot((x - 14) / 1.9, y + 2) - 12)
    vessels = union(descending, ascending, overlap(arch, -(x + 26)), trunk)
    image = lay(image, tissue.blood, soft(vessels, 1.6))
    windpipe = overlap(np.hypot(x + 2, y - 6) - 8.5, 44 - z)
    fork = np.hypot(np.abs(x + 2) - (46 - z) * 0.55, y - 8) - 6
    branches = overlap(overlap(fork, z - 46), 14 - z)
    return lay(image, -990.0, soft(union(windpipe, branches), 1.2))


def abdomen(points: Points, trunk: Trunk, random: np.random.Generator, contrast: str = "CT") -> Field:
    """Return an abdomen.

    Parameters
    ----------
    points : tuple of three ndarrays
        Coordinates to the left, backward and upward from the middle of the abdomen [mm].
    trunk : Trunk
        Whose abdomen.
    random : Generator
        For texture.
    contrast : str
        `CT` in Hounsfield units, or `T2` as MR signal.

    Returns
    -------
    ndarray of float32
        As the coordinates broadcast.
    """
    tissue = _CONTRASTS[contrast]
    x, y, z = points
    image, inside = _wall(points, tissue, trunk, 17.0)
    shape = image.shape
    texture = smooth_noise(random, shape, (1.0, shape[-1] / 24, shape[-1] / 24))
    rough = texture * 2.4
    spine = ellipsoid((x, y), (0, 64), (40, 42)) + 0 * z
    image = lay(image, tissue.fat, soft(overlap(inside + 2, -spine), 2.0))
    for side in (-1, 1):
        dome = ellipsoid(points, (side * 74, -2, 22 - 10 * side), (78, 96, 92))
        image = lay(image, tissue.lung, soft(overlap(inside + 6, -dome, -spine, 60 - z, 26 - np.abs(x - 6)), 1.8))
    loops = overlap(overlap(inside + 10 + rough, 0.15 - texture * 6), overlap(z - 22, y - 22))
    image = lay(image, tissue.muscle * 0.8, soft(loops, 2.2))
    gas = overlap(overlap(loops + 7, 1.1 - texture) * 4, y + 18)
    image = lay(image, tissue.air, soft(gas, 1.4))
    for side in (-1, 1):
        psoas = ellipsoid((x, y, z), (side * 36, 52, -78), (21, 23, 84))
        image = lay(image, tissue.muscle, soft(psoas, 1.8))
        image = _kidney(image, points, tissue, side)
    image = _upper_organs(image, points, tissue, rough)
    if trunk.lesion_mm:
        image = lay(
            image, tissue.lesion, soft(ellipsoid(points, (-86, 2, 46), (trunk.lesion_mm,) * 3) + rough * 0.4, 1.4)
        )
    aorta, cava = np.hypot(x - 13, y - 36) - 10, np.hypot((x + 16) / 1.2, y - 34) - 9
    return lay(image, tissue.blood, soft(union(aorta, cava) + 0 * z, 1.5))


def _kidney(image: Field, points: Points, tissue: _Tissue, side: int) -> Field:
    x, y, z = points
    tilt = x - side * (60 + 0.14 * (30 - z))
    kidney = ellipsoid((tilt, y, z), (0, 40, 4 * side), (25, 28, 54))
    image = lay(image, tissue.kidney, soft(kidney, 1.6))
    medulla = ellipsoid((tilt, y, z), (0, 40, 4 * side), (16, 19, 43))
    image = lay(image, tissue.kidney * 0.72, soft(medulla, 2.6))
    sinus = ellipsoid((tilt, y, z), (-side * 13, 38, 4 * side), (15, 9, 26))
    return lay(image, tissue.fat, soft(sinus, 1.8))


def _upper_organs(image: Field, points: Points, tissue: _Tissue, rough: Field) -> Field:
    x, y, z = points
    right = ellipsoid(points, (-76, -4, 50), (72, 80, 84), power=2.3)
    left = ellipsoid(points, (-14, -46, 66), (72, 34, 46))
    liver = union(right, left) + rough * 0.7
    spleen = ellipsoid((x - 0.12 * y, y, z), (96, 38, 62), (27, 46, 46)) + rough * 0.5
    stomach = ellipsoid((x, y, z), (62, -34, 58), (46, 42, 44), power=2.4) + rough * 0.6
    image = lay(image, tissue.muscle, soft(stomach, 1.6))
    image = lay(image, tissue.fluid, soft(stomach + 5, 1.6))
    image = lay(image, tissue.air, soft(overlap(stomach + 5, y + 46), 1.2))
    image = lay(image, tissue.spleen, soft(spleen, 1.6))
    image = lay(image, tissue.liver, soft(liver, 1.6))
    veins = np.abs(rough) * 1.1 - 0.14 - 0.5 * np.exp(-((np.hypot(x + 52, y - 2) / 44) ** 2))
    image = lay(image, tissue.blood, soft(overlap(veins * 4, liver + 9), 1.2) * 0.85)
    return lay(image, tissue.fluid, soft(ellipsoid(points, (-48, -46, 20), (15, 17, 24)), 1.5))


def trunk_slices(trunk: Trunk, region: str, heights_mm: list[float], size: int) -> Field:
    """Return axial slices of a trunk.

    Parameters
    ----------
    trunk : Trunk
        Whose trunk.
    region : str
        `chest`, `abdomen`, or `abdomen T2` for MR.
    heights_mm : list of float
        Height of each slice [mm].
    size : int
        Rows and columns.

    Returns
    -------
    ndarray of float32, shape (slices, size, size)
        Hounsfield units, or MR signal; row 0 is anterior, column 0 the patient's right.
    """
    random = np.random.default_rng(trunk.seed)
    z = np.array(heights_mm, dtype=np.float32)[:, None, None]
    points = (axis(FIELD_MM, size)[None, None, :], axis(FIELD_MM, size)[None, :, None], z)
    if region == "chest":
        image, sigma = chest(points, trunk, random), 14.0
    else:
        contrast = region.partition(" ")[2] or "CT"
        image, sigma = abdomen(points, trunk, random, contrast), 12.0
    noise = random.standard_normal(image.shape, dtype=np.float32) * sigma
    return np.hypot(image, noise).astype(np.float32) if region.endswith("T2") else image + noise


def radiograph(trunk: Trunk, view: str, size: int) -> Field:
    """Return a chest radiograph: what remains of an X-ray beam after the whole chest, bones bright.

    Parameters
    ----------
    trunk : Trunk
        Whose chest.
    view : str
        `PA`, or `LL` for the lateral view.
    size : int
        Rows and columns.

    Returns
    -------
    ndarray of float32, shape (size, size)
        From 0 to 4095; row 0 is superior.
    """
    random = np.random.default_rng(trunk.seed)
    z = -axis(FIELD_MM * 0.98, size)[:, None, None] + 4
    depth = axis(300, 80)
    x, y = axis(FIELD_MM, size), depth
    if view != "PA":
        x, y = axis(FIELD_MM, 80), axis(FIELD_MM, size)
    volume = chest((x[None, None, :], y[None, :, None], z), trunk, random)
    attenuation = np.clip(volume + 1000, 0, None) / 1000
    path = attenuation.mean(axis=1 if view == "PA" else 2) * (300 if view == "PA" else FIELD_MM)
    image = np.log1p(path / 30).astype(np.float32)
    # A radiograph's processing lifts local contrast, so that ribs show over the heart and vessels in the lungs.
    margin = size // 4
    padded = np.pad(image, margin, mode="edge")
    padded = padded - 0.62 * blur(padded, size / 7) + 0.9 * (padded - blur(padded, size / 60))
    image = padded[margin:-margin, margin:-margin]
    body = path > 0.25 * float(np.median(path[size // 3 : -size // 3, size // 3 : -size // 3]))
    low, high = np.percentile(image[body], (2, 99.5))
    image = np.where(body, (image - low) / (high - low) * 3300 + 450, 60)
    image += random.standard_normal(image.shape, dtype=np.float32) * 20
    return np.clip(image, 0, 4095).astype(np.float32)
