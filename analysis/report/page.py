"""The report as one HTML file that needs nothing else, and the same page as a PDF."""

from __future__ import annotations

import io
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.report.markup import characteristics_table, inline_svg, prose, table

if TYPE_CHECKING:
    from analysis.report.characteristics import Characteristics
    from analysis.report.checklist import Item
    from analysis.report.cohorts import Cohorts
    from analysis.report.flow import Flow
    from analysis.report.inputs import Input
    from analysis.report.records import Record
    from analysis.report.study import Study

HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Page:
    """Everything that the report prints. specs: specification of each embedding; changed: since an earlier report."""

    study: Study
    study_text: str
    cohorts: Cohorts
    records: Sequence[Record]
    flow: Flow
    flow_svg: str
    patients: Characteristics
    items: Sequence[Item]
    inputs: Sequence[Input]
    specs: Sequence[Mapping[str, Any]]
    changed: Sequence[str]
    command: str
    code_sha256: str


def page_html(page: Page, *, sections: Path) -> str:
    """The HTML. sections: folder of the sections' own folders, from which the figures are taken."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["prose"] = prose
    main = page.cohorts.main
    synthetic = any(c.synthetic for c in page.cohorts.by_name.values())
    of_all = {w for c in page.cohorts.by_name.values() for w in c.warnings}
    asked = [_asked(r, sections / r.slug, i + 1, known=of_all) for i, r in enumerate(page.records)]
    return environment.get_template("report.html.jinja").render(
        page=page,
        study=page.study,
        css=_css(synthetic),
        synthetic=synthetic,
        cohort=main,
        embeddings=[_embedding(c, s) for c, s in zip(page.cohorts.by_name.values(), page.specs, strict=True)],
        sections=asked,
        failed=[r for r in page.records if r.failed],
        flow_drawing=inline_svg(page.flow_svg, stem="flow", label=page.flow.verdict),
        patients=characteristics_table(page.patients),
        versions={**_all_versions(page.records), "Python": platform.python_version()},
    )


def _asked(record: Record, folder: Path, position: int, *, known: set[str]) -> dict[str, Any]:
    """A section for the template; `known`: warnings about all patients, which stand under the flow."""
    figures = []
    for i, figure in enumerate(record.figures):
        file = folder / f"{figure.stem}.svg"
        drawing = (
            inline_svg(file.read_text(encoding="utf-8"), stem=f"s{position}f{i + 1}", label=figure.caption)
            if figure.drawn
            else None
        )
        figures.append({"drawing": drawing, "caption": figure.caption, "stem": figure.stem})
    return {
        "anchor": f"section-{position}",
        "number": position,
        "record": record,
        "figures": figures,
        "table": table(record.kind, record.table),
        "warnings": [w for w in dict.fromkeys(record.warnings) if w not in known],
    }


def _embedding(cohort: Any, spec: Mapping[str, Any]) -> dict[str, Any]:
    recipe = spec.get("recipe")
    return {
        "name": spec.get("name"),
        "encoder": cohort.encoder or "not recorded",
        "dimensions": cohort.X.shape[1],
        "licence": cohort.licence or "not recorded",
        "recipe": recipe.get("name") if isinstance(recipe, Mapping) else recipe,
        "id": cohort.embedding_id,
        "spec": json.dumps(
            {k: v for k, v in spec.items() if k != "feature_names"},
            indent=2,
            ensure_ascii=False,
            sort_keys=True,
        ),
    }


def _all_versions(records: Sequence[Record]) -> dict[str, str]:
    from analysis.results import library_versions

    found = dict(library_versions())
    for record in records:
        found |= {str(k): str(v) for k, v in record.provenance.get("versions", {}).items()}
    return found


@cache
def _stylesheet() -> str:
    return (HERE / "report.css").read_text(encoding="utf-8")


def _css(synthetic: bool) -> str:
    label = "Synthetic data · research use only" if synthetic else "Research use only"
    return _stylesheet().replace("%LABEL%", label)


def page_pdf(html: str, *, title: str, synthetic: bool) -> bytes:
    """The page as PDF (A4, tagged, with an outline), without the time of day, so that the same page gives the same
    file. Raises FigureExportError where no Chrome or Chromium can print."""
    from contextlib import ExitStack

    from pypdf import PdfReader, PdfWriter

    from analysis.figure_browser import FigureBrowser, current_browser
    from analysis.paper.printing import About, named_pdf

    with ExitStack() as stack:
        browser = current_browser() or stack.enter_context(FigureBrowser())
        printed = browser.printed(html)
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(printed)))
    return named_pdf(writer, About(title, synthetic))
