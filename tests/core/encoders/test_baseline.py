"""The baseline encoder against closed forms, scikit-image's co-occurrence, and phantoms whose order is known."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy.special import ellipeinc, ellipkinc
from scipy.stats import entropy, norm
from skimage.feature import graycomatrix, graycoprops

from flexict_core.encoders.base import Encoder
from flexict_core.encoders.baseline import FEATURES, BaselineEncoder
from flexict_core.encoders.roi_region import resample_centred
from flexict_core.encoders.texture_features import co_occurrence, haralick
from flexict_core.errors import ImageError, MaskError
from flexict_core.io import load_mask, load_volume
from flexict_core.volume import Volume

CT_LIKE = (3.27, 0.977, 0.977)
ENCODER = BaselineEncoder()


def grid(spacing: tuple[float, float, float], half_mm: tuple[float, float, float]) -> list[np.ndarray]:
    """Coordinates z, y, x in mm of a box about the origin, off-centre by a fifth of a voxel."""
    axes = [
        (np.arange(2 * math.ceil(h / s)) - math.ceil(h / s) + 0.2) * s
        for h, s in zip(half_mm, spacing, strict=True)
    ]
    return list(np.meshgrid(*axes, indexing="ij", sparse=True))


def ball(radii_zyx_mm: tuple[float, float, float], spacing: tuple[float, float, float]) -> np.ndarray:
    coordinates = grid(spacing, tuple(r + 12 for r in radii_zyx_mm))
    return np.asarray(sum((c / r) ** 2 for c, r in zip(coordinates, radii_zyx_mm, strict=True)) <= 1)


def describe(
    hu: np.ndarray, mask: np.ndarray | None, spacing: tuple[float, float, float]
) -> dict[str, float]:
    volume = Volume(hu, np.diag([*spacing[::-1], 1.0]))
    vector = ENCODER.prepare(volume, None if mask is None else volume.with_array(mask))
    return dict(zip(FEATURES, vector.tolist(), strict=True))


def flat(mask: np.ndarray, spacing: tuple[float, float, float]) -> dict[str, float]:
    return describe(np.where(mask, 40, -100).astype(np.int16), mask, spacing)


def ellipsoid_surface(a: float, b: float, c: float) -> float:
    """Exact surface for a > b > c (Legendre)."""
    phi = math.acos(c / a)
    m = a**2 * (b**2 - c**2) / (b**2 * (a**2 - c**2))
    arc = ellipeinc(phi, m) * math.sin(phi) ** 2 + ellipkinc(phi, m) * math.cos(phi) ** 2
    return 2 * math.pi * (c**2 + a * b / math.sin(phi) * arc)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 0.7, 0.7), CT_LIKE, (5.0, 0.7, 0.7)])
def test_ball_has_the_size_and_shape_of_a_ball(spacing: tuple[float, float, float]) -> None:
    r = 20.0
    f = flat(ball((r, r, r), spacing), spacing)
    assert f["size_volume_ml"] == pytest.approx(4 / 3 * math.pi * r**3 / 1000, rel=0.01)
    assert f["size_surface_cm2"] == pytest.approx(4 * math.pi * r**2 / 100, rel=0.03)
    assert f["size_max_diameter_mm"] == pytest.approx(2 * r, abs=2.25)
    assert f["size_axial_diameter_mm"] == pytest.approx(2 * r, abs=1.5)
    assert f["size_axial_area_cm2"] == pytest.approx(math.pi * r**2 / 100, rel=0.02)
    assert f["size_height_mm"] == pytest.approx(2 * r, abs=spacing[0])
    assert f["size_inner_radius_mm"] == pytest.approx(r, abs=2.0)  # cubic voxels of 1.5 mm
    for axis in ("major", "middle", "least"):
        assert f[f"size_{axis}_axis_mm"] == pytest.approx(2 * r, rel=0.02)
    assert f["shape_sphericity"] > 0.97
    assert f["shape_solidity"] > 0.93
    assert f["shape_radial_variation"] < 0.03
    assert f["shape_surface_to_volume_per_mm"] == pytest.approx(3 / r, rel=0.03)
    assert f["shape_largest_part_fraction"] == 1
    assert f["margin_roughness_mm"] < 0.2


def test_slice_thickness_hardly_changes_shape() -> None:
    radii = (14.0, 18.0, 24.0)
    thin, thick = (flat(ball(radii, s), s) for s in ((0.8, 0.8, 0.8), (5.0, 0.8, 0.8)))
    for name in ("size_max_diameter_mm", "size_surface_cm2", "shape_sphericity", "shape_solidity"):
        assert thick[name] == pytest.approx(thin[name], rel=0.03), name


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), CT_LIKE])
@pytest.mark.parametrize("radii", [(20.0, 30.0, 50.0), (50.0, 30.0, 20.0), (30.0, 50.0, 20.0)])
def test_ellipsoid_axes_and_surface(
    radii: tuple[float, float, float], spacing: tuple[float, float, float]
) -> None:
    f = flat(ball(radii, spacing), spacing)
    assert f["size_major_axis_mm"] == pytest.approx(100, rel=0.01)
    assert f["size_middle_axis_mm"] == pytest.approx(60, rel=0.01)
    assert f["size_least_axis_mm"] == pytest.approx(40, rel=0.01)
    assert f["shape_elongation"] == pytest.approx(0.6, abs=0.01)
    assert f["shape_flatness"] == pytest.approx(0.4, abs=0.01)
    surface = ellipsoid_surface(50, 30, 20)
    assert f["size_surface_cm2"] == pytest.approx(surface / 100, rel=0.03)
    volume = 4 / 3 * math.pi * 50 * 30 * 20
    assert f["shape_sphericity"] == pytest.approx((36 * math.pi * volume**2) ** (1 / 3) / surface, abs=0.02)


def test_box_of_voxels_is_measured_to_the_voxel() -> None:
    mask = np.zeros((20, 40, 50), dtype=bool)
    mask[5:15, 8:28, 10:40] = True  # 10 x 20 x 30 voxels of 2 x 1 x 1 mm
    f = flat(mask, (2.0, 1.0, 1.0))
    assert f["size_volume_ml"] == pytest.approx(12.0)
    assert f["size_height_mm"] == pytest.approx(20)
    assert f["size_axial_area_cm2"] == pytest.approx(6.0)
    # between face middles, the longest way is from one end face to the other
    assert f["size_axial_diameter_mm"] == pytest.approx(math.hypot(19, 30), abs=0.01)
    sides = sorted((20.0, 20.0, 30.0))
    assert f["size_major_axis_mm"] == pytest.approx(2 * math.sqrt(5 * sides[-1] ** 2 / 12), rel=1e-6)


def test_two_parts_and_a_dent_are_seen() -> None:
    spacing = (1.0, 1.0, 1.0)
    whole = ball((15.0, 15.0, 15.0), spacing)
    dented = whole.copy()
    dented[:, whole.shape[1] // 2 - 3 : whole.shape[1] // 2 + 3, : whole.shape[2] // 2] = False
    split = whole.copy()
    split[:, :, whole.shape[2] // 2 - 2 : whole.shape[2] // 2 + 1] = False
    one, two, three = flat(whole, spacing), flat(dented, spacing), flat(split, spacing)
    assert two["shape_solidity"] < one["shape_solidity"] - 0.05
    assert two["shape_sphericity"] < one["shape_sphericity"] - 0.05
    assert three["shape_largest_part_fraction"] == pytest.approx(0.5, abs=0.05)


def test_spikes_raise_roughness_not_volume() -> None:
    spacing = (1.0, 1.0, 1.0)
    z, y, x = grid(spacing, (30.0, 30.0, 30.0))
    radius = np.sqrt(z**2 + y**2 + x**2)
    bumps = np.cos(8 * np.arctan2(y, x)) * np.cos(8 * np.arctan2(z, np.hypot(x, y)))
    rough = flat(radius <= 18 + 2.5 * bumps, spacing)
    smooth = flat(np.asarray(radius <= 18), spacing)
    assert rough["size_volume_ml"] == pytest.approx(smooth["size_volume_ml"], rel=0.05)
    assert rough["margin_roughness_mm"] > 3 * smooth["margin_roughness_mm"]
    assert rough["shape_radial_variation"] > 2 * smooth["shape_radial_variation"]


def test_intensities_are_those_of_the_masked_voxels() -> None:
    rng = np.random.default_rng(3)
    mask = ball((12.0, 12.0, 12.0), (1.0, 1.0, 1.0))
    hu = np.full(mask.shape, -900, np.int16)
    inside = rng.normal(35, 20, mask.sum()).round().astype(np.int16)
    hu[mask] = inside
    f = describe(hu, mask, (1.0, 1.0, 1.0))
    assert f["intensity_mean_hu"] == pytest.approx(inside.mean(), abs=1e-3)
    assert f["intensity_sd_hu"] == pytest.approx(inside.std(), abs=1e-3)
    for q, name in ((10, "p10"), (25, "p25"), (50, "median"), (75, "p75"), (90, "p90")):
        assert f[f"intensity_{name}_hu"] == pytest.approx(np.percentile(inside, q), abs=1e-3)
    assert abs(f["intensity_skewness"]) < 0.1
    assert abs(f["intensity_kurtosis_excess"]) < 0.2
    share = np.diff(norm.cdf(np.arange(-100, 201, 25) - 0.5, 35, 20))  # of whole HU, in bins of 25
    assert f["intensity_entropy_bits"] == pytest.approx(entropy(share, base=2), abs=0.03)
    assert f["intensity_soft_fraction"] == pytest.approx(((inside >= 20) & (inside < 100)).mean(), abs=1e-6)
    assert f["intensity_air_fraction"] == 0


def test_constant_region_has_no_texture() -> None:
    mask = ball((10.0, 10.0, 10.0), CT_LIKE)
    f = flat(mask, CT_LIKE)
    zero = ("intensity_sd_hu", "intensity_entropy_bits", "intensity_skewness", "intensity_kurtosis_excess")
    assert [f[name] for name in zero] == [0, 0, 0, 0]
    # inside, away from the blur of resampling, neighbours are equal
    hu = np.full(mask.shape, 40, np.int16)
    hu[0, 0, 0] = -1000
    f = describe(hu, mask, CT_LIKE)
    assert (
        f["texture_glcm_contrast"]
        == f["texture_glcm_entropy_bits"]
        == f["texture_glcm_dissimilarity_hu"]
        == 0
    )
    assert f["texture_glcm_energy"] == f["texture_glcm_homogeneity"] == f["texture_glcm_correlation"] == 1
    assert f["texture_fine_sd_hu"] == pytest.approx(0, abs=1e-3)
    assert f["margin_contrast_hu"] == pytest.approx(0, abs=1e-3)
    assert f["margin_overlap"] == 1


def test_co_occurrence_equals_scikit_image_in_a_plane() -> None:
    rng = np.random.default_rng(0)
    plane = rng.integers(0, 80, (17, 23))
    # in one slice the 13 directions are the four of the plane
    ours = co_occurrence(plane[None].astype(np.intp), distance=1)
    angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
    theirs = graycomatrix(plane.astype(np.uint8), [1], angles, levels=80, symmetric=True).sum(axis=3)[:, :, 0]
    np.testing.assert_array_equal(ours, theirs)


def test_texture_measures_equal_scikit_image() -> None:
    # one slice on the cubic grid itself, so that nothing is resampled; mask the full plane
    rng = np.random.default_rng(1)
    plane = (rng.integers(-4, 6, (24, 24)) * 25 + 10).astype(np.int16)  # 10 bins from -100 HU
    f = describe(plane[None], np.ones((1, 24, 24), dtype=bool), (1.5, 1.5, 1.5))
    levels = ((plane.astype(int) + 1000) // 25).astype(np.uint8)
    glcm = graycomatrix(levels, [1], [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4], levels=80, symmetric=True)
    p = glcm.sum(axis=3, keepdims=True).astype(float)
    for ours, theirs, scale in (
        ("contrast", "contrast", 1),
        ("dissimilarity_hu", "dissimilarity", 25),
        ("homogeneity", "homogeneity", 1),
        ("energy", "ASM", 1),
        ("correlation", "correlation", 1),
        ("entropy_bits", "entropy", 1 / math.log(2)),
    ):
        expected = scale * graycoprops(p, theirs)[0, 0]
        assert f[f"texture_glcm_{ours}"] == pytest.approx(expected, rel=1e-4), ours


def test_checkerboard_is_rougher_than_blobs_than_flat() -> None:
    spacing = (1.5, 1.5, 1.5)
    mask = ball((18.0, 18.0, 18.0), spacing)
    z, y, x = np.indices(mask.shape)
    checker = np.where((z + y + x) % 2, 90, 10).astype(np.int16)
    blobs = np.where((z // 8 + y // 8 + x // 8) % 2, 90, 10).astype(np.int16)
    level = np.full(mask.shape, 50, np.int16)
    a, b, c = (describe(hu, mask, spacing) for hu in (checker, blobs, level))
    assert a["texture_glcm_contrast"] > b["texture_glcm_contrast"] > c["texture_glcm_contrast"] == 0
    assert a["texture_glcm_correlation"] < 0 < b["texture_glcm_correlation"] < 1
    assert a["texture_fine_sd_hu"] > b["texture_fine_sd_hu"] > c["texture_fine_sd_hu"]
    assert b["texture_coarse_sd_hu"] > a["texture_coarse_sd_hu"] + 3
    assert a["intensity_sd_hu"] == pytest.approx(
        b["intensity_sd_hu"], rel=0.05
    )  # one histogram, another order


def test_margin_follows_the_blur_of_the_edge() -> None:
    spacing = (1.0, 1.0, 1.0)
    z, y, x = grid(spacing, (32.0, 32.0, 32.0))
    depth = 20 - np.sqrt(z**2 + y**2 + x**2)
    mask = np.asarray(depth >= 0)
    found = []
    for width in (1.0, 3.0, 8.0):
        hu = -800 + 840 / (1 + np.exp(-4 * depth / width))  # slope at the edge: 840 / width
        found.append(describe(hu.astype(np.float32), mask, spacing))
    slopes = [f["margin_gradient_hu_per_mm"] for f in found]
    assert slopes[0] > slopes[1] > slopes[2]
    assert slopes[2] == pytest.approx(840 / 8, rel=0.12)  # differences reach over 3 mm
    for f in found:  # lit from inside everywhere: the net fall is all of it
        assert f["margin_net_gradient_hu_per_mm"] == pytest.approx(f["margin_gradient_hu_per_mm"], rel=0.02)
    assert found[0]["margin_contrast_hu"] == pytest.approx(840, rel=0.2)
    assert found[0]["margin_contrast_hu"] > found[2]["margin_contrast_hu"]
    assert found[0]["margin_overlap"] < 0.05
    assert found[0]["margin_rim_hu"] > found[0]["margin_shell_hu"]


def test_necrotic_centre_is_darker_than_the_rim() -> None:
    spacing = (1.0, 1.0, 1.0)
    mask = ball((18.0, 18.0, 18.0), spacing)
    core = np.zeros_like(mask)
    core[6:-6, 6:-6, 6:-6] = ball((12.0, 12.0, 12.0), spacing)
    f = describe(np.where(core, 5, np.where(mask, 80, -80)).astype(np.int16), mask, spacing)
    assert f["intensity_core_minus_rim_hu"] < -50
    assert f["intensity_fluid_fraction"] == pytest.approx((12 / 18) ** 3, abs=0.02)


def noisy_case() -> tuple[Volume, Volume]:
    rng = np.random.default_rng(5)
    mask = ball((9.0, 14.0, 11.0), (2.5, 0.8, 0.9))
    mask[:, :, : mask.shape[2] // 2 - 4] = False
    hu = np.where(mask, 45, -60) + rng.normal(0, 15, mask.shape)
    volume = Volume(hu.astype(np.int16), np.diag([0.9, 0.8, 2.5, 1.0]))
    return volume, volume.with_array(mask)


@pytest.mark.parametrize("codes", ["RAS", "LPI", "SLP", "ILA", "PSR"])
def test_the_orientation_of_the_file_does_not_matter(codes: str) -> None:
    volume, roi = noisy_case()
    expected = ENCODER.prepare(volume, roi)
    stored = ENCODER.prepare(volume.to_orientation(codes), roi.to_orientation(codes))
    np.testing.assert_array_equal(stored, expected)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_mirrored_patient_has_the_same_numbers(axis: int) -> None:
    volume, roi = noisy_case()
    expected = ENCODER.prepare(volume, roi)
    mirrored = ENCODER.prepare(
        volume.with_array(np.flip(volume.array, axis)), roi.with_array(np.flip(roi.array, axis))
    )
    np.testing.assert_allclose(mirrored, expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (5.0, 0.7, 0.7)])
@pytest.mark.parametrize("size", [(1, 1, 1), (1, 1, 2), (1, 3, 3), (2, 2, 2)])
def test_tiny_regions_are_finite(size: tuple[int, int, int], spacing: tuple[float, float, float]) -> None:
    mask = np.zeros((9, 21, 21), dtype=bool)
    mask[tuple(slice(4, 4 + n) for n in size)] = True
    hu = np.random.default_rng(0).normal(0, 50, mask.shape).astype(np.int16)
    f = describe(hu, mask, spacing)
    assert all(math.isfinite(v) for v in f.values())
    assert f["size_volume_ml"] == pytest.approx(math.prod(size) * math.prod(spacing) / 1000, rel=1e-5)
    assert 0 < f["shape_flatness"] <= f["shape_elongation"] <= 1
    assert 0 < f["shape_sphericity"] <= 1


def test_region_at_the_edge_and_region_that_fills_the_volume_are_finite() -> None:
    hu = np.random.default_rng(0).normal(0, 50, (12, 14, 16)).astype(np.int16)
    corner = np.zeros(hu.shape, dtype=bool)
    corner[:5, :6, :7] = True
    everything = np.ones(hu.shape, dtype=bool)
    assert all(math.isfinite(v) for v in describe(hu, corner, (2.0, 1.0, 1.0)).values())
    full = describe(hu, everything, (2.0, 1.0, 1.0))
    assert all(math.isfinite(v) for v in full.values())
    assert full["margin_contrast_hu"] == full["margin_gradient_hu_per_mm"] == full["margin_roughness_mm"] == 0


def test_without_a_mask_the_body_is_described() -> None:
    spacing = (3.0, 3.0, 3.0)
    shape = (40, 80, 100)
    z, y, x = np.indices(shape) - (np.array(shape)[:, None, None, None] - 1) / 2
    body = (y / 30) ** 2 + (x / 40) ** 2 <= 1
    lung = body & ((y / 15) ** 2 + ((np.abs(x) - 18) / 12) ** 2 <= 1) & (np.abs(z) < 25)
    hu = np.where(lung, -850, np.where(body, 30, -1000)).astype(np.int16)
    hu[:, 78:, :20] = 200  # the table, apart from the body
    f = describe(hu, None, spacing)
    assert f["size_volume_ml"] == pytest.approx(body.sum() * 0.027, rel=1e-6)
    assert f["size_height_mm"] == 120
    assert f["intensity_air_fraction"] == pytest.approx(lung.sum() / body.sum(), abs=1e-6)
    assert f["intensity_bright_fraction"] == 0
    fine = describe(np.repeat(np.repeat(hu, 2, 1), 2, 2), None, (3.0, 1.5, 1.5))
    assert fine["size_volume_ml"] == pytest.approx(f["size_volume_ml"], rel=0.02)


def test_what_cannot_be_described_is_refused() -> None:
    volume, roi = noisy_case()
    with pytest.raises(MaskError, match="empty"):
        ENCODER.prepare(volume, roi.with_array(np.zeros_like(roi.array)))
    shifted = roi.affine.copy()
    shifted[0, 3] += 5
    for other in (Volume(roi.array[:-1], roi.affine), Volume(roi.array, shifted)):
        with pytest.raises(MaskError, match="grid"):
            ENCODER.prepare(volume, other)
    with pytest.raises(ImageError, match="body"):
        ENCODER.prepare(volume.with_array(np.full_like(volume.array, -1000)), None)


def test_it_is_an_encoder_whose_dimensions_have_names() -> None:
    assert isinstance(ENCODER, Encoder)
    assert ENCODER.dim == len(FEATURES) == len(ENCODER.feature_names or ())
    assert 40 <= ENCODER.dim <= 60
    assert {name.split("_")[0] for name in FEATURES} == {"size", "shape", "intensity", "texture", "margin"}
    again = pickle.loads(pickle.dumps(ENCODER))  # noqa: S301
    volume, roi = noisy_case()
    one, two = ENCODER.prepare(volume, roi), again.prepare(volume, roi)
    np.testing.assert_array_equal(one, two)
    batch = ENCODER.encode([one, two])
    assert batch.shape == (2, ENCODER.dim)
    assert batch.dtype == np.float32
    assert ENCODER.spec() == again.spec()


@pytest.mark.shared_data
def test_sarcoma_is_measured_as_its_voxels_say(shared: Path) -> None:
    import nibabel as nib

    case = shared / "data" / "sts" / "STS_001"
    volume = load_volume(case / "CT_image.nii.gz")
    roi = load_mask(case / "CT_mask.nii.gz", label=1, reference=volume)
    f = dict(zip(FEATURES, ENCODER.prepare(volume, roi).tolist(), strict=True))
    image, labels = nib.load(case / "CT_image.nii.gz"), nib.load(case / "CT_mask.nii.gz")
    inside = np.asarray(image.dataobj)[np.asarray(labels.dataobj) == 1]
    assert f["size_volume_ml"] == pytest.approx(
        inside.size * math.prod(labels.header.get_zooms()) / 1000, rel=1e-5
    )
    assert f["intensity_mean_hu"] == pytest.approx(inside.mean(), abs=0.01)
    assert f["intensity_p90_hu"] == pytest.approx(np.percentile(inside, 90), abs=0.01)
    assert 0.8 < f["shape_sphericity"] < 1


@pytest.mark.shared_data
def test_lung_tumour_agrees_with_the_image_biomarker_standard(shared: Path) -> None:
    """IBSI reference values of this very patient, configuration C (2 mm, bins of 25 HU), with their tolerances
    where the definition is the same: Zwanenburg et al., Radiology 2020, doi 10.1148/radiol.2020191145."""
    volume, roi = ibsi_case(shared)
    f = dict(zip(FEATURES, ENCODER.prepare(volume, roi).tolist(), strict=True))
    assert f["intensity_mean_hu"] == pytest.approx(-49.0, abs=2.9)
    assert f["intensity_skewness"] == pytest.approx(-2.14, abs=0.05)
    assert f["intensity_kurtosis_excess"] == pytest.approx(3.53, abs=0.23)
    assert f["size_max_diameter_mm"] == pytest.approx(125, abs=1)
    assert f["shape_solidity"] == pytest.approx(0.834, abs=0.01)
    assert f["shape_elongation"] == pytest.approx(0.879, abs=0.01)
    assert f["shape_flatness"] == pytest.approx(0.760, abs=0.01)
    for axis, ibsi in (("major", 93.3), ("middle", 82.0), ("least", 70.9)):  # IBSI: 4 √λ, here 2 √(5 λ)
        assert f[f"size_{axis}_axis_mm"] * 4 / math.sqrt(20) == pytest.approx(ibsi, rel=0.015)


@pytest.mark.shared_data
def test_co_occurrence_agrees_with_the_image_biomarker_standard(shared: Path) -> None:
    volume, roi = ibsi_case(shared)
    spacing = volume.spacing_zyx_mm
    size = [math.ceil(n * s / 2) for n, s in zip(volume.shape_zyx, spacing, strict=True)]
    hu = resample_centred(volume.array, spacing, size, 2.0).round()
    inside = resample_centred(roi.array.astype(np.float32), spacing, size, 2.0) >= 0.5
    inside &= (hu >= -1000) & (hu <= 400)
    levels = np.where(inside, (hu + 1000) // 25, -1).astype(np.intp)
    measures = haralick(co_occurrence(levels, distance=1))
    assert measures["contrast"] == pytest.approx(19.1, abs=0.05)
    assert measures["dissimilarity_hu"] / 25 == pytest.approx(2.16, abs=0.005)
    assert measures["homogeneity"] == pytest.approx(0.548, abs=0.0005)
    assert measures["energy"] == pytest.approx(0.0447, abs=0.00005)
    assert measures["correlation"] == pytest.approx(0.871, abs=0.0005)
    assert measures["entropy_bits"] == pytest.approx(6.42, abs=0.005)


def ibsi_case(shared: Path) -> tuple[Volume, Volume]:
    folder = shared / "data" / "ct" / "ibsi_phantom"
    volume = load_volume(folder / "phantom.nii.gz")
    return volume.to_orientation("LPS"), load_mask(folder / "mask.nii.gz", reference=volume).to_orientation(
        "LPS"
    )
