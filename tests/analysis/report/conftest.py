"""A small study with a planted answer: two embeddings, a clinical table with gaps and unfriendly text, a study file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.report.answers import Answers
from analysis.report.build import Report, write_report
from flexict_core.store import EmbeddingStore

N = 60
TAG = "<script>alert(1)</script>"


def write_study(home: Path, *, seed: int = 11) -> Path:
    """60 patients, 15 a stage: `deep` follows the stage, `noise` nothing. Two are not embedded, one is not in the
    table, three have no stage, ten are of another site; one ID is a tag."""
    rng = np.random.default_rng(seed)
    stage = np.repeat(np.arange(4), N // 4)
    size = 20 + 3 * stage + rng.normal(0, 6, N)
    deep = rng.normal(size=(N, 5)).astype(np.float32)
    deep[:, 0] += 2.0 * stage
    ids = [f"P{i:03d}" for i in range(N)]
    ids[7] = TAG
    table = pd.DataFrame(
        {
            "pid": ids,
            "stage": np.array(["I", "II", "III", "IV"])[stage],
            "size_mm": size.round(1),
            "sex": np.where(rng.random(N) < 0.5, "F", "M"),
            "site": ["other" if i % 6 == 5 else "ours" for i in range(N)],
            "remark": np.where(np.arange(N) % 2, "<b>x</b>", "=1+1"),
            "days": np.round(rng.exponential(400 / (1 + stage)), 1) + 1,
            "dead": rng.integers(0, 2, N),
        }
    )
    table.loc[[0, 20, 40], "stage"] = ""
    home.mkdir(parents=True, exist_ok=True)
    table.to_csv(home / "clinical.csv", index=False)
    store = EmbeddingStore.create(home / "store")
    for name, X in (("deep", deep), ("noise", rng.normal(size=(N, 4)).astype(np.float32))):
        spec = {"encoder": name, "licence": "CC BY 4.0", "synthetic": True}
        with store.writer(spec, dim=X.shape[1], name=name) as writer:
            rows = [
                {"patient_id": p, "embedding": x} for p, x in zip(ids, X, strict=True) if p not in ids[30:32]
            ]
            writer.add([*rows, {"patient_id": "STRANGER", "embedding": X[0]}])
    return home


MINIMAL = """\
title: A small study
store: store
clinical: clinical.csv
id: pid
embeddings: [deep]
stage: stage
order: I,II,III,IV
adjust: [size_mm]
"""
ALL = (
    MINIMAL
    + """\
where: [site=ours]
audit: {permutations: 99}
project: {method: pca}
gradient: {permutations: 99}
probe: {target: sex, repeats: 1, permutations: 0}
retrieve:
survival: {duration: days, event: dead, permutations: 99}
"""
)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study's folder; tests only read it."""
    return write_study(tmp_path_factory.mktemp("study"))


def no_drawings(*_: Any) -> Sequence[Any]:
    return ()


def run(config: Path, out: Path, **options: Any) -> Report:
    """A report without figures."""
    return write_report(config, out, **{"drawings_of": no_drawings, "figures": False, **options})


def config_of(home: Path, text: str, name: str = "study.yaml") -> Path:
    file = home / name
    file.write_text(text, encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def whole(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The report of every section, without figures; tests only read it."""
    return run(config_of(home, ALL, "whole.yaml"), tmp_path_factory.mktemp("report") / "out")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Titles of the sections that were computed, in order."""
    titles: list[str] = []
    real = Answers.answered

    def counted(self: Answers, section: Any, key: str, say: Any) -> Any:
        titles.append(section.title)
        return real(self, section, key, say)

    monkeypatch.setattr(Answers, "answered", counted)
    return titles
