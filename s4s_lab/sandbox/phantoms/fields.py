"""Building blocks of the phantom images: smooth noise, soft-edged shapes, blurring. All lengths in mm."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating[Any]]


def axis(length_mm: float, count: int) -> Field:
    """Return the centres of `count` cells that cover `length_mm`, around zero [mm].

    Parameters
    ----------
    length_mm : float
        Extent [mm].
    count : int
        Number of cells.

    Returns
    -------
    ndarray of float32, shape (count,)
    """
    return ((np.arange(count) + 0.5) / count * length_mm - length_mm / 2).astype(np.float32)


def blur(field: Field, sigma: float | tuple[float, ...]) -> Field:
    """Return a field smoothed by a Gaussian, by way of its Fourier transform; edges wrap around.

    Parameters
    ----------
    field : ndarray of float32
        Any number of dimensions.
    sigma : float or tuple of float
        Width in cells, one for all axes or one for each.

    Returns
    -------
    ndarray of float32, same shape
    """
    widths = sigma if isinstance(sigma, tuple) else (sigma,) * field.ndim
    spectrum = np.fft.rfftn(field)
    for number, width in enumerate(widths):
        count = field.shape[number]
        last = number == field.ndim - 1
        frequency = np.fft.rfftfreq(count) if last else np.fft.fftfreq(count)
        shape = [1] * field.ndim
        shape[number] = -1
        spectrum *= np.exp(-2 * (np.pi * width * frequency) ** 2).reshape(shape)
    return np.fft.irfftn(spectrum, s=field.shape, axes=range(field.ndim)).astype(np.float32)


def smooth_noise(random: np.random.Generator, shape: tuple[int, ...], sigma: float | tuple[float, ...]) -> Field:
    """Return smooth random texture with mean 0 and standard deviation 1.

    Parameters
    ----------
    random : Generator
        Where the numbers come from.
    shape : tuple of int
        Shape of the result.
    sigma : float or tuple of float
        Size of its grains, in cells.

    Returns
    -------
    ndarray of float32
    """
    noise = blur(random.standard_normal(shape, dtype=np.float32), sigma)
    scaled: Field = (noise - noise.mean()) / max(float(noise.std()), 1e-6)
    return scaled


def soft(distance: Field, edge: float) -> Field:
    """Return 1 inside (negative distance), 0 outside, with a smooth edge.

    Parameters
    ----------
    distance : ndarray of float32
        Signed distance to a surface.
    edge : float
        Width of the edge, in the distance's unit.

    Returns
    -------
    ndarray of float32, same shape, from 0 to 1
    """
    inside: Field = (0.5 - 0.5 * np.tanh(distance / edge)).astype(np.float32)
    return inside


def ellipsoid(
    points: tuple[Field, ...], centre: tuple[float, ...], radii: tuple[float, ...], *, power: float = 2.0
) -> Field:
    """Return the approximate signed distance to an ellipsoid, negative inside [mm].

    Parameters
    ----------
    points : tuple of ndarray
        Coordinates, one array for each axis, broadcast against each other [mm].
    centre, radii : tuple of float
        One for each axis [mm].
    power : float
        2 for an ellipsoid; more makes it boxier.

    Returns
    -------
    ndarray of float32
    """
    terms = (np.abs((p - c) / r) ** power for p, c, r in zip(points, centre, radii, strict=True))
    total = sum(terms, start=np.float32(0))
    distance: Field = ((np.power(total, 1 / power) - 1) * min(radii)).astype(np.float32)
    return distance


def capsule(points: tuple[Field, Field], start: tuple[float, float], end: tuple[float, float], radius: float) -> Field:
    """Return the signed distance to a line with round ends in a plane, negative inside [mm].

    Parameters
    ----------
    points : tuple of two ndarrays
        Coordinates [mm].
    start, end : tuple of float
        Ends of the line [mm].
    radius : float
        Half its width [mm].

    Returns
    -------
    ndarray of float32
    """
    along = (end[0] - start[0], end[1] - start[1])
    offset = (points[0] - start[0], points[1] - start[1])
    length = max(along[0] ** 2 + along[1] ** 2, 1e-6)
    share = np.clip((offset[0] * along[0] + offset[1] * along[1]) / length, 0, 1)
    return (np.hypot(offset[0] - share * along[0], offset[1] - share * along[1]) - radius).astype(np.float32)


def union(*distances: Field) -> Field:
    """Return the distance to whatever is nearest.

    Parameters
    ----------
    *distances : ndarray of float32
        Signed distances, broadcast against each other.
    """
    nearest: Field = reduce(np.minimum, distances)
    return nearest


def overlap(*distances: Field) -> Field:
    """Return the distance to what lies inside all of them.

    Parameters
    ----------
    *distances : ndarray of float32
        Signed distances, broadcast against each other.
    """
    farthest: Field = reduce(np.maximum, distances)
    return farthest


def lay(base: Field, value: Field | float, where: Field) -> Field:
    """Return `base` with `value` laid over it where `where` is 1.

    Parameters
    ----------
    base : ndarray of float32
        What lies below.
    value : ndarray or float
        What is laid over it.
    where : ndarray of float32
        From 0 to 1.

    Returns
    -------
    ndarray of float32
    """
    return (base + (value - base) * where).astype(np.float32)
