"""An analysis with all its files: what the command line and the demo do alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.console import Console
from app.drawings import Drawing, audit_drawings, gradient_drawings, project_drawings, retrieve_drawings
from flexict_core.errors import CohortError, FigureExportError, InputError

if TYPE_CHECKING:
    from analysis.audit import AuditResult
    from analysis.cohort import Cohort
    from analysis.projection import ProjectionResult
    from analysis.results import Result
    from analysis.retrieval import Protocol
    from analysis.stage_gradient import StageGradientResult
    from analysis.zero_shot import EncodeText

LEFT_OUT = "left_out.csv"
AXIS_FILE = "axis.json"


def check_out(out: Path, command: str, *, overwrite: bool) -> None:
    """InputError when `out` is a file, or holds files that this command would write over."""
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {str(out)!r} is a file: name a folder")
    names = (f"{command}.json", f"{command}.csv", "methods.md")
    older = [name for name in names if (out / name).exists()]
    if older and not overwrite:
        raise InputError(
            f"--out {str(out)!r} already holds {', '.join(older)}: choose another folder, or pass --overwrite"
        )


def run_gradient(
    cohort: Cohort,
    *,
    stage: str,
    order: str,
    out: Path,
    adjust: Sequence[str] = (),
    group: str | None = None,
    permutations: int = 9999,
    seed: int = 0,
    against: Mapping[str, Cohort] | None = None,
    axis: Path | None = None,
    save_axis: Path | None = None,
    duration: str | None = None,
    event: str | None = None,
    event_value: str | None = None,
    duration_unit: str | None = None,
    console: Console,
) -> StageGradientResult:
    """Stage gradient of a cohort with its files and its axis in `out`; the result comes back.

    `against`: further embeddings by name; `axis`: an axis file to apply; `save_axis`: a second place for the axis.
    """
    from analysis import stage_gradient
    from analysis.export import write_text
    from analysis.gradient.alignment import in_every_embedding
    from analysis.gradient.transport import StageAxis

    frozen = None if axis is None else StageAxis.load(axis)
    if save_axis is not None and save_axis.is_dir():
        raise InputError(f"--save-axis {str(save_axis)!r} is a folder: name a file")
    needed = [*adjust, *([group] if group else [])]
    cohort = in_every_embedding(cohort, against or {})
    complete = cohort.complete(needed) if needed else cohort
    staged, _, parsed = complete.with_stage(stage, order)
    result = stage_gradient(
        complete,
        stage,
        order=parsed.labels,
        adjust=list(adjust) or None,
        groups=group,
        against=against,
        axis=frozen,
        duration=duration,
        event=event,
        event_value=event_value,
        duration_unit=duration_unit,
        permutations=permutations,
        seed=seed,
        progress=console.progress_line,
    )
    if result.axis is not None:
        for place in (out / AXIS_FILE, save_axis):
            if place is not None:
                write_text(place, result.axis.to_json())
    finish(result, out, drawings=gradient_drawings(result), cohort=staged, console=console)
    return result


def run_project(
    cohort: Cohort,
    *,
    out: Path,
    colour: str | None = None,
    order: str | None = None,
    clusters: bool = False,
    place: str | None = None,
    console: Console,
    **options: Any,
) -> ProjectionResult:
    """Two-dimensional picture of a cohort with its files in `out`; options are those of `analysis.project`.

    place: "COLUMN=VALUE" of patients who take no part in the map and are placed on it by their neighbours.
    """
    from analysis import project
    from analysis.clinical import parse_order, stage_codes
    from analysis.clusters import find_clusters
    from analysis.placement import place_new, set_apart

    cohort, apart = (cohort, None) if place is None else set_apart(cohort, place)
    if order is not None and colour is None:
        raise CohortError(
            f"--order {order!r} orders the values of --colour, and there is none: name the column"
        )
    values: Sequence[Any] | None = None if colour is None else list(cohort.column(colour))
    labels: tuple[str, ...] | None = None
    if order is not None and values is not None:
        parsed = parse_order(order)
        codes, _ = stage_codes(values, parsed, column=str(colour))
        labels, values = parsed.labels, [parsed.labels[c] if c >= 0 else None for c in codes]
    console.progress_line("drawing the map")
    result = project(cohort, progress=console.progress, **options)
    if clusters:
        console.progress_line("looking for clusters")
        result = replace(result, clusters=find_clusters(cohort, seed=options.get("seed", 0)))
    if apart is not None:
        result = replace(result, placed=place_new(result, cohort, apart))
    drawings = project_drawings(result, values, label=colour or "", order=labels)
    finish(result, out, drawings=drawings, cohort=cohort, console=console)
    return result


def run_retrieve(
    cohorts: Sequence[Cohort],
    *,
    out: Path,
    label: str | None = None,
    queries: Sequence[str] = (),
    text: str | None = None,
    encode_text: EncodeText | None = None,
    protocol: Protocol = "loo",
    stratify: str | None = None,
    k: int = 10,
    rrf_k: int = 20,
    match: Sequence[str] | None = None,
    caliper: float = 0.5,
    seed: int = 42,
    console: Console,
) -> Result:
    """Retrieval metrics of a label, neighbours of patients or of a text, or both, with their files in `out`."""
    from analysis import retrieval_metrics, search, search_by_text
    from analysis.gallery import open_gallery

    data = list(cohorts) if len(cohorts) > 1 else cohorts[0]
    gallery = open_gallery(data, patient_id=None) if queries else None
    found = [] if gallery is None else [search(gallery, query, k=k, rrf_k=rrf_k) for query in queries]
    if text is not None and encode_text is not None:
        found.append(search_by_text(cohorts[0], text, encode_text=encode_text, k=k))
    if label is None and len(found) != 1:
        raise CohortError(
            "nothing to retrieve: give --label COL for metrics, one --query ID for neighbours, or both"
        )
    if label is None:
        finish(found[0], out, cohort=cohorts[0], console=console)
        return found[0]
    console.progress_line("ranking")
    scored = retrieval_metrics(
        data,
        label,
        protocol=protocol,
        stratify=stratify,
        rrf_k=rrf_k,
        match=match,
        caliper=caliper,
        seed=seed,
    )
    result = replace(scored, neighbours=tuple(found))
    for neighbours in found:
        console.say(neighbours.summary())
    finish(result, out, drawings=retrieve_drawings(result), cohort=cohorts[0], console=console)
    return result


def run_reports(
    cohort: Cohort, *, column: str, encode_text: EncodeText, out: Path, seed: int = 42, console: Console
) -> Result:
    """Do reports and CTs find each other, with the files in `out`."""
    from analysis import report_retrieval

    console.progress_line("reading the reports")
    result = report_retrieval(cohort, column, encode_text=encode_text, seed=seed)
    finish(result, out, cohort=cohort, console=console)
    return result


def run_audit(cohort: Cohort, *, out: Path, console: Console, **options: Any) -> AuditResult:
    """Audit of a cohort with its files in `out`, its verdict beside the store; options as of `analysis.audit`."""
    from analysis import audit
    from analysis.audits.stamp import write_stamp

    result = audit(cohort, progress=console.progress_line, **options)
    finish(result, out, drawings=audit_drawings(result), cohort=cohort, console=console)
    if (path := write_stamp(cohort, result)) is not None:
        console.note(f"the verdict stands on later results of this cohort ({path})")
    return result


def finish(
    result: Result,
    out: Path,
    *,
    drawings: Sequence[Drawing] = (),
    cohort: Cohort,
    console: Console,
) -> None:
    """Write the result's files, its figures and who was left out; say what was found and where it lies.

    Where no browser can print the figures, all else is written and one line says what to install.
    """
    from analysis.export import export_result

    result = _with_audit(result, cohort)
    written = [*export_result(result, out, command=result.command), *_write_left_out(cohort, out)]
    summary = result.summary()
    console.say(summary)
    for text in result.warnings:
        if text not in summary:
            console.note(text)
    if console.figures:
        written += _write_figures(result, out, drawings=drawings, console=console)
    for line in by_stem(written):
        console.say(f"wrote {line}")
    console.show_json(result.to_dict())


def _with_audit(result: Result, cohort: Cohort) -> Result:
    """The result with the verdict of its cohort's audit among the warnings, where there was an audit."""
    from analysis.audits.stamp import audit_verdict

    said = None if result.command == "audit" else audit_verdict(cohort)
    return (
        result
        if said is None
        else replace(result, warnings=(*result.warnings, f"audit of this cohort: {said}"))
    )


def by_stem(paths: Sequence[Path]) -> list[str]:
    """Paths as text, those that differ only in their extension as one: "out/map.{csv,pdf}"."""
    stems: dict[Path, list[str]] = {}
    for path in paths:
        stems.setdefault(path.with_suffix(""), []).append(path.suffix)
    return [
        f"{stem}{ends[0]}" if len(ends) == 1 else f"{stem}.{{{','.join(e[1:] for e in ends)}}}"
        for stem, ends in stems.items()
    ]


def _write_left_out(cohort: Cohort, out: Path) -> list[Path]:
    from analysis.export import csv_text, write_text

    path = out / LEFT_OUT
    path.unlink(missing_ok=True)
    return [] if cohort.lost.empty else [write_text(path, csv_text(cohort.lost))]


def _write_figures(result: Result, out: Path, *, drawings: Sequence[Drawing], console: Console) -> list[Path]:
    from tqdm import tqdm

    from analysis.export import export_figure
    from analysis.figure_browser import FigureBrowser, current_browser

    written: list[Path] = []
    pages = console.pages
    with ExitStack() as stack:
        if drawings and current_browser() is None:
            with suppress(FigureExportError):  # said below, once a figure needs it
                stack.enter_context(FigureBrowser())
        for drawing in tqdm(
            drawings, desc="figures", leave=False, disable=not (console.progress and drawings)
        ):
            for older in out.glob(f"{drawing.stem}.*"):
                older.unlink()
            try:
                export_figure(
                    drawing.draw(width=pages.width), out / drawing.stem, width=pages.width, formats=pages.formats,
                    source=drawing.source(), result=result,
                )  # fmt: skip
            except FigureExportError as error:
                console.note(f"a figure was not drawn, all else was written: {error}")
            written += sorted(out.glob(f"{drawing.stem}.*"))
    return written
