"""Images that are made in one plane: mammograms, ultrasound sectors, bone scans."""

from __future__ import annotations

import numpy as np

from s4s_lab.sandbox.phantoms.fields import Field, axis, blur, capsule, ellipsoid, lay, smooth_noise, soft, union

BREAST_MM = (240.0, 160.0)
SECTOR_MM = 150.0
BODY_MM = (1840.0, 920.0)


def mammogram(seed: int, laterality: str, view: str, shape: tuple[int, int], *, lesion_mm: float = 0.0) -> Field:
    """Return a mammogram.

    Parameters
    ----------
    seed : int
        For the glandular tissue.
    laterality : str
        `L` or `R`: the chest wall is at the left edge for the left breast, at the right edge for the right one.
    view : str
        `CC` or `MLO`; the latter shows the chest muscle.
    shape : (int, int)
        Rows and columns.
    lesion_mm : float
        Radius of a spiculated mass, 0 for none [mm].

    Returns
    -------
    ndarray of float32
        From 0 to 4095, dense tissue bright.
    """
    random = np.random.default_rng([seed, ord(laterality), len(view)])
    y, x = axis(BREAST_MM[0], shape[0])[:, None], axis(BREAST_MM[1], shape[1])[None, :] + BREAST_MM[1] / 2
    grain = shape[1] / 46
    fibres = smooth_noise(random, shape, (grain * 0.8, grain * 1.8))
    clouds = smooth_noise(random, shape, grain * 3.6)
    sag = 14.0 if view == "MLO" else 0.0
    breast = ellipsoid((y, x), (sag, -18), (94, 132), power=2.25) + clouds * 1.2
    thickness = np.clip(-breast / 30, 0, 1) ** 0.45
    image: Field = 60 + 780 * thickness
    gland = soft(ellipsoid((y, x), (sag + 2, 52), (56, 46)) + clouds * 9, 11)
    strands = np.clip(0.55 + 0.42 * fibres + 0.35 * clouds, 0, 1.6)
    image = image + 1250 * gland * strands * thickness
    # Ducts run together towards the nipple.
    angle = np.arctan2(y - sag, 118 - x)
    rays = np.exp(-((np.sin(angle * 9 + fibres * 0.7) / 0.22) ** 2)) * gland * 330
    image = image + rays * thickness
    image = lay(image, 1500, soft(capsule((y, x), (sag, 112), (sag, 120), 3.2), 1.4))
    if view == "MLO":
        image = lay(image, image + 1500, soft((x - 4) + (y + 30) * 0.62, 3.0) * soft(breast, 2.0))
    if lesion_mm:
        spokes = 1 + 0.16 * np.sin(np.arctan2(y + 14, x - 62) * 9 + fibres * 2) + 0.12 * clouds
        mass = np.hypot(y + 14, x - 62) - lesion_mm * spokes
        image = image + 1150 * soft(mass, 2.6)
        grains = random.uniform(-1.6, 1.6, (7, 2)) * lesion_mm
        for down, across in grains:
            image = image + 1300 * soft(np.hypot(y + 14 - down, x - 62 - across) - 0.7, 0.6)
    noise = random.standard_normal(shape, dtype=np.float32) * np.sqrt(np.clip(image, 1, None)) * 0.55
    image = np.clip(blur(image, 0.5) * soft(breast, 1.2) + 40 + noise, 0, 4095).astype(np.float32)
    return image if laterality == "L" else image[:, ::-1]


def ultrasound(seed: int, organ: str, size: int, *, cyst_mm: float = 0.0) -> Field:
    """Return an ultrasound sector with speckle.

    Parameters
    ----------
    seed : int
        For the speckle.
    organ : str
        `liver` (with the gallbladder), `kidney` or `breast`.
    size : int
        Rows and columns.
    cyst_mm : float
        Radius of a cyst, 0 for none [mm].

    Returns
    -------
    ndarray of float32, shape (size, size)
        From 0 to 255.
    """
    random = np.random.default_rng([seed, len(organ)])
    y = axis(SECTOR_MM, size)[:, None] + SECTOR_MM / 2 + 12
    x = axis(SECTOR_MM, size)[None, :]
    depth, angle = np.hypot(y, x), np.arctan2(x, y)
    # Speckle is made along the beams, where it is fine in depth and broad across, then read off at each pixel.
    beams = (256, 96)
    waves = [blur(random.standard_normal(beams, dtype=np.float32), (1.0, 1.5)) for _ in range(2)]
    row = np.clip(depth / 185 * beams[0], 0, beams[0] - 1).astype(int)
    column = np.clip((angle / 0.72 + 1) / 2 * beams[1], 0, beams[1] - 1).astype(int)
    speckle = np.hypot(*waves)[row, column]
    speckle = speckle / speckle.mean()
    echo, shadow = _echoes(organ, y, x, cyst_mm)
    clouds = smooth_noise(random, (size, size), size / 16)
    gain = np.exp(-depth / 260) * shadow
    image = np.log1p(echo * gain * (0.25 + speckle) * (1 + 0.12 * clouds) * 6) * 56
    skin = np.exp(-(((depth - 17) / 3.0) ** 2)) * 120
    sector = soft(np.abs(angle) - 0.66, 0.008) * soft(np.abs(depth - 94) - 78, 0.8)
    seen: Field = np.clip((image + skin) * sector, 0, 255).astype(np.float32)
    return seen


def _echoes(organ: str, y: Field, x: Field, cyst_mm: float) -> tuple[Field, Field]:
    """Return how strongly the tissue scatters, and what is shadowed or enhanced below it."""
    fat = np.exp(-(((y - 26 - 2 * np.sin(x / 12)) / 5) ** 2)) * 1.6
    echo = 1.0 + fat
    fluid = np.full(np.broadcast_shapes(y.shape, x.shape), 99.0, np.float32)
    if organ == "liver":
        vessels = union(capsule((y, x), (70, -52), (104, 6), 3.2), capsule((y, x), (112, -34), (92, 22), 2.6))
        fluid = union(vessels, ellipsoid((y, x), (92, 34), (15, 26)))
        line = np.abs(y - 138 + 0.004 * (x + 20) ** 2) - 1.6
        echo = lay(echo, 4.0, soft(line, 1.2))
    elif organ == "kidney":
        kidney = ellipsoid((y, x), (88, 0), (28, 54))
        echo = lay(echo * 1.25, 0.42, soft(kidney, 1.6))
        echo = lay(echo, 2.7, soft(ellipsoid((y, x), (88, 0), (11, 34)), 4.0))
        pyramids = [ellipsoid((y, x), (88 + 15 * side, across), (6, 7)) for side in (-1, 1) for across in (-28, 0, 28)]
        echo = lay(echo, 0.2, soft(union(*pyramids), 1.5))
    else:
        echo = echo + 1.4 * np.exp(-((np.sin(y / 7 + x / 40) / 0.5) ** 2)) * soft(y - 92, 5)
        echo = lay(echo, 3.4, soft(np.abs(y - 98 - 0.05 * x) - 1.8, 1.2))
    if cyst_mm:
        fluid = union(fluid, ellipsoid((y, x), (72, -26), (cyst_mm * 0.86, cyst_mm)))
    echo = lay(echo, 0.02, soft(fluid, 1.0))
    # Sound that passed through fluid is weakened less: the tissue below it is brighter.
    passed = np.cumsum(soft(fluid, 1.0), axis=0) / echo.shape[0]
    return echo.astype(np.float32), (1 + 2.2 * np.clip(passed, 0, 0.3)).astype(np.float32)


def bone_scan(seed: int, view: str, shape: tuple[int, int], *, hot: bool = False) -> Field:
    """Return a whole-body bone scan: counts of a gamma camera.

    Parameters
    ----------
    seed : int
        For the counts.
    view : str
        `ANT` or `POST`.
    shape : (int, int)
        Rows and columns.
    hot : bool
        Whether a rib takes up too much.

    Returns
    -------
    ndarray of float32
        Whole counts.
    """
    random = np.random.default_rng([seed, len(view)])
    y = axis(BODY_MM[0], shape[0])[:, None] + BODY_MM[0] / 2
    x = axis(BODY_MM[1], shape[1])[None, :]
    behind = view == "POST"
    image = 1.6 * soft(_outline(y, x), 14)
    for strength, bone in _skeleton(y, np.abs(x), behind=behind):
        image = image + strength * soft(bone, 7)
    image = image + (13 if behind else 5) * soft(np.hypot((y - 700) / 1.5, np.abs(x) - 62) - 22, 14)
    image = image + (4 if behind else 26) * soft(np.hypot(y - 968, x) - 30, 12)
    if hot:
        image = image + 46 * soft(np.hypot(y - 512, x - (108 if behind else -108)) - 11, 6)
    return random.poisson(blur(image.astype(np.float32), 0.8).clip(0) * 3.0).astype(np.float32)


def _outline(y: Field, x: Field) -> Field:
    side = np.abs(x)
    return union(
        ellipsoid((y, side), (130, 0), (118, 78)),
        ellipsoid((y, side), (610, 0), (380, 178), power=3),
        capsule((y, side), (330, 196), (930, 262), 44),
        capsule((y, side), (940, 86), (1700, 74), 78),
    )


def _skeleton(y: Field, side: Field, *, behind: bool) -> list[tuple[float, Field]]:
    """Return each group of bones with how much it takes up; `side` is the distance from the midline."""
    ribs = union(*(np.abs(np.hypot((y - 330 - 34 * n) / 0.62 - 90, side) - 128 - 2.2 * n) - 4 for n in range(8)))
    ribs = np.maximum(ribs, np.maximum(np.abs(y - 470) - 165, 34 - side))
    spine = np.abs(side) - 15 + np.maximum(0, np.abs(y - 560) - 300) + 3 * np.cos(y / 5.6)
    return [
        (9.0, ellipsoid((y, side), (118, 0), (96, 66))),
        (4.0, np.abs(ellipsoid((y, side), (118, 0), (96, 66))) - 4),
        (19.0 if behind else 9.0, spine),
        (13.0, ribs),
        (13.0 if not behind else 2.0, capsule((y, side), (330, 0), (500, 0), 13)),
        (8.0, capsule((y, side), (302, 20), (286, 150), 7)),
        (14.0, np.hypot(y - 318, side - 170) - 22),
        (10.0 if behind else 3.0, ellipsoid((y, side), (410, 118), (62, 30))),
        (6.0, capsule((y, side), (330, 186), (610, 212), 11)),
        (9.0, np.hypot(y - 622, side - 215) - 15),
        (4.5, capsule((y, side), (630, 218), (850, 252), 9)),
        (5.5, capsule((y, side), (870, 256), (940, 268), 16)),
        (15.0, np.maximum(np.abs(np.hypot((y - 880) / 1.05, side - 62) - 62) - 13, y - 930)),
        (17.0 if behind else 6.0, ellipsoid((y, side), (880, 22), (46, 20))),
        (13.0, np.hypot(y - 960, side - 104) - 20),
        (5.0, capsule((y, side), (960, 106), (1320, 78), 13)),
        (14.0, np.hypot((y - 1345) / 1.15, side - 76) - 25),
        (5.0, capsule((y, side), (1370, 74), (1690, 66), 12)),
        (9.0, np.hypot((y - 1705) / 0.8, side - 68) - 18),
        (6.0, ellipsoid((y, side), (1752, 76), (22, 26))),
    ]
