"""Writes the demo cohort: phantoms, manifest, clinical table and planted truth; goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from analysis.synthetic import STAGES, ClinicalTruth, DemoCohort, phantom_spec
from flexict_core.errors import InputError
from flexict_core.manifest import PLANTED_TRUTH
from flexict_core.phantom.spec import SCANNERS, PhantomSpec

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class _Job:
    """One patient's phantom to be made, or kept where its files are complete and drawn from the same things."""

    patient_id: str
    spec: PhantomSpec
    seed: int
    folder: Path
    code_sha256: str

    @property
    def fingerprint(self) -> str:
        content = json.dumps([self.spec.to_dict(), self.seed, self.code_sha256], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


def write(
    truth: ClinicalTruth, out_dir: str | Path, *, workers: int = 2, progress: bool = True
) -> DemoCohort:
    """Draw every patient of `truth` into `out_dir`.

    Writes `synthetic.json` (first, so that nothing here is ever taken for real), `ct/<id>.nii.gz`,
    `ct/<id>_mask.nii.gz`, `ct/<id>.json` (what the phantom was drawn from, and hashes), `clinical.csv` and
    `manifest.csv`. The same truth gives the same bytes. Files that are complete and drawn from the same
    parameters by the same code are kept, so an interrupted call is finished by calling again.

    Raises InputError for a folder that holds a manifest or clinical table of something else.
    """
    started = time.perf_counter()
    out = Path(out_dir)
    manifest, clinical, planted = (out / n for n in ("manifest.csv", "clinical.csv", PLANTED_TRUTH))
    if not planted.exists() and (manifest.exists() or clinical.exists()):
        raise InputError(f"{out} holds a cohort that is not the demo's: choose another folder")
    (out / "ct").mkdir(parents=True, exist_ok=True)
    _write_json(planted, _truth_json(truth, {}))
    code = _code_sha256()
    ids = [str(v) for v in truth.table["patient_id"]]
    jobs = [_Job(pid, *phantom_spec(truth, i), out / "ct", code) for i, pid in enumerate(ids)]
    drawn, kept = {}, 0
    for pid, facts, was_there in _run(jobs, workers=workers, progress=progress):
        drawn[pid] = facts
        kept += was_there
    _write_csv(clinical, truth.table)
    _write_csv(manifest, _manifest(truth))
    _write_json(planted, _truth_json(truth, drawn))
    return DemoCohort(
        manifest=manifest,
        clinical=clinical,
        truth=planted,
        patients=len(jobs),
        made=len(jobs) - kept,
        kept=kept,
        seconds=time.perf_counter() - started,
    )


def _run(jobs: list[_Job], *, workers: int, progress: bool) -> Iterator[tuple[str, dict[str, Any], bool]]:
    from tqdm import tqdm

    bar = tqdm(total=len(jobs), desc="Drawing CT phantoms", unit="patient", disable=not progress)
    with bar, _one_thread():
        if workers <= 1:
            for job in jobs:
                yield _make(job)
                bar.update()
            return
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        # spawn: a forked child would inherit the locks of other libraries' threads
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            try:
                for result in pool.map(_make, jobs):
                    yield result
                    bar.update()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread a process: matrix products then round alike however many workers there are."""
    from threadpoolctl import threadpool_limits

    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))  # for the workers, which read it when they start
    try:
        with threadpool_limits(1):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _make(job: _Job) -> tuple[str, dict[str, Any], bool]:
    """One patient's files; returns the patient, the facts about the phantom and whether it was there already."""
    from flexict_core.io.write import write_nifti
    from flexict_core.synthetic import make_phantom

    note = job.folder / f"{job.patient_id}.json"
    facts = _complete(note, job)
    if facts is not None:
        return job.patient_id, facts, True
    ct, mask, facts = make_phantom(job.spec, seed=job.seed)
    files = {}
    for volume, name in ((ct, f"{job.patient_id}.nii.gz"), (mask, f"{job.patient_id}_mask.nii.gz")):
        files[name] = write_nifti(volume, job.folder / name)
    content = {
        "synthetic": True,
        "fingerprint": job.fingerprint,
        "seed": job.seed,
        "spec": job.spec.to_dict(),
        "truth": facts,
        "files": files,
    }
    _write_json(note, content)
    return job.patient_id, facts, False


def _complete(note: Path, job: _Job) -> dict[str, Any] | None:
    """The phantom's facts where its files are whole and drawn from the same parameters, else None."""
    try:
        content = json.loads(note.read_text(encoding="utf-8"))
        if content["fingerprint"] != job.fingerprint:
            return None
        for name, sha256 in content["files"].items():
            if hashlib.sha256((job.folder / name).read_bytes()).hexdigest() != sha256:
                return None
        return dict(content["truth"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # never made, or cut off while being written: made anew


def _manifest(truth: ClinicalTruth) -> Any:
    import pandas as pd

    ids = truth.table["patient_id"].astype(str)
    columns = {
        "patient_id": ids,
        "series_uid": ids + "-CT",
        "roi_id": "tumour",
        "image": "ct/" + ids + ".nii.gz",
        "mask": "ct/" + ids + "_mask.nii.gz",
        "mask_label": 1,
        "synthetic": True,
    }
    return pd.DataFrame(columns)


def _truth_json(truth: ClinicalTruth, drawn: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Planted truth as saved beside the cohort; `drawn` adds each phantom's measured facts by patient."""
    effects = {
        "A": "tumour size rises with stage, and the phenotype carries stage beyond size and scanner",
        "B": "tumour size rises with stage; given size and scanner, the image is independent of stage",
    }
    hidden = truth.planted.set_index("patient_id")
    return {
        "synthetic": True,
        "statement": "Computer-drawn phantoms and simulated outcomes. No patient stands behind any of it.",
        "seed": truth.seed,
        "patients_in_cohort": {name: int((truth.table["cohort"] == name).sum()) for name in effects},
        "stage_order": list(STAGES),
        "adjusters": ["tumour_diameter_mm", "scanner"],
        "cohorts": effects,
        "expected_verdict": {"A": "beyond adjusters", "B": "explained by adjusters"},
        "model": asdict(truth.model),
        "scanners": {name: asdict(s) for name, s in SCANNERS.items()},
        "scanner_note": "The share of S2 rises a little with stage in both cohorts (model.scanner_s2_share).",
        "patients": {
            str(pid): {**{c: _plain(v) for c, v in row.items()}, **drawn.get(str(pid), {})}
            for pid, row in hidden.iterrows()
        },
    }


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return round(value, 6) if isinstance(value, float) else value


def _code_sha256() -> str:
    """Hash of the drawing code: phantoms of another version are made anew."""
    import flexict_core.phantom
    import flexict_core.synthetic

    files = [Path(flexict_core.synthetic.__file__)]
    files += sorted(Path(flexict_core.phantom.__path__[0]).glob("*.py"))
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _write_json(path: Path, content: dict[str, Any]) -> None:
    _replace(path, json.dumps(content, indent=1) + "\n")


def _write_csv(path: Path, table: Any) -> None:
    _replace(path, table.to_csv(index=False, lineterminator="\n"))


def _replace(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8", newline="\n")
    os.replace(part, path)
