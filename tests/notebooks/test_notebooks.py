"""Every notebook runs from top to bottom in a clean kernel, and is stored without outputs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
PERMUTATIONS = 199  # the smallest p is then 0.005; a notebook run by hand takes 9,999


def run(path: Path, *, folder: Path) -> Any:
    notebook = nbformat.read(path, as_version=4)
    return NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(folder)}}).execute()


def printed(notebook: Any) -> str:
    return "".join(o.get("text", "") for c in notebook.cells for o in c.get("outputs", []))


def pictures(notebook: Any) -> int:
    """Outputs that show a figure."""
    kinds = [kind for c in notebook.cells for o in c.get("outputs", []) for kind in o.get("data", {})]
    return sum(kind in ("application/vnd.plotly.v1+json", "image/svg+xml") for kind in kinds)


@pytest.fixture
def kernel(small_demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run in, with the suite's demo cohort at hand."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("FLEXICT_DEMO", str(small_demo))
    monkeypatch.setenv("FLEXICT_NOTEBOOK_PERMUTATIONS", str(PERMUTATIONS))
    return tmp_path


@pytest.mark.slow
def test_01_first_volume_to_embedding(kernel: Path) -> None:
    done = run(FOLDER / "01_first_volume_to_embedding.ipynb", folder=kernel)
    text = printed(done)
    counted, measured = (
        float(re.search(p, text)[1]) for p in (r"tumour of ([\d.]+) ml", r"size_volume_ml +([\d.]+)")
    )
    assert measured == pytest.approx(counted, rel=0.02)
    assert "0 embedded, 48 already there, 0 in quarantine" in text
    assert "the vector in the store is the one made above: True" in text
    assert pictures(done) == 1


@pytest.mark.slow
@pytest.mark.shared_data
def test_01_takes_a_ct_of_your_own(shared: Path, kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = shared / "data/ct/ibsi_phantom"
    monkeypatch.setenv("FLEXICT_VOLUME", str(home / "phantom.nii.gz"))
    monkeypatch.setenv("FLEXICT_MASK", str(home / "mask.nii.gz"))
    text = printed(run(FOLDER / "01_first_volume_to_embedding.ipynb", folder=kernel))
    assert "your CT: (60, 201, 204) voxels of 3.00 × 0.98 × 0.98 mm (z, y, x)" in text
    assert float(re.search(r"size_volume_ml +([\d.]+)", text)[1]) == pytest.approx(
        358, rel=0.02
    )  # IBSI: 358 cm³


@pytest.mark.slow
def test_02_stage_gradient(kernel: Path) -> None:
    done = run(FOLDER / "02_stage_gradient.ipynb", folder=kernel)
    text = printed(done)
    assert "Cohort A. Planted: beyond adjusters. Found: " in text
    assert "Cohort B. Planted: explained by adjusters. Found: " in text
    assert f"from {PERMUTATIONS} permutations of stage, each refitted exactly" in text
    assert pictures(done) == 4


@pytest.mark.slow
def test_03_probes_without_leakage(kernel: Path) -> None:
    done = run(FOLDER / "03_probes_without_leakage.ipynb", folder=kernel)
    text = printed(done)
    found = {
        name: float(v)
        for name, v in re.findall(r"^([a-z ]+): (?:balanced accuracy )?(0\.\d+)", text, flags=re.M)
    }
    assert found["chosen before splitting"] > 0.7  # noise, read with confidence
    assert abs(found["everything inside the folds"] - 0.5) < 0.15
    assert found["split by scan"] > 0.75
    assert abs(found["split by patient"] - 0.5) < 0.15
    assert pictures(done) == 2


@pytest.mark.slow
def test_04_retrieval_and_case_review(kernel: Path) -> None:
    done = run(FOLDER / "04_retrieval_and_case_review.ipynb", folder=kernel)
    assert "4 nearest of 48 patients to SYN-A-001:" in printed(done)
    assert pictures(done) == 3


@pytest.mark.slow
def test_05_survival(kernel: Path) -> None:
    done = run(FOLDER / "05_survival.ipynb", folder=kernel)
    assert "C-index of tumour_diameter_mm, age_years 0." in printed(done)
    assert pictures(done) == 2


@pytest.mark.slow
def test_06_bring_your_own(kernel: Path) -> None:
    done = run(FOLDER / "06_bring_your_own.ipynb", folder=kernel)
    text = printed(done)
    assert "48 embedded, 0 already there, 0 in quarantine" in text
    assert "('elsewhere', 12, 48)" in text
    assert "('tumour-percentiles', 9, 48)" in text
    assert pictures(done) == 2


@pytest.mark.slow
@pytest.mark.shared_data
def test_06_takes_a_table_of_your_own(shared: Path, kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEXICT_VECTORS", str(shared / "data/lung1/radiomics_and_clinical.csv"))
    monkeypatch.setenv("FLEXICT_VECTORS_ID", "PatientID")
    monkeypatch.setenv("FLEXICT_VECTORS_PREFIX", "original_")
    text = printed(run(FOLDER / "06_bring_your_own.ipynb", folder=kernel))
    assert re.search(r"elsewhere-[0-9a-f]+: \d\d+ columns of 421 patients", text)


@pytest.mark.slow
@pytest.mark.browser
def test_07_figure_for_a_paper(kernel: Path, chromium: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from pypdf import PdfReader

    monkeypatch.setenv("FLEXICT_FIGURES", str(kernel / "figures"))
    done = run(FOLDER / "07_figure_for_a_paper.ipynb", folder=kernel)
    assert pictures(done) == 1
    (page,) = PdfReader(kernel / "figures/figure_1.pdf").pages
    assert float(page.mediabox.width) / 72 * 25.4 == pytest.approx(183, abs=0.1)
    assert "Synthetic data · Research use only" in " ".join(page.extract_text().split())
    (slide,) = PdfReader(kernel / "figures/scores_slide.pdf").pages
    assert float(slide.mediabox.width) / float(slide.mediabox.height) == pytest.approx(16 / 9, abs=0.001)
    assert {p.name for p in (kernel / "figures").glob("figure_1_*")} == {f"figure_1_{x}.csv" for x in "abcde"}


@pytest.mark.slow
def test_08_transport(kernel: Path) -> None:
    done = run(FOLDER / "08_transport.ipynb", folder=kernel)
    assert re.search(r"there: concordance 0\.\d{3}, interval \(0\.", printed(done))
    assert pictures(done) == 2


def test_every_notebook_is_run_here() -> None:
    numbers = {p.stem[:2] for p in NOTEBOOKS}
    assert (
        numbers == {f"{i:02d}" for i in range(1, 9)} == {n[5:7] for n in globals() if re.match(r"test_\d", n)}
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_is_stored_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert code
    assert all(not c.outputs and c.execution_count is None for c in code)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_reads_as_a_tutorial(path: Path) -> None:
    """A question first; what it means, and what it does not, before the end; synthetic data are called so."""
    text = "\n".join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown")
    for part in (
        f"# {path.stem[:2]} · ",
        "**Question.**",
        "**synthetic**",
        "**What it means.**",
        "**What it does not mean.**",
    ):
        assert part in text
