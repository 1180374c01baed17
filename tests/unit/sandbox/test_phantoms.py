"""The building blocks of the phantom images, by what geometry says of them."""

from __future__ import annotations

import numpy as np
import pytest

from s4s_lab.sandbox.phantoms.fields import axis, blur, capsule, ellipsoid, lay, overlap, smooth_noise, soft, union
from s4s_lab.sandbox.phantoms.planar import bone_scan, mammogram, ultrasound
from s4s_lab.sandbox.phantoms.trunk import Trunk, radiograph


def test_an_axis_covers_its_length_by_cell_centres() -> None:
    assert axis(10, 5).tolist() == pytest.approx([-4, -2, 0, 2, 4])
    assert axis(1, 4).tolist() == pytest.approx([-0.375, -0.125, 0.125, 0.375])


@pytest.mark.parametrize("shape", [(64,), (32, 48), (8, 16, 24)])
def test_blurring_keeps_the_sum_and_spreads_by_its_sigma(shape: tuple[int, ...]) -> None:
    point = np.zeros(shape, np.float32)
    middle = tuple(size // 2 for size in shape)
    point[middle] = 1
    spread = blur(point, 1.5)
    assert spread.sum() == pytest.approx(1, abs=1e-4)
    assert np.unravel_index(spread.argmax(), shape) == middle
    profile = spread.reshape(shape[0], -1).sum(axis=1)
    offsets = np.arange(shape[0]) - middle[0]
    assert np.sqrt((profile * offsets**2).sum() / profile.sum()) == pytest.approx(1.5, rel=0.02)


def test_a_field_blurred_by_nothing_stays() -> None:
    noise = np.random.default_rng(1).standard_normal((16, 16)).astype(np.float32)
    assert np.abs(blur(noise, 0) - noise).max() < 1e-5


def test_noise_is_centred_scaled_and_the_same_for_a_seed() -> None:
    one, two = (smooth_noise(np.random.default_rng(7), (64, 64), 3) for _ in range(2))
    assert (one == two).all()
    assert one.mean() == pytest.approx(0, abs=1e-5)
    assert one.std() == pytest.approx(1, abs=1e-3)
    # Neighbours in smooth noise are alike; in noise without grain they are not.
    assert np.corrcoef(one[:, :-1].ravel(), one[:, 1:].ravel())[0, 1] > 0.9


def test_distances_are_negative_inside_zero_on_the_surface_positive_outside() -> None:
    x, y = np.array([0.0, 30, 50]), np.array([0.0, 0, 0])
    assert ellipsoid((x, y), (0, 0), (30, 20)).tolist() == pytest.approx([-20, 0, 20 * (50 / 30 - 1)])
    line = capsule((np.array([0.0, 5, 20]), np.array([3.0, 7, 0])), (0, 0), (10, 0), 2)
    assert line.tolist() == pytest.approx([1, 5, 8])


def test_shapes_join_cut_and_cover() -> None:
    near, far = np.array([-1.0, 5.0]), np.array([2.0, -3.0])
    assert union(near, far).tolist() == [-1, -3]
    assert overlap(near, far).tolist() == [2, 5]
    edge = soft(np.array([-50.0, 0, 50]), 2)
    assert edge.tolist() == pytest.approx([1, 0.5, 0])
    assert lay(np.array([10.0, 10, 10]), 20, edge).tolist() == pytest.approx([20, 15, 10])


@pytest.mark.parametrize("view", ["PA", "LL"])
def test_a_radiograph_shows_lungs_darker_than_what_surrounds_them(view: str) -> None:
    image = radiograph(Trunk(3), view, 128)
    lungs = image[50:70, 30:45] if view == "PA" else image[50:70, 55:70]
    assert lungs.mean() < image[100:115, 50:80].mean()
    assert image[50:, 0].max() < 200


def test_an_ultrasound_shows_a_cyst_black_and_brightness_below_it() -> None:
    plain, cyst = ultrasound(1, "kidney", 128), ultrasound(1, "kidney", 128, cyst_mm=12)
    inside = (slice(48, 53), slice(39, 44))
    assert cyst[inside].mean() < 0.3 * plain[inside].mean()
    below = (slice(64, 72), slice(38, 45))
    assert cyst[below].mean() > plain[below].mean()
    assert max(plain[0, 0], plain[127, 0]) < 1


def test_a_bone_scan_counts_more_where_bone_takes_up_more() -> None:
    plain, hot = (bone_scan(1, "POST", (128, 64), hot=one) for one in (False, True))
    spine, leg = plain[30:55, 31:33].mean(), plain[75:85, 28:30].mean()
    assert spine > 2 * leg
    assert plain[:, :4].mean() < 0.2
    assert hot.sum() > plain.sum()
    assert (plain == np.rint(plain)).all()


def test_a_mass_in_a_mammogram_is_denser_than_the_breast_around_it() -> None:
    plain, mass = (mammogram(4, "L", "CC", (128, 96), lesion_mm=one) for one in (0.0, 8.0))
    where = (slice(54, 59), slice(35, 40))
    assert mass[where].mean() > plain[where].mean() + 300
    assert np.abs(mass[100:, 80:] - plain[100:, 80:]).max() < 100
