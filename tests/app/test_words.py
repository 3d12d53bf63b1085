"""Words from the command line: CTs embedded with a small VLM, then found by words and matched with reports."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from app.cli import main

Say = Callable[..., tuple[int, str, str]]
pytestmark = pytest.mark.shared_data


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    def run(*arguments: object) -> tuple[int, str, str]:
        status = main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def study(shared: Path, tmp_path: Path, say: Say, monkeypatch: pytest.MonkeyPatch) -> tuple[object, ...]:
    """Four CTs of blobs in a store of the tiny VLM; options that every retrieval here begins with."""
    reference = shared / "reference/flexict"
    monkeypatch.setenv("FLEXICT_VLM_CHECKPOINT", str(reference / "tiny_vlm.pth"))
    monkeypatch.setenv("FLEXICT_TEXT_MODEL", str(reference / "tiny_qwen3"))
    rng = np.random.default_rng(0)
    rows, table = ["patient_id,image"], ["patient_id,report,grade"]
    for i in range(4):
        values = rng.integers(-900, 300, (10, 10, 10)).astype(np.int16)
        nib.save(nib.Nifti1Image(values, np.diag([-8.0, -8.0, 8.0, 1.0])), tmp_path / f"{i}.nii.gz")
        rows.append(f"P{i},{i}.nii.gz")
        table.append(f"P{i},Finding number {i}.,{i % 2}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "clinical.csv").write_text("\n".join(table) + "\n")
    given = ("--manifest", tmp_path / "manifest.csv", "--store", tmp_path / "s", "--workers", "0")
    status, _, err = say(
        "embed", *given, "--encoder", "flexict-3d-vlm", "--patch-size", "32", "--device", "cpu"
    )
    assert status == 0, err
    return (
        "retrieve",
        "--store",
        tmp_path / "s",
        "--clinical",
        tmp_path / "clinical.csv",
        "--id",
        "patient_id",
    )


def test_cts_are_found_by_words_and_by_their_reports(
    study: tuple[object, ...], tmp_path: Path, say: Say
) -> None:
    from flexict_core.encoders.registry import load_encoder
    from flexict_core.store import EmbeddingStore

    words = "A solid mass."
    status, out, err = say(*study, "--text", words, "--k", "3", "--out", tmp_path / "text", "--no-figures")
    assert status == 0, err
    assert words in out
    found = json.loads((tmp_path / "text/retrieve.json").read_text())
    table = EmbeddingStore(tmp_path / "s").read("flexict-3d-vlm")
    vector = load_encoder("flexict-3d-vlm", device="cpu").encode_text([words])[0]  # type: ignore[attr-defined]
    cosine = dict(zip(table.rows["patient_id"], table.X.astype(float) @ vector, strict=True))
    best = sorted(cosine, key=lambda p: -cosine[p])[:3]
    assert [row["patient_id"] for row in found["neighbours"]] == best
    assert found["neighbours"][0]["similarity"] == pytest.approx(cosine[best[0]], abs=1e-5)
    assert found["query"] == words

    status, out, err = say(*study, "--report", "report", "--out", tmp_path / "reports", "--no-figures")
    assert status == 0, err
    told = json.loads((tmp_path / "reports/retrieve.json").read_text())
    assert told["metrics"]["report_to_ct_recall@1"]["random"] == pytest.approx(0.25)
    assert told["n"] == 4
    assert "CT → report" in out


def test_words_that_cannot_be_used_are_told_in_one_line(
    study: tuple[object, ...], tmp_path: Path, say: Say, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    given = (*study, "--out", tmp_path / "out", "--no-figures")
    content = torch.load(shared / "reference/flexict/tiny_vlm.pth", weights_only=True)
    content["model"]["logit_scale"] += 1
    torch.save(content, tmp_path / "other.pth")
    for options, told in (
        (("--text", "mass", "--checkpoint", tmp_path / "other.pth"), "pass the same --checkpoint"),
        (("--text", "mass", "--text-model", tmp_path), "config.json and tokenizer.json missing"),
        (("--report", "reprot"), "did you mean 'report'"),
        (("--report", "report", "--label", "grade"), "an analysis of its own"),
        (("--report", "grade"), "hold numbers"),
    ):
        status, _, err = say(*given, *options)
        (line,) = [text for text in err.splitlines() if "error:" in text]
        assert status == 2
        assert told in line
    assert not (tmp_path / "out/retrieve.json").exists()
