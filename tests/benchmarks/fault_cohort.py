"""A small cohort to do harm to, and the store that is left compared with that of a run nobody disturbed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from flexict_core.encoders.baseline import BaselineEncoder

ROOT = Path(__file__).resolve().parents[2]
ROWS = 40
LONG_AGO = 1_700_000_000


def save(path: Path, array: np.ndarray) -> None:
    nib.save(nib.Nifti1Image(array, np.diag([-1.0, -1.0, 2.0, 1.0])), path)
    os.utime(path, (LONG_AGO, LONG_AGO))


def cohort(folder: Path, rows: int = ROWS) -> Path:
    """A manifest of `rows` small volumes with masks; the last five (where there are ten or more) cannot be used."""
    folder.mkdir(parents=True)
    lines = ["patient_id,image,mask,mask_label"]
    for i in range(rows):
        array = np.full((10, 10, 8), -1000, np.int16)
        array[2:8, 2:8, 2:6] = 10 + i
        save(folder / f"p{i}.nii.gz", array)
        save(folder / f"m{i}.nii.gz", (array > 0).astype(np.uint8))
        lines.append(f"P{i:02},p{i}.nii.gz,m{i}.nii.gz,1")
    if rows >= 10:
        (folder / f"p{rows - 1}.nii.gz").unlink()
        (folder / f"m{rows - 2}.nii.gz").unlink()
        (folder / f"p{rows - 3}.nii.gz").write_bytes((folder / f"p{rows - 3}.nii.gz").read_bytes()[:90])
        save(folder / f"m{rows - 4}.nii.gz", np.zeros((10, 10, 8), np.uint8))
        save(folder / f"p{rows - 5}.nii.gz", np.full((10, 10, 8), np.nan, np.float32))
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder / "manifest.csv"


def content(store: Path) -> tuple[Any, bytes, Any]:
    """Rows, bytes of the vectors, quarantine."""
    from flexict_core.store import EmbeddingStore

    archive = EmbeddingStore(store)
    table = archive.read("baseline")
    return table.rows, table.X.tobytes(), archive.quarantine("baseline")


def check_ended(store: Path, reference: Path) -> None:
    """What a run that came to its end must have left: the reference's content, each row once, nothing stray."""
    import pyarrow.parquet as pq

    rows, vectors, quarantine = content(store)
    their_rows, their_vectors, their_quarantine = content(reference)
    assert rows.equals(their_rows), "rows differ from the undisturbed run's"
    assert vectors == their_vectors, "vectors differ from the undisturbed run's"
    assert quarantine.equals(their_quarantine), "quarantine differs from the undisturbed run's"
    on_disk = sum(pq.read_metadata(p).num_rows for p in store.glob("*/part-*.parquet"))
    assert on_disk == len(rows), f"{on_disk} rows on disk for {len(rows)}: some lie twice"
    strays = [p.name for p in store.glob("*/.tmp-*")]
    assert not strays, f"temporary files left: {strays}"


def check_struck(store: Path, reference: Path) -> int:
    """What a run that was struck may leave: part of the reference. Returns its number of rows."""
    from flexict_core.store import EmbeddingStore

    if not list(store.glob("*/spec.json")):
        return 0
    held, whole = EmbeddingStore(store).read("baseline"), EmbeddingStore(reference).read("baseline")
    names = held.rows["patient_id"].tolist()
    assert len(names) == len(set(names)), "a key is there twice"
    expected = dict(zip(whole.rows["patient_id"], whole.X, strict=True))
    for name, vector in zip(names, held.X, strict=True):
        assert vector.tobytes() == expected[name].tobytes(), f"the vector of {name} is another one"
    return len(names)


def embed(manifest: Path, store: Path, encoder: Any = None, **more: Any) -> Any:
    from flexict_core.embed import embed_manifest

    chosen = {"workers": 0, "progress": False, **more}
    return embed_manifest(manifest, store, encoder=encoder or BaselineEncoder(), **chosen)


def reasons(store: Path) -> dict[str, str]:
    from flexict_core.store import EmbeddingStore

    table = EmbeddingStore(store).quarantine("baseline")
    return dict(zip(table["patient_id"], table["reason"], strict=True))
