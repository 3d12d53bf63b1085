"""How long a DICOM series takes to load, against reading its files and decoding their pixels once, in one run.

    python -m tests.benchmarks.dicom_speed [--slices 300] [--size 512] [--repeats 5]

The series is made here: headers of about forty values, files in no order. The reference is pydicom reading each
file and decoding its pixels into one array; SimpleITK's series reader is shown beside it. The bar is 1.3 times
the reference, and three times the volume's own size in memory.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from flexict_core import load_volume
from tests.benchmarks.measurements import Measurement, record
from tests.benchmarks.recipe_speed import times, verdict


def write_series(folder: Path, *, slices: int, size: int) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 2500, (size, size)).astype(np.int16)
    for k in range(slices):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", f"1.2.3.4.{k}"
        ds.Modality, ds.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.1", "1.2.2", "1.2.3"
        ds.PatientID, ds.PatientName, ds.StudyDate, ds.StudyTime = "P1", "P^1", "20200101", "101010"
        ds.Manufacturer, ds.ManufacturerModelName, ds.SeriesDescription = "ACME", "Scan 1", "benchmark"
        ds.KVP, ds.SliceThickness, ds.ConvolutionKernel, ds.Exposure = 120, 1.25, "B30", 100
        ds.XRayTubeCurrent, ds.GantryDetectorTilt, ds.TableHeight = 200, 0, 120.5
        ds.ReconstructionDiameter, ds.DataCollectionDiameter, ds.PatientPosition = 400, 500, "HFS"
        ds.SeriesNumber, ds.AcquisitionNumber, ds.InstanceNumber = 2, 1, k + 1
        ds.ImagePositionPatient = [-200, -200, k * 1.25]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.Rows, ds.Columns = [0.78, 0.78], size, size
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 1
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, -1024, "HU"
        ds.WindowCenter, ds.WindowWidth, ds.PixelPaddingValue = 40, 400, -2000
        ds.PixelData = np.roll(noise, k, axis=0).tobytes()
        ds["PixelData"].VR = "OW"
        ds.save_as(folder / f"{37 * k % slices:04d}-{k}", enforce_file_format=True)


def pydicom_pixels(files: list[Path]) -> np.ndarray:
    first = dcmread(files[0]).pixel_array
    out = np.empty((len(files), *first.shape), first.dtype)
    for k, file in enumerate(files):
        out[k] = dcmread(file).pixel_array
    return out


def simpleitk_series(files: list[Path]) -> np.ndarray:
    import SimpleITK as sitk  # noqa: N813

    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # file names are in no order
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(file) for file in files])
    return sitk.GetArrayViewFromImage(reader.Execute())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_series(folder, slices=options.slices, size=options.size)
        files = sorted(folder.iterdir())
        small = [file for file in files if file.name.endswith(("-0", "-1"))][:2]
        load_volume(small, on_gaps="resample")  # imports
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        volume = load_volume(folder)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / volume.nbytes
        wall, cpu = times(
            [lambda: load_volume(folder), lambda: pydicom_pixels(files), lambda: simpleitk_series(files)],
            options.repeats,
        )
    fast, small = wall[0] <= 1.3 * wall[1], grown <= 3
    print(
        f"load_volume                  {wall[0]:.3f} s, {wall[0] / wall[1]:.2f} x the reference (bar 1.3) {verdict(fast)}; "
        f"processor time {cpu[0] / cpu[1]:.2f} x"
    )
    print(f"pydicom, read and decode     {wall[1]:.3f} s")
    print(f"SimpleITK, series reader     {wall[2]:.3f} s")
    print(f"memory                       {grown:.2f} x the volume (bar 3) {verdict(small)}")
    record(
        Measurement("a series", wall[0] / wall[1], "× pydicom's reading and decoding", 1.3),
        Measurement("memory", grown, "× the volume", 3),
    )
    raise SystemExit(int(not (fast and small)))


if __name__ == "__main__":
    main()
