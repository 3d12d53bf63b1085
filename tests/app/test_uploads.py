"""Uploads: what is taken, what is refused before it is decoded, and that nothing stays on the disk."""

from __future__ import annotations

import gzip
import io
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from app import uploads
from app.uploads import digest, read_upload
from flexict_core.errors import ImageError, InputError, MaskError
from tests.small_dicom import CtSeries


@dataclass
class Sent:
    name: str
    content: bytes

    def getvalue(self) -> bytes:
        return self.content


@pytest.fixture(autouse=True)
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Where temporary folders go; after every test it is as empty as before."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def nifti(values: np.ndarray, affine: np.ndarray | None = None) -> bytes:
    image = nib.Nifti1Image(values, np.diag([-2.0, -2.0, 3.0, 1.0]) if affine is None else affine)
    return gzip.compress(image.to_bytes())


@pytest.fixture
def ct(planted_store: Any) -> Sent:
    return Sent("a scan.nii.gz", (planted_store.images / "P-030.nii.gz").read_bytes())


@pytest.fixture
def mask(planted_store: Any) -> Sent:
    return Sent("its mask.nii.gz", (planted_store.images / "P-030_mask.nii.gz").read_bytes())


@pytest.fixture
def dicom(tmp_path: Path) -> tuple[CtSeries, dict[str, bytes]]:
    series = CtSeries()
    series.write(tmp_path / "series")
    return series, {p.name: p.read_bytes() for p in sorted((tmp_path / "series").iterdir())}


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_a_ct_and_its_mask_are_read_as_the_stores_files_are(ct: Sent, mask: Sent, planted_store: Any) -> None:
    from app.components.ct_planes import open_case

    got = read_upload(ct, mask)
    expected = open_case(
        planted_store.images / "P-030.nii.gz", planted_store.images / "P-030_mask.nii.gz", mask_label=1
    )
    assert got.name == "a scan.nii.gz"
    assert got.case.mask is not None
    np.testing.assert_array_equal(got.case.volume.array, expected.volume.array)
    np.testing.assert_array_equal(got.case.mask.array, expected.mask.array)
    assert got.case.native is not None
    assert got.case.native[0].orientation == "LPS"
    assert got.sha256 == digest(ct, mask) != digest(ct, None)


def test_a_zip_of_dicom_is_one_volume_whatever_its_names_say(
    dicom: tuple[CtSeries, dict[str, bytes]], disk: Path
) -> None:
    series, files = dicom
    evil = {f"../../{i}/../../../etc/{name}": content for i, (name, content) in enumerate(files.items())}
    evil |= {"__MACOSX/._a": b"junk", ".DS_Store": b"junk"}
    content = zipped(evil)
    link = zipfile.ZipInfo("a link")
    link.external_attr = 0o120777 << 16
    buffer = io.BytesIO(content)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    got = read_upload(Sent("series.zip", buffer.getvalue()))
    np.testing.assert_array_equal(got.case.volume.array, series.hu)
    assert not (disk.parent / "etc").exists()


@pytest.mark.parametrize(
    "name", ["scan.dcm", "scan.exe", "scan.tar.gz", "scan.mhd", "scan", "scan.nii.gz.html"]
)
def test_other_types_are_refused_by_name(name: str, ct: Sent) -> None:
    with pytest.raises(InputError, match="is not of a type that is read"):
        read_upload(Sent(name, ct.content))


def test_a_zip_is_no_mask(ct: Sent) -> None:
    with pytest.raises(InputError, match=r"\.nrrd, \.mha$"):
        read_upload(ct, Sent("mask.zip", zipped({"a": b"b"})))


def test_what_is_too_large_is_refused_before_it_is_decoded(
    ct: Sent, dicom: tuple[CtSeries, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(uploads, "open_case", refuse)
    with monkeypatch.context() as small:
        small.setattr(uploads, "MOST_MB", 0)
        with pytest.raises(InputError, match="at most 0 are taken"):
            read_upload(Sent("big.nii", bytes(2 << 20)))
    with monkeypatch.context() as small:
        small.setattr(uploads, "MOST_VOXELS", 1000)
        with pytest.raises(InputError, match="million voxels"):
            read_upload(ct)
        small.setattr(uploads, "MOST_VOXELS", 100)
        with pytest.raises(InputError, match="million pixels"):
            read_upload(Sent("series.zip", zipped(dicom[1])))
    with monkeypatch.context() as small:
        small.setattr(uploads, "_MOST_UNPACKED", 5000)
        bomb = zipped({"a": bytes(4000), "b": bytes(4000)})
        assert len(bomb) < 500
        with pytest.raises(InputError, match="unpacks to more than"):
            read_upload(Sent("bomb.zip", bomb))
        with pytest.raises(InputError, match="unpacks to more than"):
            read_upload(Sent("bomb.nii.gz", gzip.compress(bytes(6000))))
    with monkeypatch.context() as small:
        small.setattr(uploads, "MOST_FILES", 3)
        with pytest.raises(InputError, match="holds 6 files, at most 3"):
            read_upload(Sent("series.zip", zipped(dicom[1])))


def test_a_header_that_claims_too_much_is_refused() -> None:
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((30000, 30000, 30000))
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    header.set_sform(np.eye(4), code=1)
    with pytest.raises(InputError, match="27,000,000 million voxels"):
        read_upload(Sent("claim.nii.gz", gzip.compress(header.binaryblock + bytes(1000))))


def test_a_header_that_points_elsewhere_reads_nothing(tmp_path: Path) -> None:
    secret = tmp_path / "secret.raw"
    secret.write_bytes(bytes(8 * 8 * 8 * 2))
    nrrd = (
        "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 8 8 8\n"
        "space directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\nencoding: raw\nendian: little\n"
        f"data file: {secret}\n\n"
    )
    mha = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\n"
        f"ElementSpacing = 1 1 1\nDimSize = 8 8 8\nElementType = MET_SHORT\nElementDataFile = {secret}\n"
    )
    for name, text in (("a.nrrd", nrrd), ("a.mha", mha)):
        with pytest.raises(ImageError, match="outside"):
            read_upload(Sent(name, text.encode()))


def test_damaged_files_say_so_under_their_own_name(ct: Sent, mask: Sent, disk: Path) -> None:
    for name, content in (
        ("cut.nii.gz", ct.content[:-200]),
        ("noise.nii.gz", b"\x1f\x8b" + bytes(50)),
        ("empty.nii", b""),
        ("words.mha", b"no image"),
        ("none.zip", zipped({"readme.txt": b"hello"})),
    ):
        with pytest.raises(ImageError) as caught:
            read_upload(Sent(name, content))
        assert str(disk) not in str(caught.value)
        assert name in str(caught.value)
    with pytest.raises(InputError, match=r"'torn\.zip' cannot be unpacked"):
        read_upload(Sent("torn.zip", zipped({"a": b"b" * 1000})[:-30]))
    with pytest.raises(InputError, match="holds no file"):
        read_upload(Sent("hollow.zip", zipped({})))
    empty = nifti(np.zeros((24, 20, 16), np.uint8))
    with pytest.raises(MaskError, match=r"nothing drawn\.nii\.gz"):
        read_upload(ct, Sent("nothing drawn.nii.gz", empty))
    with pytest.raises(MaskError, match="another grid"):
        read_upload(ct, Sent("other.nii.gz", nifti(np.ones((5, 5, 5), np.uint8))))


def test_a_path_in_the_name_of_an_upload_is_only_a_name(ct: Sent) -> None:
    assert read_upload(Sent("../../etc/cron.d/scan.nii.gz", ct.content)).name == "scan.nii.gz"
