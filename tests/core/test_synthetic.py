"""CT phantoms: what was planted is found again in the voxels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from scipy.signal import correlate2d
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from flexict_core.errors import InputError
from flexict_core.phantom.scan import scan
from flexict_core.phantom.spec import LOBES
from flexict_core.phantom.tumour import LATITUDES, LONGITUDES, Tumour, shape_tumour
from flexict_core.synthetic import SCANNERS, PhantomSpec, Scanner, make_phantom
from flexict_core.volume import Volume

Phantom = tuple[Volume, Volume, dict[str, Any]]
SMOOTH = PhantomSpec(tumour_diameter_mm=44, margin_irregularity=0.05, heterogeneity=0.05)
ROUGH = replace(
    SMOOTH, margin_irregularity=0.95, heterogeneity=0.95, scanner=SCANNERS["S2"], tumour_lobe="LLL"
)


@pytest.fixture(scope="module")
def smooth() -> Phantom:
    return make_phantom(SMOOTH, seed=4)


@pytest.fixture(scope="module")
def rough() -> Phantom:
    return make_phantom(ROUGH, seed=4)


@pytest.fixture(params=["smooth", "rough"])
def phantom(request: pytest.FixtureRequest) -> Phantom:
    return request.getfixturevalue(request.param)


def _mm3(volume: Volume) -> float:
    return float(np.prod(volume.spacing_zyx_mm))


def _points(mask: Volume) -> np.ndarray:
    return mask.index_to_world(np.argwhere(mask.array)[:, ::-1].astype(float))


def test_the_closed_form_volume_is_that_of_a_ball_and_of_an_ellipsoid() -> None:
    def volume(rho: np.ndarray) -> float:
        return Tumour(rho, np.zeros((0, 3)), np.zeros(0), 1, 0, 0).volume_mm3

    ball = np.full((LATITUDES, LONGITUDES), 12.0)
    assert volume(ball) == pytest.approx(4 / 3 * np.pi * 12**3, rel=1e-6)
    cosine = np.cos(np.linspace(0, np.pi, LATITUDES))[:, None] + 0 * ball
    spheroid = 1 / np.sqrt((1 - cosine**2) / 9**2 + cosine**2 / 15**2)
    assert volume(spheroid) == pytest.approx(4 / 3 * np.pi * 9 * 9 * 15, rel=1e-5)


def test_the_mask_holds_the_volume_of_the_closed_form(phantom: Phantom) -> None:
    _, mask, truth = phantom
    assert mask.array.sum() * _mm3(mask) == pytest.approx(truth["tumour_volume_mm3"], rel=0.02)


def test_the_mask_measures_the_diameter_asked_for(phantom: Phantom) -> None:
    _, mask, truth = phantom
    points = _points(mask)
    longest = pdist(points[ConvexHull(points).vertices]).max()
    # From centre to centre a body loses at most one voxel's diagonal.
    diagonal = float(np.linalg.norm(mask.spacing_zyx_mm))
    assert truth["tumour_diameter_mm"] - diagonal <= longest <= truth["tumour_diameter_mm"] + 0.5


@pytest.mark.parametrize("irregularity", [0.0, 0.3, 0.6, 1.0])
def test_the_diameter_holds_for_every_margin(irregularity: float) -> None:
    spec = PhantomSpec(tumour_diameter_mm=30, margin_irregularity=irregularity)
    tumour = shape_tumour(spec, np.random.default_rng(1))
    v, u = np.meshgrid(np.linspace(0, np.pi, LATITUDES), np.arange(LONGITUDES) * np.pi / 90, indexing="ij")
    surface = tumour.rho[..., None] * np.stack([np.sin(v) * np.cos(u), np.sin(v) * np.sin(u), np.cos(v)], -1)
    points = surface[::2, ::2].reshape(-1, 3)
    assert pdist(points[ConvexHull(points).vertices]).max() == pytest.approx(30, rel=0.01)


def test_irregularity_and_heterogeneity_show_in_the_voxels(smooth: Phantom, rough: Phantom) -> None:
    def solidity(p: Phantom) -> float:
        return float(p[1].array.sum() * _mm3(p[1]) / ConvexHull(_points(p[1])).volume)

    def values(p: Phantom) -> np.ndarray:
        return p[0].array[ndimage.binary_erosion(p[1].array, iterations=2)]

    assert solidity(smooth) > solidity(rough) + 0.08
    assert 55 < values(smooth).mean() < 80  # enhancing tissue
    assert values(rough).mean() < 40  # necrosis
    # Not noise: the scanner of the heterogeneous tumour is the quieter one.
    assert rough[2]["noise_sd_hu"] < smooth[2]["noise_sd_hu"]
    assert values(rough).std() > 1.3 * rough[2]["noise_sd_hu"]


def test_tissues_have_their_densities(phantom: Phantom) -> None:
    ct, _, truth = phantom
    hu, litre = ct.array, _mm3(ct) / 1e6
    assert ct.array.dtype == np.int16
    assert -1024 <= hu.min() < -990
    labels, _ = ndimage.label(ndimage.gaussian_filter(hu.astype(np.float32), 0.8) < -500)
    border = np.unique(np.concatenate([labels[:, 0].ravel(), labels[:, -1].ravel(), labels[:, :, 0].ravel()]))
    lungs = (labels > 0) & ~np.isin(labels, border)
    assert 2.0 < lungs.sum() * litre < 8.0
    assert -900 < np.median(hu[lungs]) < -800
    assert abs(hu[:, :6, :6].mean() + 1000) < 8  # air in the corner
    body = ndimage.binary_fill_holes(hu > -300)
    fat, muscle = ((hu > -150) & (hu < -60) & body).sum(), ((hu > 20) & (hu < 90) & body).sum()
    bone = (hu > 350) & body
    assert fat * litre > 2
    assert muscle * litre > 3
    assert 0.3 < bone.sum() * litre < 2.5
    assert _aorta(ct, truth).mean() == pytest.approx(truth["blood_hu"] + 5, abs=6)


def test_the_body_lies_within_the_field_of_view(phantom: Phantom) -> None:
    hu = phantom[0].array
    assert max(hu[:, :, 0].mean(), hu[:, :, -1].mean(), hu[:, 0].mean()) < -930
    assert hu[:, 0].max() < -800


def test_noise_in_an_even_region_is_the_scanners(phantom: Phantom) -> None:
    ct, _, truth = phantom
    assert _aorta(ct, truth).std() == pytest.approx(truth["noise_sd_hu"], rel=0.2)


def _aorta(ct: Volume, truth: dict[str, Any]) -> np.ndarray:
    """Voxels well inside the aorta, over 12 mm of its length."""
    index = np.argwhere(np.ones(ct.shape_zyx, bool))[:, ::-1]
    offset = ct.index_to_world(index.astype(float)) - truth["aorta_centre_mm"]
    near = (np.hypot(offset[:, 0], offset[:, 1]) < truth["aorta_radius_mm"] - 5) & (np.abs(offset[:, 2]) < 6)
    x, y, z = index[near].T
    return ct.array[z, y, x]


@pytest.mark.parametrize(("name", "sharp"), [("S1", True), ("S2", False)])
def test_the_kernel_sets_size_and_grain_of_the_noise(name: str, sharp: bool) -> None:
    scanner = SCANNERS[name]
    water = np.zeros((24, 64, 64), np.float32)
    hu = scan(water, scanner=scanner, width_mm=350, rng=np.random.default_rng(0)).astype(float)
    inner = hu[2:-2, 2:-2, 2:-2]
    assert inner.std() == pytest.approx(scanner.noise_sd_hu, rel=0.02)
    along_row = float(np.corrcoef(inner[:, :, 1:].ravel(), inner[:, :, :-1].ravel())[0, 1])
    # White noise through weights w has the autocorrelation of w with itself.
    weights = np.zeros((3, 3))
    weights[1, 1] = 1 + scanner.sharpness
    weights -= scanner.sharpness * np.outer([1, 2, 1], [1, 2, 1]) / 16
    overlap = correlate2d(weights, weights)
    assert along_row == pytest.approx(overlap[2, 3] / overlap[2, 2], abs=0.015)
    assert (along_row < -0.05) if sharp else (along_row > 0.05)


def test_the_sharp_kernel_keeps_an_edge_that_the_smooth_one_blurs() -> None:
    edge = np.zeros((4, 32, 32), np.float32)
    edge[:, :, 16:] = 100
    steepest = {
        name: np.abs(np.diff(scan(edge, scanner=replace(s, noise_sd_hu=0.0), width_mm=350, rng=_rng()))).max()
        for name, s in SCANNERS.items()
    }
    assert steepest["S1"] > 100 > steepest["S2"]


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_the_same_seed_gives_the_same_voxels_and_another_does_not(smooth: Phantom) -> None:
    again = make_phantom(SMOOTH, seed=4)
    np.testing.assert_array_equal(again[0].array, smooth[0].array)
    np.testing.assert_array_equal(again[1].array, smooth[1].array)
    assert again[2] == smooth[2]
    other = make_phantom(SMOOTH, seed=5)
    assert other[0].array.shape != smooth[0].array.shape or (other[0].array != smooth[0].array).any()


def test_the_grid_is_the_scanners(smooth: Phantom, rough: Phantom) -> None:
    for p, name in ((smooth, "S1"), (rough, "S2")):
        assert p[0].orientation == "LPS"
        assert p[0].same_grid(p[1])
        assert p[0].spacing_zyx_mm[0] == pytest.approx(SCANNERS[name].slice_thickness_mm)
        assert p[1].array.dtype == bool


def test_the_tumour_lies_in_its_lobe(smooth: Phantom, rough: Phantom) -> None:
    assert smooth[2]["tumour_centre_mm"][0] < 0  # right upper lobe: x grows to the patient's left
    assert rough[2]["tumour_centre_mm"][0] > 0
    for _, mask, truth in (smooth, rough):
        np.testing.assert_allclose(_points(mask).mean(axis=0), truth["tumour_centre_mm"], atol=5)
    height = [
        p[2]["tumour_centre_mm"][2] / (p[0].shape_zyx[0] * p[0].spacing_zyx_mm[0]) for p in (rough, smooth)
    ]
    assert height[0] < height[1]


def test_contact_with_the_pleura_is_kept_or_avoided() -> None:
    quick = Scanner("thick", slice_thickness_mm=5.0, noise_sd_hu=5.0, sharpness=0.0)
    spec = PhantomSpec(tumour_diameter_mm=24, scanner=quick)
    for lobe in LOBES:
        for touches in (True, False):
            _, mask, truth = make_phantom(replace(spec, tumour_lobe=lobe, pleural_contact=touches), seed=9)
            radius = (3 * truth["tumour_volume_mm3"] / (4 * np.pi)) ** (1 / 3)
            assert (truth["tumour_depth_mm"] < radius) is touches
            assert mask.array.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sex": "X"}, "sex 'X'"),
        ({"tumour_lobe": "MID"}, "tumour_lobe 'MID'.*RUL"),
        ({"tumour_diameter_mm": 300.0}, "tumour_diameter_mm is 300.0.*6 to 100"),
        ({"heterogeneity": 1.5}, "heterogeneity is 1.5"),
    ],
)
def test_impossible_patients_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PhantomSpec(**change)
