"""The hostile corpus, all of it in one batch of `flexict embed` and in one `flexict scan`.

Each runs in a process of its own, whose memory is bounded: a bomb must be refused, not survived.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass

import pandas as pd
import pytest

from flexict_core.store import EmbeddingStore
from tests.hostile.case import LESION_MEAN_HU, LESION_ML, Case
from tests.hostile.corpus import Corpus, all_cases, write_corpus
from tests.small_dicom import SECRETS

CASES = all_cases()
BAD, GOOD = [c for c in CASES if c.says], [c for c in CASES if not c.says]
SCANNED = [c for c in CASES if c.scan is not None]
ADDRESS_SPACE = 4 << 30  # the voxels that the bombs claim are five times as many
RESIDENT = 600 << 20  # libraries, and tiny volumes one by one
LIKELY_SIZE = 1 << 30  # one bomb might be a label map, which are packed as much: a scan looks into it
_RUN = f"""
import json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({ADDRESS_SPACE}, {ADDRESS_SPACE}))
from app.cli import main
status = main(sys.argv[1:])
peak = next(int(l.split()[1]) << 10 for l in open("/proc/self/status") if l.startswith("VmHWM"))
print(json.dumps([status, peak]))
"""


@dataclass(frozen=True)
class Ran:
    status: int
    peak: int
    err: list[str]


def run(*arguments: object) -> Ran:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,  # as long as a file that never answers would hang
        env={**os.environ, **threads},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    status, peak = json.loads(done.stdout.splitlines()[-1])
    return Ran(status, peak, done.stderr.splitlines())


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return write_corpus(tmp_path_factory.mktemp("corpus"), CASES)


# ── embed ───────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Embedded:
    """reasons: by case; file: the one that is blamed. vectors: features by case."""

    ran: Ran
    reasons: dict[str, str]
    vectors: pd.DataFrame
    printed: str


@pytest.fixture(scope="module")
def embedded(corpus: Corpus) -> Embedded:
    folder = corpus.home.parent / f"{corpus.home.name}-store"
    ran = run("embed", "--manifest", corpus.manifest, "--store", folder, "--workers", 0, "--quiet")
    store = EmbeddingStore(folder)
    table, lost = store.read("baseline"), store.quarantine("baseline")
    assert not lost["patient_id"].duplicated().any()
    vectors = pd.DataFrame(
        table.X, index=table.rows["patient_id"].tolist(), columns=table.spec["feature_names"]
    )
    return Embedded(ran, dict(zip(lost["patient_id"], lost["reason"], strict=True)), vectors, lost.to_csv())


def test_the_batch_goes_to_its_end(embedded: Embedded) -> None:
    assert len(BAD) >= 60
    assert embedded.ran.status == 3
    assert set(embedded.reasons) == {case.name for case in BAD}
    assert set(embedded.vectors.index) == {case.name for case in GOOD}


def test_no_bomb_takes_memory(embedded: Embedded) -> None:
    assert embedded.ran.peak < RESIDENT


def test_no_line_shows_who_the_patient_is(embedded: Embedded) -> None:
    for text in (embedded.printed, *embedded.ran.err):
        assert not any(secret in text for secret in (SECRETS[0], SECRETS[2]))


@pytest.mark.parametrize("case", BAD, ids=lambda c: c.name)
def test_each_has_its_reason(case: Case, embedded: Embedded) -> None:
    reason = embedded.reasons[case.name]
    for words in case.says:
        assert words in reason
    assert "\n" not in reason
    assert case.name not in embedded.vectors.index


@pytest.mark.parametrize("case", GOOD, ids=lambda c: c.name)
def test_what_is_merely_odd_has_the_planted_numbers(case: Case, embedded: Embedded) -> None:
    row = embedded.vectors.loc[case.name]
    assert row["size_volume_ml"] == pytest.approx(LESION_ML, rel=1e-5)
    assert row["intensity_mean_hu"] == pytest.approx(LESION_MEAN_HU, abs=1e-3)


def test_another_fault_has_another_reason(embedded: Embedded) -> None:
    """Without names, paths and numbers, no two cases share a reason, but for those of one fault."""
    kin = defaultdict(set)
    for case in BAD:
        kin[_meaning(embedded.reasons[case.name])].add(case.kin)
    assert {meaning: found for meaning, found in kin.items() if len(found) > 1} == {}


def _meaning(reason: str) -> str:
    words = re.sub(r"\S*/\S*|'[^']*'", "", reason)
    return re.sub(r"[\d.]+(e[+-]?\d+)?|nan|inf|-", "#", words)


# ── scan ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Scanned:
    """What became of the files of each case: images in the manifest, and reasons of what is not."""

    ran: Ran
    images: dict[str, list[str]]
    reasons: dict[str, list[str]]


@pytest.fixture(scope="module")
def scanned(corpus: Corpus, embedded: Embedded) -> Scanned:
    manifest = corpus.home / "found.csv"
    ran = run("scan", corpus.home, "--manifest", manifest, "--quiet")
    images, reasons = defaultdict(list), defaultdict(list)
    for path in pd.read_csv(manifest, dtype=str)["image"]:
        images[path.split("/")[0]].append(path)
    for path, reason in pd.read_csv(corpus.home / "left_out.csv", dtype=str)[["file", "reason"]].to_numpy():
        reasons[path.split("/")[0]].append(reason)
    return Scanned(ran, images, reasons)


def test_the_scan_goes_to_its_end(scanned: Scanned) -> None:
    assert scanned.ran.status == 3  # some were refused
    assert scanned.ran.peak < RESIDENT + LIKELY_SIZE


@pytest.mark.parametrize("case", SCANNED, ids=lambda c: c.name)
def test_a_scan_says_what_is_wrong(case: Case, scanned: Scanned) -> None:
    if not case.scan:
        assert scanned.images[case.name]
    else:
        assert any(all(words in r for words in case.scan) for r in scanned.reasons[case.name]), (
            scanned.reasons[case.name],
            scanned.images[case.name],
        )
