"""What outside input is parsed by, each with sound bytes to start from; and how those bytes are damaged."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from hypothesis import strategies as st
from safetensors.numpy import save as safetensors_bytes

from flexict_core import Volume
from flexict_core.errors import FlexictError
from flexict_core.io import load_mask, load_volume
from tests.small_dicom import CtSeries, box, save, structure_set

# what parsers trip over: numbers at the edge, quotes, line ends, other encodings, escapes, formulas
TOKENS = (
    b"nan", b"inf", b"-1", b"0", b"1e999", b"99999999999999999999", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\x00",
    b'"', b"'", b",", b";", b"\n", b"\r", b"\t", b"../", b"/etc/passwd", b"\xef\xbb\xbf", b"\xff\xfe", b"\xc3\x28",
    b"=1+1", b"<script>", b"{", b"}", b"[", b"]", b": ", b"- ", b"&a ", b"*a", b"!!python/object/apply:os.system ",
    b"%s", b"\\", "é\u202e漢".encode(), b"A" * 300,
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, sound: bytes) -> bytes:
    """One to four edits: a bit, other bytes, a token put in or over, a stretch gone or doubled, the end gone."""
    data = bytearray(sound)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        upto = min(len(data), at + draw(st.integers(1, 40)))
        kind = draw(st.integers(0, 6))
        if kind == 0 and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == 1:
            data[at:upto] = draw(st.binary(min_size=upto - at, max_size=upto - at))
        elif kind == 2:
            data[at:at] = draw(st.sampled_from(TOKENS))
        elif kind == 3:
            token = draw(st.sampled_from(TOKENS))
            data[at : at + len(token)] = token
        elif kind == 4:
            del data[at:upto]
        elif kind == 5:
            data[at:at] = data[at:upto]
        else:
            del data[at:]
    return bytes(data)


@dataclass(frozen=True)
class Target:
    """A parser of the bytes of a file in a folder, and sound bytes for it."""

    name: str
    sound: bytes
    parse: Callable[[bytes], object]

    def survives(self, data: bytes) -> None:
        """Nothing but the declared exceptions, each in one line, comes out of the parser."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # libraries remark on damage; the answer is what counts
                self.parse(data)
        except FlexictError as error:
            text = str(error)
            assert text.strip(), f"{self.name}: an error without words"
            assert "\n" not in text, f"{self.name}: not one line: {text!r}"


def targets(home: Path) -> dict[str, Target]:
    """Every parser of outside input, working in a folder of its own below `home`."""
    made = (
        _manifest(home), _clinical(home), _workbook(home), _study(home), _nifti(home, packed=False),
        _nifti(home, packed=True), _nrrd(home), _metaimage(home), _structure_set(home), _ct_slice(home), _spec(home),
        _rows(home), _weights(home), _vectors(home),
    )  # fmt: skip
    return {t.name: t for t in made}


def _file(home: Path, name: str) -> Path:
    folder = home / name.replace(".", "-")
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


def _manifest(home: Path) -> Target:
    from flexict_core.manifest import read_manifest

    file = _file(home, "manifest.csv")
    sound = (
        "patient_id,image,mask,mask_label,seed_x_mm,seed_y_mm,seed_z_mm\n"
        'P1,a/ct.nii.gz,a/mask.nii.gz,1,,,\nP2,"b, c/ct.nii",,,10.5,-3,40\n"P""3",c.nrrd,m.nrrd,tumour,,,\n'
    )

    def parse(data: bytes) -> object:
        file.write_bytes(data)
        return read_manifest(file)

    return Target("manifest", sound.encode(), parse)


_TABLE = 'patient_id,stage,age,sex,site\nP1,I,61,F,north\nP2,II,,M,south\nP3,IIIa,55.5,F,"a, b"\n'


def _clinical(home: Path) -> Target:
    from analysis.clinical import read_clinical

    file = _file(home, "clinical.csv")

    def parse(data: bytes) -> object:
        file.write_bytes(data)
        return read_clinical(file, id_column="patient_id")

    return Target("clinical table", _TABLE.encode(), parse)


def _workbook(home: Path) -> Target:
    from analysis.clinical import read_clinical

    file, buffer = _file(home, "clinical.xlsx"), io.BytesIO()
    pd.read_csv(io.StringIO(_TABLE)).to_excel(buffer, index=False)

    def parse(data: bytes) -> object:
        file.write_bytes(data)
        return read_clinical(file, id_column="patient_id")

    return Target("clinical workbook", buffer.getvalue(), parse)


def _study(home: Path) -> Target:
    from analysis.report.example import EXAMPLE
    from analysis.report.reading import read_study

    file = _file(home, "study.yaml")
    (file.parent / "store").mkdir()
    (file.parent / "cohort").mkdir()
    (file.parent / "cohort/clinical.csv").write_text(_TABLE, encoding="utf-8")

    def parse(data: bytes) -> object:
        file.write_bytes(data)
        return read_study(file)

    return Target("study", EXAMPLE.encode(), parse)


def _nifti(home: Path, *, packed: bool) -> Target:
    file = _file(home, "ct.nii.gz" if packed else "ct.nii")
    array = (np.arange(5 * 6 * 7).reshape(7, 6, 5) * 8 - 800).astype(np.int16)
    image = nib.Nifti1Image(array, np.diag([-0.8, -0.8, 2.0, 1.0]))
    sound = image.to_bytes()

    def parse(data: bytes) -> object:
        # the damage is to what is packed: damage to the packing itself is told by its checksum
        file.write_bytes(gzip.compress(data, 1, mtime=0) if packed else data)
        return load_volume(file)

    return Target("NIfTI in gzip" if packed else "NIfTI", sound, parse)


def _itk(home: Path, name: str) -> tuple[Path, bytes]:
    import SimpleITK as sitk  # noqa: N813

    file = _file(home, name)
    image = sitk.GetImageFromArray((np.arange(4 * 5 * 6).reshape(4, 5, 6) * 8 - 800).astype(np.int16))
    image.SetSpacing((0.8, 0.8, 2.0))
    sitk.WriteImage(image, str(file))
    return file, file.read_bytes()


def _nrrd(home: Path) -> Target:
    file, sound = _itk(home, "ct.nrrd")
    return Target("NRRD", sound, lambda data: (file.write_bytes(data), load_volume(file)))


def _metaimage(home: Path) -> Target:
    file, sound = _itk(home, "ct.mha")
    return Target("MetaImage", sound, lambda data: (file.write_bytes(data), load_volume(file)))


def _ct_folder(home: Path, name: str) -> tuple[Path, Volume]:
    folder = CtSeries().write(home / name)
    return folder, load_volume(folder)


def _structure_set(home: Path) -> Target:
    _, ct = _ct_folder(home, "ct-of-regions")
    file = _file(home, "regions.dcm")
    shape = {1.0: [box(1, 1, 5, 4)], 2.0: [box(1, 1, 5, 4), box(2, 2, 3, 3)]}
    save(file, structure_set(ct, {"GTV": shape, "lung": {1.0: [box(0, 0, 2, 2)]}}))

    def parse(data: bytes) -> object:
        file.write_bytes(data)
        return load_mask(file, label="GTV", reference=ct)

    return Target("RTSTRUCT", file.read_bytes(), parse)


def _ct_slice(home: Path) -> Target:
    folder, _ = _ct_folder(home, "ct-of-slices")
    file = sorted(folder.iterdir())[2]

    def parse(data: bytes) -> object:
        file.write_bytes(data)
        return load_volume(folder)

    return Target("CT slice", file.read_bytes(), parse)


def _store(home: Path, name: str) -> tuple[Path, Path]:
    """A store with one embedding, and that embedding's folder."""
    from flexict_core.store import EmbeddingStore

    store = EmbeddingStore.create(home / name)
    with store.writer(
        {"encoder": "baseline", "feature_names": ["a", "b"], "licence": "x"}, dim=2, name="one"
    ) as writer:
        writer.add(
            {
                "patient_id": f"P{i}", "series_uid": "", "roi_id": "", "root": str(home), "image": f"{i}.nii.gz",
                "mask": "", "mask_label": None, "source_sha256": str(i), "embedding": [float(i), 1.0],
            }
            for i in range(3)
        )  # fmt: skip
    (spec,) = (home / name).rglob("spec.json")
    return home / name, spec.parent


def _read_store(path: Path) -> object:
    from flexict_core.store import EmbeddingStore

    store = EmbeddingStore(path)
    return [store.list(), *(store.read(name) for name in store.ids())]


def _spec(home: Path) -> Target:
    store, folder = _store(home, "store-of-specs")
    file = folder / "spec.json"
    sound = json.dumps(json.loads(file.read_text(encoding="utf-8"))).encode()
    return Target("store spec", sound, lambda data: (file.write_bytes(data), _read_store(store)))


def _rows(home: Path) -> Target:
    store, folder = _store(home, "store-of-rows")
    (file,) = folder.rglob("*.parquet")
    return Target("store part", file.read_bytes(), lambda data: (file.write_bytes(data), _read_store(store)))


def _weights(home: Path) -> Target:
    from flexict_core.encoders.checkpoint import read_weights

    file = _file(home, "weights.safetensors")
    sound = safetensors_bytes({"a": np.zeros((2, 3), np.float32), "b": np.arange(4)})
    return Target("weights", sound, lambda data: (file.write_bytes(data), read_weights(file)))


def _vectors(home: Path) -> Target:
    from flexict_core.store import EmbeddingStore
    from flexict_core.store.vectors import import_vectors
    from flexict_core.tables import read_table

    file, store = _file(home, "vectors.csv"), EmbeddingStore.create(home / "store-of-vectors")
    sound = b"PatientID,f1,f2,f3\nP1,0.5,1,2\nP2,0.25,3,4e-3\nP3,-1,0,7\n"

    def parse(data: bytes) -> object:
        file.write_bytes(data)
        shutil.rmtree(store.path)
        return import_vectors(
            EmbeddingStore.create(store.path),
            read_table(file),
            id_column="PatientID",
            name="v",
            source_sha256="0",
        )

    return Target("vectors", sound, parse)
