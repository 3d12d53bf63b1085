"""A study from its file to a folder: sections answered (or taken again from an earlier run), then the report."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.export import csv_text, json_text, write_bytes, write_text
from analysis.figure_browser import REMEDY, FigureBrowser, current_browser
from analysis.report.answers import Answers, DrawingsOf, Say, remove_other
from analysis.report.characteristics import characteristics
from analysis.report.checklist import Evidence, checklist, checklist_table
from analysis.report.cohorts import load_cohorts
from analysis.report.flow import Flow, patient_flow
from analysis.report.flow_drawing import flow_svg
from analysis.report.inputs import REPORT, Input, changed_verdicts, changes, earlier_report, inputs_of
from analysis.report.page import Page, page_html, page_pdf
from analysis.report.reading import read_study
from analysis.report.records import RECORD, Record, code_sha256, read_record, same_question, section_key
from analysis.report.sections import plan
from analysis.results import SCHEMA_VERSION, library_versions
from flexict_core.errors import FigureExportError, InputError
from flexict_core.store.format import read_spec


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was written. changed: what is not as in the earlier report of the folder; no_pdf: why there is no PDF."""

    out: Path
    html: Path
    pdf: Path | None
    sections: tuple[Record, ...]
    reused: tuple[str, ...]
    flow: Flow
    inputs: tuple[Input, ...]
    changed: tuple[str, ...]
    no_pdf: str
    synthetic: bool

    def to_dict(self) -> dict[str, Any]:
        """The content of report.json: verdicts, inputs, flow; the same for the same inputs."""
        return {
            "schema_version": SCHEMA_VERSION,
            "command": "report",
            "verdict": "; ".join(f"{r.title}: {r.verdict or 'not answered'}" for r in self.sections),
            "n": self.flow.n,
            "warnings": list(dict.fromkeys(w for r in self.sections for w in r.warnings)),
            "provenance": {
                "embedding_id": self.flow.provenance.embedding_id,
                "data_sha256": {f"{i.what}: {i.name}": i.sha256 for i in self.inputs},
                "parameters": {},
                "seed": self.flow.provenance.seed,
                "versions": library_versions(),
                "synthetic": self.synthetic,
            },
            "inputs": self.inputs,
            "sections": [
                {
                    "title": r.title, "folder": f"sections/{r.slug}", "n": r.n, "failed": r.failed,
                    "verdict": r.verdict, "key_figures": r.figures_now, "embeddings": r.embeddings,
                }
                for r in self.sections
            ],
            "flow": self.flow.details(),
        }  # fmt: skip


def write_report(
    config: str | Path,
    out: str | Path,
    *,
    drawings_of: DrawingsOf,
    store: Path | None = None,
    clinical: Path | None = None,
    overwrite: bool = False,
    fresh: bool = False,
    figures: bool = True,
    command: str = "",
    say: Say = lambda _: None,
) -> Report:
    """Answer a study file and write its report into a folder.

    Finished sections of an earlier run are taken again where question, data and versions are the same (unless
    `fresh`), so an interrupted report goes on. overwrite: replace an earlier report, whose differences are named.
    drawings_of: the figures of a section. say: called with what is being done.

    Raises InputError for a study file that cannot be used, and for a folder that holds an earlier report (saying what
    has changed since). A section that its data cannot carry is reported in its place.
    """
    file, folder = Path(config), Path(out)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {str(folder)!r} is a file: name a folder")
    study, sha256 = read_study(file, store=store, clinical=clinical)
    say("joining embeddings and clinical table")
    cohorts = load_cohorts(study, file=file.name)
    sections = plan(study, cohorts, file=file.name)
    inputs = inputs_of(study, cohorts, sections, config=file, config_sha256=sha256)
    keys = {s.slug: section_key(s, study, cohorts) for s in sections}
    before = earlier_report(folder)
    if not overwrite:
        _refuse_older(folder, before, inputs, keys)
    with ExitStack() as stack:
        if figures and current_browser() is None:
            with suppress(FigureExportError):  # said below
                stack.enter_context(FigureBrowser())
        answers = Answers(
            folder, study, cohorts, drawings_of, figures, figures and current_browser() is not None
        )
        records, reused = [], []
        for i, section in enumerate(sections):
            at = f"[{i + 1}/{len(sections)}] {section.title}"
            record = None if fresh else answers.held(section, keys[section.slug])
            if record is not None:
                say(f"{at}: as in the earlier run")
                reused.append(section.title)
            else:
                record = answers.answered(section, keys[section.slug], _saying(say, at))
            records.append(record)
        remove_other(folder / "sections", set(keys))
        say("writing the report")
        return _write(answers, records, reused, inputs=inputs, before=before, file=file, command=command)


def _saying(say: Say, at: str) -> Say:
    return lambda text: say(f"{at}: {text}")


def _refuse_older(folder: Path, before: Any, inputs: Sequence[Input], keys: dict[str, str]) -> None:
    """InputError where the folder holds a report, or sections of an unfinished one that asks something else."""
    remedy = "choose another folder, or pass --overwrite"
    if before is not None or (folder / "report.html").exists():
        if before is None:
            what = "whose inputs cannot be read"
        else:
            changed = changes(before, inputs)
            what = f"of other inputs: {'; '.join(changed)}" if changed else "of the same inputs"
        raise InputError(f"--out {str(folder)!r} already holds a report {what}: {remedy}")
    held = sorted(p.parent.name for p in folder.glob(f"sections/*/{RECORD}"))
    other = [
        name
        for name in held
        if (record := read_record(folder / "sections" / name)) is None
        or not same_question(record.key, keys.get(name))
    ]
    if other:
        raise InputError(
            f"--out {str(folder)!r} holds sections of an unfinished report of other or unreadable inputs "
            f"({', '.join(other)}): {remedy}"
        )


def _write(
    answers: Answers,
    records: Sequence[Record],
    reused: Sequence[str],
    *,
    inputs: tuple[Input, ...],
    before: Any,
    file: Path,
    command: str,
) -> Report:
    study, cohorts, out = answers.study, answers.cohorts, answers.out
    analysed = [(f"{i + 1} {r.title}", r.n, r.losses) for i, r in enumerate(records)]
    flow = patient_flow(cohorts, analysed, seed=study.seed)
    patients = characteristics(
        cohorts.main, columns=study.describe, stage=study.stage, order=study.order if study.stage else None
    )
    specs = [read_spec(Path(study.store) / c.embedding_id) for c in cohorts.by_name.values()]
    items = checklist(Evidence(study, cohorts, flow, records, specs))
    changed = [] if before is None else changes(before, inputs)
    if before is not None:
        changed += changed_verdicts(before, {r.title: r.verdict for r in records})
    page = Page(
        study=study,
        study_text=file.read_text(encoding="utf-8-sig"),
        cohorts=cohorts,
        records=records,
        flow=flow,
        flow_svg=flow_svg(flow),
        patients=patients,
        items=items,
        inputs=inputs,
        specs=specs,
        changed=changed,
        command=command,
        code_sha256=code_sha256(),
    )
    synthetic = any(c.synthetic for c in cohorts.by_name.values())
    write_text(out / "flow.svg", page.flow_svg + "\n")
    write_text(out / "flow.csv", csv_text(flow.table()))
    write_text(out / "patients.csv", csv_text(patients.table()))
    write_text(out / "checklist.csv", csv_text(checklist_table(items)))
    write_text(out / "left_out.csv", csv_text(cohorts.main.lost))
    html = page_html(page, sections=out / "sections")
    written = write_text(out / "report.html", html)
    pdf, no_pdf = out / "report.pdf", ""
    try:
        if not answers.browser:
            raise FigureExportError(f"no Chrome or Chromium was there to print with: {REMEDY}")
        write_bytes(pdf, page_pdf(html, title=study.title, synthetic=synthetic))
    except FigureExportError as error:
        pdf.unlink(missing_ok=True)
        no_pdf = str(error)
    report = Report(
        out=out,
        html=written,
        pdf=None if no_pdf else pdf,
        sections=tuple(records),
        reused=tuple(reused),
        flow=flow,
        inputs=inputs,
        changed=tuple(changed),
        no_pdf=no_pdf,
        synthetic=synthetic,
    )
    write_text(out / REPORT, json_text(report.to_dict()))
    return report
