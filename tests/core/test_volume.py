"""Volume: geometry and orientation, against planted world positions and nibabel's orientation functions."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flexict_core.errors import ImageError, InputError
from flexict_core.volume import Volume

ORIENTATIONS = ["".join(letters) for axes in permutations(("LR", "PA", "SI")) for letters in product(*axes)]


def rotation(angles: tuple[float, float, float]) -> np.ndarray:
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        c, s = np.cos(angle), np.sin(angle)
        a, b = [k for k in range(3) if k != axis]
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = c
        turn[a, b], turn[b, a] = -s, s
        matrix = matrix @ turn
    return matrix


@st.composite
def volumes(draw: st.DrawFn, max_tilt: float = np.pi) -> Volume:
    """Distinct voxel values on any grid: rotated, flipped, permuted, anisotropic."""
    shape = draw(st.tuples(*[st.integers(1, 4)] * 3))
    angles = draw(st.tuples(*[st.floats(-max_tilt, max_tilt)] * 3))
    spacing = draw(st.tuples(*[st.floats(0.2, 8)] * 3))
    order = draw(st.permutations(range(3)))
    signs = draw(st.tuples(*[st.sampled_from([-1, 1])] * 3))
    affine = np.eye(4)
    affine[:3, :3] = rotation(angles) @ (np.eye(3)[:, order] * signs) @ np.diag(spacing)
    affine[:3, 3] = draw(st.tuples(*[st.floats(-1500, 1500)] * 3))
    return Volume(np.arange(np.prod(shape)).reshape(shape), affine)


def every_index(volume: Volume) -> np.ndarray:
    """(n, 3) x, y, z in the order of array.ravel()."""
    return np.indices(volume.shape_zyx)[::-1].reshape(3, -1).T


def test_there_are_48_orientations() -> None:
    assert len(set(ORIENTATIONS)) == 48


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_every_orientation_keeps_values_at_their_world_positions(codes: str) -> None:
    # An LPS volume whose voxel at world (x, y, z) mm holds a value that names the position.
    x, y, z = np.meshgrid(10 + 2.0 * np.arange(4), -20 + 3.0 * np.arange(3), 5 + 1.5 * np.arange(5))
    values = (x + 1000 * y + 100_000 * z).transpose(2, 0, 1)
    lps = Volume(values, np.array([[2, 0, 0, 10], [0, 3, 0, -20], [0, 0, 1.5, 5], [0, 0, 0, 1.0]]))
    assert lps.orientation == "LPS"

    turned = lps.to_orientation(codes)

    assert turned.orientation == codes
    world = turned.index_to_world(every_index(turned))
    np.testing.assert_array_equal(turned.array.ravel(), world @ [1, 1000, 100_000])
    back = turned.to_orientation("LPS")
    np.testing.assert_array_equal(back.array, values)
    np.testing.assert_array_equal(back.affine, lps.affine)


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_orientation_and_flips_agree_with_nibabel(codes: str) -> None:
    rng = np.random.default_rng(0)
    volume = Volume(rng.normal(size=(4, 3, 5)), np.diag([2, 3, 1.5, 1.0])).to_orientation(codes)
    ras = np.diag([-1, -1, 1, 1]) @ volume.affine
    assert "".join(nib.aff2axcodes(ras)) == codes

    canonical = nib.as_closest_canonical(nib.Nifti1Image(volume.array.T, ras))
    mine = volume.to_orientation("RAS")
    np.testing.assert_array_equal(mine.array, np.asarray(canonical.dataobj).T)
    np.testing.assert_allclose(np.diag([-1, -1, 1, 1]) @ mine.affine, canonical.affine, atol=1e-12)


@given(volumes())
def test_index_to_world_and_back(volume: Volume) -> None:
    index = every_index(volume) + 0.25
    world = volume.index_to_world(index)
    homogeneous = np.c_[index, np.ones(len(index))] @ volume.affine.T
    np.testing.assert_allclose(world, homogeneous[:, :3], rtol=0, atol=1e-9)
    np.testing.assert_allclose(volume.world_to_index(world), index, rtol=0, atol=1e-8)
    np.testing.assert_array_equal(volume.index_to_world(index[0]), world[0])


@given(volumes(), st.sampled_from(ORIENTATIONS))
def test_turning_moves_no_voxel_in_the_world(volume: Volume, codes: str) -> None:
    turned = volume.to_orientation(codes)
    assert sorted(turned.spacing_zyx_mm) == pytest.approx(sorted(volume.spacing_zyx_mm))
    where = np.argsort(turned.array.ravel())
    np.testing.assert_allclose(
        turned.index_to_world(every_index(turned))[where],
        volume.index_to_world(every_index(volume)),
        rtol=0,
        atol=1e-9,
    )


@given(volumes(max_tilt=0.3))
def test_an_oblique_grid_takes_the_closest_orientation(volume: Volume) -> None:
    ras = np.diag([-1, -1, 1, 1]) @ volume.affine
    assert volume.orientation == "".join(nib.aff2axcodes(ras))
    assert volume.to_orientation("LPS").orientation == "LPS"


def test_a_tilted_gantry_is_oblique_and_a_rounded_header_is_not() -> None:
    array = np.zeros((2, 2, 2))
    tilted, rounded = np.eye(4), np.eye(4)
    tilted[:3, :3] = rotation((0.01, 0, 0))
    rounded[:3, :3] = rotation((1e-6, 0, 0))
    assert Volume(array, tilted).is_oblique
    assert not Volume(array, rounded).is_oblique
    assert not Volume(array, np.diag([-3, 2, 1, 1.0])).to_orientation("SAR").is_oblique


def test_geometry_is_in_array_order() -> None:
    volume = Volume(np.zeros((5, 4, 3), np.int16), np.diag([1.0, 2, 3, 1]), Path("a.nii"))
    assert volume.shape_zyx == (5, 4, 3)
    assert volume.spacing_zyx_mm == (3.0, 2.0, 1.0)
    assert volume.nbytes == 5 * 4 * 3 * 2


def test_same_grid_compares_the_outermost_voxels_in_mm() -> None:
    volume = Volume(np.zeros((5, 4, 101)), np.eye(4))
    for moved, apart in (
        ((0, 3, 5e-4), False),
        ((0, 3, 2e-3), True),
        ((0, 0, 1 + 5e-6), False),
        ((0, 0, 1 + 5e-5), True),
    ):
        row, column, value = moved
        affine = np.eye(4)
        affine[row, column] = value
        assert volume.same_grid(Volume(volume.array, affine)) is not apart
    assert volume.same_grid(Volume(volume.array, np.diag([1.005, 1, 1, 1])), tol_mm=0.6)
    assert not volume.same_grid(Volume(np.zeros((5, 4, 100)), np.eye(4)))


def test_it_is_frozen_pickles_and_takes_other_values() -> None:
    volume = Volume(np.zeros((2, 3, 4)), np.eye(4))
    with pytest.raises(FrozenInstanceError):
        volume.affine = np.eye(4)  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        volume.affine[0, 0] = 2
    assert pickle.loads(pickle.dumps(volume)).same_grid(volume)  # noqa: S301
    assert volume.with_array(np.ones((2, 3, 4), bool)).array.all()
    with pytest.raises(InputError, match=r"\(2, 3, 5\)"):
        volume.with_array(np.zeros((2, 3, 5)))


@pytest.mark.parametrize("codes", ["", "LP", "LPSA", "LPP", "LRS", "lps", "XYZ"])
def test_codes_that_are_no_orientation(codes: str) -> None:
    with pytest.raises(InputError, match="orientation"):
        Volume(np.zeros((2, 2, 2)), np.eye(4)).to_orientation(codes)


@pytest.mark.parametrize(
    ("shape", "affine", "message"),
    [
        ((4, 4), np.eye(4), "shape"),
        ((4, 4, 0), np.eye(4), "shape"),
        ((2, 2, 2, 2), np.eye(4), "shape"),
        ((2, 2, 2), np.eye(3), "4x4"),
        ((2, 2, 2), np.diag([1, np.nan, 1, 1]), "4x4"),
        ((2, 2, 2), np.diag([1, np.inf, 1, 1]), "4x4"),
        ((2, 2, 2), np.diag([1e30, 1, 1, 1]), "4x4"),
        ((2, 2, 2), np.diag([0, 1, 1, 1]), "singular"),
        ((2, 2, 2), np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "singular"),
    ],
)
def test_what_is_no_grid_is_refused(shape: tuple[int, ...], affine: np.ndarray, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        Volume(np.zeros(shape), affine)
