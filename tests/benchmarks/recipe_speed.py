"""How long a recipe takes on a 512 x 512 x 300 `.nii.gz`, against SimpleITK decoding the file alone, in one run.

    python -m tests.benchmarks.recipe_speed [--slices 300] [--repeats 5] [--data DIR]

Timed is all of it: the CT and its mask are read from their files, checked, and brought into the network's cube.
The scan is a real one where `--data` names a folder of real cohorts (its ct/crlm_1004_dicom, a liver CT of 41
slices, mirrored along z until it is long enough, with noise of its own in every slice), else a body of two densities
with CT noise. One thread each.
Peak memory is measured in a process of its own, over what it holds before the file is opened. Exits with 1 where
a bar is missed.
"""

from __future__ import annotations

import argparse
import os

for _name in (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
):
    os.environ.setdefault(_name, "1")  # before the libraries load

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from flexict_core import apply_recipe, load_mask, load_volume
from tests.benchmarks.measurements import Measurement, record

SPACING_XYZ_MM = (0.8, 0.8, 1.25)
NOISE_HU = 9.0
BARS = {  # what is timed → its recipes, and the most that it may take of the decoding time
    "roi_fixed_32": (("roi_fixed_32",), 1.6),
    "roi_fixed, two scales": (("roi_fixed_32", "roi_fixed_64"), 1.8),
    "default": (("default",), 1.8),
    "roi_adaptive": (("roi_adaptive",), None),
    "roi_adaptive, two scales": (("roi_adaptive", "roi_adaptive_2.0"), None),
}
MEMORY_BAR = 3.0


def scan(slices: int, data: Path | None) -> tuple[np.ndarray, str]:
    """HU (z, 512, 512) int16 with noise that differs from slice to slice, and what it is made of."""
    rng = np.random.default_rng(0)
    if data is not None:
        folder = data / "ct" / "crlm_1004_dicom"
        base, what = load_volume(folder).array, "a real liver CT, mirrored along z, with noise added"
    else:
        y, x = np.mgrid[-1:1:512j, -1:1:512j]
        body, spine = (x / 0.85) ** 2 + (y / 0.6) ** 2 < 1, x**2 + (y - 0.4) ** 2 < 0.01
        plane = np.where(spine, 350, np.where(body, 45, -1000))
        base, what = np.stack([plane] * 2), "a body of two densities with noise"
    there = np.arange(slices) % (2 * len(base))
    there = np.where(there < len(base), there, 2 * len(base) - 1 - there)
    out = np.empty((slices, 512, 512), np.int16)
    for plane, z in zip(out, there, strict=True):
        noisy = base[z] + rng.normal(0, NOISE_HU, base[z].shape).astype(np.float32)
        plane[:] = np.where(
            base[z] <= -1000, base[z], np.rint(noisy)
        )  # outside the field of view there is none
    return out, what


def write(folder: Path, slices: int, data: Path | None) -> tuple[Path, Path, str]:
    """CT and mask as nibabel writes them (gzip at its own level), stored towards R, A, S like most NIfTI files."""
    import nibabel as nib

    hu, what = scan(slices, data)
    z, y, x = np.ogrid[:slices, :512, :512]
    mask = ((z - slices // 2) * 1.25) ** 2 + ((y - 250) * 0.8) ** 2 + ((x - 180) * 0.8) ** 2 < 18**2
    affine = np.diag([*SPACING_XYZ_MM, 1.0])
    paths = folder / "ct.nii.gz", folder / "mask.nii.gz"
    for path, array in zip(paths, (hu, mask.astype(np.uint8)), strict=True):
        nib.save(nib.Nifti1Image(array.transpose(2, 1, 0), affine), path)
    return *paths, what


def run_recipes(ct: Path, mask: Path, recipes: Sequence[str]) -> list[np.ndarray]:
    volume = load_volume(ct)
    roi = load_mask(mask, reference=volume) if any(r.startswith("roi") for r in recipes) else None
    return [apply_recipe(volume, recipe, roi) for recipe in recipes]


def decode(path: Path) -> object:
    import SimpleITK as sitk  # noqa: N813

    return sitk.ReadImage(str(path))


def times(runs: Sequence[Callable[[], object]], repeats: int) -> np.ndarray:
    """[2, runs]: the shortest wall-clock and processor time of each, taken in turns, so that a busy machine slows
    all alike."""
    found = np.full((repeats, 2, len(runs)), np.inf)
    for row in found:
        for k, run in enumerate(runs):
            start, used = time.perf_counter(), time.process_time()
            run()
            row[:, k] = time.perf_counter() - start, time.process_time() - used
    return found.min(axis=0)


def peak_of(ct: Path, mask: Path, recipes: Sequence[str]) -> float:
    """Growth of a fresh process's peak memory, as a multiple of the volume's own bytes."""
    call = [sys.executable, "-m", "tests.benchmarks.recipe_speed", "--peak", str(ct), str(mask), *recipes]
    return float(subprocess.run(call, check=True, capture_output=True, text=True).stdout)


def print_peak(ct: Path, mask: Path, recipes: Sequence[str]) -> None:
    import nibabel  # noqa: F401
    import scipy.ndimage  # noqa: F401
    import SimpleITK as sitk  # noqa: N813

    sitk.GetArrayFromImage(sitk.Image(2, 2, 2, sitk.sitkInt16))  # libraries are no part of the volume
    before = peak_bytes()
    run_recipes(ct, mask, recipes)
    print((peak_bytes() - before) / load_volume(ct).nbytes)


def peak_bytes() -> int:
    """Most memory that this process has held. (getrusage would count what its parent held before.)"""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def verdict(hit: bool | None) -> str:
    return "no bar" if hit is None else "hit" if hit else "MISS"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of real cohorts")
    parser.add_argument("--peak", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print_peak(Path(options.peak[0]), Path(options.peak[1]), options.peak[2:])
        return
    missed = 0
    with tempfile.TemporaryDirectory() as name:
        ct, mask, what = write(Path(name), options.slices, options.data)
        shape, packed = load_volume(ct).array, ct.stat().st_size
        print(f"{what}: {shape.shape}, {packed / 1e6:.0f} MB packed, {shape.nbytes / 1e6:.0f} MB of voxels")
        runs: list[Callable[[], object]] = [lambda: decode(ct)]
        runs += [lambda r=recipes: run_recipes(ct, mask, r) for recipes, _ in BARS.values()]
        runs += [lambda: load_volume(ct), lambda: load_mask(mask)]
        for run in runs:
            run()  # imports, and the disk's cache
        wall, cpu = times(runs, options.repeats)
        print(f"{'SimpleITK decodes the file':28} {wall[0]:6.3f} s")
        for label, k in (("  load_volume alone", -2), ("  load_mask alone", -1)):
            print(f"{label:28} {wall[k]:6.3f} s  {wall[k] / wall[0]:5.2f} x")
        for k, (label, (recipes, bar)) in enumerate(BARS.items(), start=1):
            ratio, peak = wall[k] / wall[0], peak_of(ct, mask, recipes)
            fast, small = (None if bar is None else ratio <= bar), peak <= MEMORY_BAR
            bound = "" if bar is None else f" (bar {bar})"
            print(
                f"{label:28} {wall[k]:6.3f} s  {ratio:5.2f} x{bound} {verdict(fast)}; "
                f"processor time {cpu[k] / cpu[0]:.2f} x; "
                f"memory {peak:.2f} x the volume (bar {MEMORY_BAR:g}) {verdict(small)}",
                flush=True,
            )
            record(
                Measurement(label.strip(), ratio, "× SimpleITK's decoding", bar),
                Measurement(f"{label.strip()}, memory", peak, "× the volume", MEMORY_BAR),
            )
            missed += (fast is False) + (not small)
    raise SystemExit(int(missed > 0))


if __name__ == "__main__":
    main()
