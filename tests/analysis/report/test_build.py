"""A whole report: what it prints, that it is the same again, what it names, refuses and takes up again."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis import load_cohort, stage_gradient
from analysis.figure_browser import FigureBrowser
from analysis.report.answers import Answers
from analysis.report.build import Report
from flexict_core.errors import FigureExportError, InputError
from flexict_core.store import EmbeddingStore
from tests.analysis.report.conftest import ALL, MINIMAL, TAG, config_of, run, write_study

SHORT = MINIMAL + "where: [site=ours]\nproject: {method: pca}\nretrieve:\n"


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.links: list[str] = []

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [str(v) for k, v in attrs if k in ("src", "href", "xlink:href")]
        assert tag not in ("script", "link", "iframe", "img", "b-x")


def _read(html: Path) -> tuple[str, list[str]]:
    parser = _Text()
    parser.feed(html.read_text(encoding="utf-8"))
    return " ".join(" ".join(parser.words).split()), parser.links


def _tables(out: Path) -> dict[str, bytes]:
    return {
        str(f.relative_to(out)): f.read_bytes()
        for f in sorted(out.rglob("*"))
        if f.suffix in (".csv", ".html")
    }


def test_verdicts_come_first_and_every_section_says_what_its_result_says(whole: Report, home: Path) -> None:
    text, _ = _read(whole.html)
    assert "where it says so, not over the 6 sections of this report" in text
    cohort = load_cohort(home / "store", "deep", home / "clinical.csv", id_column="pid", where=["site=ours"])
    result = stage_gradient(
        cohort.complete(["size_mm"]),
        "stage",
        order="I,II,III,IV",
        adjust=["size_mm"],
        permutations=99,
        seed=0,
    )
    record = next(r for r in whole.sections if r.kind == "gradient")
    assert record.verdict == result.verdict
    assert record.n == result.n
    first = record.figures_now[0]
    assert result.trend.ci is not None
    assert first.value == f"{result.trend.concordance:.3f}"
    assert first.interval == f"{result.trend.ci[0]:.3f} to {result.trend.ci[1]:.3f}"
    assert f"{first.name}: {first.value} (95 % CI {first.interval})" in text
    assert text.index(result.verdict) < text.index("Missing values were not filled in")
    for paragraph in result.methods_text().split("\n\n"):
        plain = " ".join(paragraph.replace("**", "").split())
        assert plain in text.replace(" .", ".") or plain.split(".")[-2].strip() in text
    exported = json.loads((whole.out / "sections" / record.slug / "gradient.json").read_text())
    assert exported["trend"]["concordance"] == result.trend.concordance
    for other in whole.sections:
        assert other.verdict in text


def test_warnings_about_all_patients_stand_once(whole: Report) -> None:
    text, _ = _read(whole.html)
    own = [w for w in whole.sections[0].warnings if "left out" in w]
    assert any("STRANGER" in w for w in own)
    for warning in own:
        assert text.count(warning) == 1
        assert text.index(warning) < text.index("1 Audit What could")


def test_the_page_is_alone_and_data_are_escaped(whole: Report) -> None:
    html = whole.html.read_text(encoding="utf-8")
    text, links = _read(whole.html)
    assert all(link.startswith("#") for link in links)
    assert not re.search(r"(?:url\(|@import|src=)\s*['\"]?(?!#)https?:", html)
    assert "<script" not in html
    assert "<b>x</b>" not in html  # a value of the table of patients
    assert "<b>x</b>" in text  # but its reader sees it as written
    assert "Synthetic data. Research use only." in text
    assert "CC BY 4.0" in text
    anchors = set(re.findall(r'\bid="([^"]+)"', html))
    assert {link[1:] for link in links} <= anchors
    left_out = (whole.out / "left_out.csv").read_text(encoding="utf-8")
    assert TAG not in left_out  # that patient is studied
    assert "STRANGER" in left_out


def test_the_same_inputs_give_the_same_bytes_and_verdicts(whole: Report, home: Path, tmp_path: Path) -> None:
    again = run(home / "whole.yaml", tmp_path / "out")
    assert again.reused == ()
    assert _tables(again.out) == _tables(whole.out)
    assert len(_tables(again.out)) > 8
    assert again.to_dict() == whole.to_dict()
    assert (again.out / "report.json").read_bytes() == (whole.out / "report.json").read_bytes()


def test_an_earlier_report_is_never_written_over_in_silence(tmp_path: Path, asked: list[str]) -> None:
    home = write_study(tmp_path / "study")
    config, out = config_of(home, SHORT), tmp_path / "out"
    run(config, out)
    before = _tables(out)
    with pytest.raises(InputError, match=r"already holds a report of the same inputs: .*--overwrite"):
        run(config, out)
    table = pd.read_csv(home / "clinical.csv")
    table.loc[1, "stage"] = "IV"
    table.to_csv(home / "clinical.csv", index=False)
    with pytest.raises(
        InputError, match=r"clinical table 'clinical.csv' has changed \(sha256 \w{12} → \w{12}\)"
    ):
        run(config, out)
    assert _tables(out) == before
    asked.clear()
    again = run(config, out, overwrite=True)
    assert asked == ["Map of the cohort", "Retrieval"]
    assert [line for line in again.changed if "clinical.csv" in line]
    assert not [line for line in again.changed if "study file" in line or "vectors" in line]
    assert "has changed" in _read(again.html)[0]
    asked.clear()
    same = run(config, out, overwrite=True)
    assert (asked, same.changed) == ([], ())
    assert same.reused == ("Map of the cohort", "Retrieval")
    assert "has changed" not in _read(same.html)[0]


def test_a_verdict_that_changed_is_named(tmp_path: Path) -> None:
    home = write_study(tmp_path / "study")
    out = tmp_path / "out"
    run(config_of(home, SHORT), out)
    changed = run(config_of(home, SHORT.replace("[deep]", "[noise]")), out, overwrite=True).changed
    assert any(line.startswith("study file 'study.yaml' has changed") for line in changed)
    assert any(line.startswith("embedding, vectors 'deep' is no longer used") for line in changed)
    assert any(line.startswith("Retrieval: the verdict was ") for line in changed)


def test_an_interrupted_report_goes_on_where_it_stopped(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, out = config_of(home, SHORT, "short.yaml"), tmp_path / "out"
    real = Answers.answered

    def stopped(self: Answers, section: Any, key: str, say: Any) -> Any:
        if section.kind == "retrieve":
            folder = self.out / "sections" / section.slug
            folder.mkdir(parents=True)
            (folder / "retrieve.csv").write_text("half a fi")
            raise KeyboardInterrupt
        return real(self, section, key, say)

    monkeypatch.setattr(Answers, "answered", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(config, out)
    assert not (out / "report.html").exists()
    monkeypatch.setattr(Answers, "answered", real)
    done = run(config, out)
    assert done.reused == ("Map of the cohort",)
    assert "half" not in (out / "sections" / done.sections[1].slug / "retrieve.csv").read_text()
    with pytest.raises(InputError, match="already holds a report"):
        run(config, out)


def test_unfinished_sections_of_another_study_are_not_thrown_away(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(config_of(home, SHORT, "short.yaml"), out)
    for name in ("report.html", "report.json"):
        (out / name).unlink()
    other = config_of(home, SHORT + "seed: 5\n", "other.yaml")
    with pytest.raises(
        InputError, match=r"sections of an unfinished report of other or unreadable inputs .*--overwrite"
    ):
        run(other, out)
    assert run(other, out, overwrite=True).reused == ()


def test_records_of_another_format_are_not_thrown_away_in_silence(home: Path, tmp_path: Path) -> None:
    config, out = config_of(home, SHORT, "short.yaml"), tmp_path / "out"
    first = run(config, out)
    (out / "report.json").write_text("{", encoding="utf-8")
    with pytest.raises(
        InputError, match=r"already holds a report whose inputs cannot be read: .*--overwrite"
    ):
        run(config, out)
    for name in ("report.html", "report.json"):
        (out / name).unlink()
    record = out / "sections" / first.sections[0].slug / "section.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"format": 0}), encoding="utf-8")
    with pytest.raises(InputError, match=rf"unreadable inputs \({first.sections[0].slug}\): .*--overwrite"):
        run(config, out)
    assert record.is_file()


def test_only_files_of_a_section_are_removed_and_no_link_is_followed(home: Path, tmp_path: Path) -> None:
    config, out = config_of(home, SHORT, "short.yaml"), tmp_path / "out"
    slug = run(config, out).sections[0].slug
    folder = out / "sections" / slug
    (folder / "mine").mkdir()
    (folder / "mine" / "notes.txt").write_text("mine")
    assert run(config, out, overwrite=True, fresh=True).reused == ()
    assert (folder / "mine" / "notes.txt").read_text() == "mine"
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    before = sorted(p.name for p in folder.iterdir())
    with pytest.raises(InputError, match="a link to another place"):
        run(config, out, overwrite=True, fresh=True)
    assert sorted(p.name for p in folder.iterdir()) == before


def test_another_program_answers_anew_without_asking(
    home: Path, tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, out = config_of(home, SHORT, "short.yaml"), tmp_path / "out"
    run(config, out)
    for name in ("report.html", "report.json"):
        (out / name).unlink()
    asked.clear()
    monkeypatch.setattr("analysis.report.records.code_sha256", lambda: "another version")
    run(config, out)  # the questions are the same, so nothing is lost by asking them again
    assert asked == ["Map of the cohort", "Retrieval"]


def test_what_lies_beside_in_the_store_counts_for_the_gradients_controls(
    tmp_path: Path, asked: list[str]
) -> None:
    home = write_study(tmp_path / "study")
    config, out = config_of(home, MINIMAL + "gradient: {permutations: 99}\nretrieve:\n"), tmp_path / "out"
    run(config, out)
    store = EmbeddingStore(home / "store")
    spec = {"encoder": "later", "licence": "CC0", "synthetic": True}
    with store.writer(spec, dim=3, name="later") as writer:
        writer.add([{"patient_id": "P001", "embedding": [1.0, 2.0, 3.0]}])
    asked.clear()
    run(config, out, overwrite=True)
    assert asked == ["Stage gradient"]


def test_a_damaged_section_is_made_anew(home: Path, tmp_path: Path, asked: list[str]) -> None:
    config, out = config_of(home, SHORT, "short.yaml"), tmp_path / "out"
    first = run(config, out)
    (out / "sections" / first.sections[0].slug / "section.json").write_text("{")
    (out / "sections" / first.sections[1].slug / "retrieve.csv").unlink()
    asked.clear()
    run(config, out, overwrite=True)
    assert asked == ["Map of the cohort", "Retrieval"]


def test_a_section_that_its_data_cannot_carry_is_reported_in_its_place(home: Path, tmp_path: Path) -> None:
    text = SHORT.replace("where: [site=ours]", "where: [stage=I]") + "gradient: {permutations: 99}\n"
    done = run(config_of(home, text, "few.yaml"), tmp_path / "out")
    failed = {r.kind: r.failed for r in done.sections}
    assert "fewer than two stages" in failed["gradient"]
    assert failed["project"] == ""
    words, _ = _read(done.html)
    assert f"Not answered: {failed['gradient']}" in words
    assert "--" not in failed["gradient"]
    leaf = next(leaf for leaf in done.flow.leaves if leaf.label.endswith("Stage gradient"))
    assert leaf.n is None
    assert "not answered: Stage gradient" in (done.out / "checklist.csv").read_text(encoding="utf-8")


def test_a_fault_of_the_program_costs_its_section_alone(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("by nothing")

    monkeypatch.delenv("FLEXICT_DEBUG", raising=False)
    monkeypatch.setattr("analysis.retrieval_metrics", broken, raising=False)
    config = config_of(home, SHORT, "short.yaml")
    done = run(config, tmp_path / "out")
    assert [(r.fault, bool(r.verdict)) for r in done.sections] == [(False, True), (True, False)]
    text, _ = _read(done.html)
    assert "Not answered: internal error, ZeroDivisionError: by nothing" in text
    assert "a fault of the program and says nothing about the data" in text
    monkeypatch.undo()
    mended = run(config, tmp_path / "out", overwrite=True)
    assert mended.reused == ("Map of the cohort",)
    assert not any(r.failed for r in mended.sections)


def test_several_embeddings_stand_side_by_side_on_the_same_patients(home: Path, tmp_path: Path) -> None:
    text = SHORT.replace("[deep]", "[deep, noise]") + "gradient: {permutations: 99}\n"
    done = run(config_of(home, text, "both.yaml"), tmp_path / "out")
    titles = [r.title for r in done.sections]
    assert titles == [
        "Map of the cohort · deep", "Map of the cohort · noise", "Stage gradient · deep", "Stage gradient · noise",
        "Retrieval · deep", "Retrieval · noise",
    ]  # fmt: skip
    assert len({r.n for r in done.sections if r.kind == "gradient"}) == 1
    deep = next(r for r in done.sections if r.title == "Stage gradient · deep")
    assert deep.facts["comparison"]["pairs"]
    assert any("noise" in f.name for f in deep.figures_now)
    assert "Embeddings compared on the same patients" in _read(done.html)[0]


@pytest.mark.browser
def test_figures_that_were_not_asked_for_are_drawn_when_they_are(
    chromium: str, home: Path, tmp_path: Path, asked: list[str]
) -> None:
    from app.commands.report import section_drawings

    config, out = config_of(home, MINIMAL + "project: {method: pca}\n", "map.yaml"), tmp_path / "out"
    assert run(config, out).pdf is None
    drawn = run(config, out, overwrite=True, figures=True, drawings_of=section_drawings)
    assert len(asked) == 2
    assert [f.drawn for f in drawn.sections[0].figures] == [True]
    again = run(config, out, overwrite=True)
    assert (len(asked), len(again.sections[0].figures)) == (2, 1)
    assert again.html.read_text(encoding="utf-8").count("<svg") == 2


def test_a_probes_p_stands_beside_its_chance_on_the_first_page(home: Path, tmp_path: Path) -> None:
    probe = "probe: {target: stage, task: classify, repeats: 1, permutations: 19}\n"
    done = run(config_of(home, MINIMAL + probe, "probe.yaml"), tmp_path / "out")
    (figure,) = done.sections[0].figures_now
    held = json.loads((done.out / "sections" / done.sections[0].slug / "probe.json").read_text())
    p = held["metrics"]["balanced_accuracy"]["p_value"]
    assert figure.beside == f"chance 0.250, p ≤ {p:.2g}"  # the stage is planted: no draw is as extreme
    assert p == pytest.approx(1 / 20)
    assert figure.beside in _read(done.html)[0]


def test_nothing_asked_is_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="asks for nothing"):
        run(config_of(home, MINIMAL, "nothing.yaml"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_peoples_files_stay(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "sections" / "mine").mkdir(parents=True)
    (out / "sections" / "mine" / "notes.txt").write_text("mine")
    run(config_of(home, SHORT, "short.yaml"), out)
    run(config_of(home, MINIMAL + "project: {method: pca}\n", "less.yaml"), out, overwrite=True)
    assert (out / "sections" / "mine" / "notes.txt").read_text() == "mine"
    assert [p.name for p in sorted((out / "sections").iterdir())] == ["01-map-deep", "mine"]


def test_without_a_browser_all_else_is_written(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_here(_: object) -> None:
        raise FigureExportError("no Chrome or Chromium could draw the figure: install Chromium")

    monkeypatch.setattr(FigureBrowser, "__enter__", none_here)
    from app.commands.report import section_drawings

    done = run(
        config_of(home, SHORT, "short.yaml"), tmp_path / "out", figures=True, drawings_of=section_drawings
    )
    assert done.pdf is None
    assert not (done.out / "report.pdf").exists()
    assert "install Chromium" in done.no_pdf
    words, _ = _read(done.html)
    assert "Not drawn: no Chrome or Chromium" in words
    slug = done.sections[0].slug
    assert (done.out / "sections" / slug / "project_map.csv").is_file()
    assert not list(done.out.rglob("*.svg")) or [p.name for p in done.out.rglob("*.svg")] == ["flow.svg"]


@pytest.mark.browser
def test_figures_are_vectors_and_the_pdf_is_a4_with_its_words(
    chromium: str, home: Path, tmp_path: Path
) -> None:
    from pypdf import PdfReader

    from app.commands.report import section_drawings

    config = config_of(home, SHORT, "short.yaml")
    done = run(config, tmp_path / "out", figures=True, drawings_of=section_drawings)
    assert done.pdf is not None
    reader = PdfReader(done.pdf)
    for page in reader.pages:
        assert float(page.mediabox.width) == pytest.approx(210 / 25.4 * 72, abs=0.5)
        assert float(page.mediabox.height) == pytest.approx(297 / 25.4 * 72, abs=0.5)
    words = [" ".join(page.extract_text().split()) for page in reader.pages]
    assert all("Synthetic data · research use only" in page for page in words)
    assert f"1 / {len(words)}" in words[0]
    assert "trustworthiness" in words[0]
    fonts = {
        str(font.get_object()["/BaseFont"])
        for page in reader.pages
        for font in page["/Resources"]["/Font"].values()  # type: ignore[index]
    }
    assert fonts
    html = done.html.read_text(encoding="utf-8")
    assert html.count("<svg") == 1 + sum(len(r.figures) for r in done.sections)
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    first = {f.name: f.read_bytes() for f in (done.html, done.pdf)}
    again = run(config, tmp_path / "again", figures=True, drawings_of=section_drawings)
    assert again.html.read_bytes() == first["report.html"]
    assert again.pdf is not None


def test_all_is_the_whole_study(whole: Report) -> None:
    assert [r.kind for r in whole.sections] == [
        "audit",
        "project",
        "gradient",
        "probe",
        "retrieve",
        "survival",
    ]
    assert not [r.failed for r in whole.sections if r.failed], ALL
