"""A plan carried out: series arrive in a folder of their own name when all of their bytes are there, not before."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from flexict_core.archive import UNFINISHED
from flexict_core.archive.index import series_of
from flexict_core.archive.plan import ArchivedSeries, FetchPlan, in_words, sources_in
from flexict_core.archive.transfer import Refused, program, transfer
from flexict_core.durable import locked, write_whole
from flexict_core.errors import ArchiveError

TABLE, CITATIONS = "series.csv", "citations.txt"


@dataclass(frozen=True)
class FetchReport:
    """What a fetch did. series: complete ones of the plan; fetched: of these, transferred now (size in bytes).

    missing: UIDs of series that did not arrive whole; reason: why the first did not, in the archive's words.
    """

    collection: str
    folder: Path
    patients: int
    series: int
    fetched: int
    size: int
    missing: tuple[str, ...]
    reason: str
    table: Path

    def summary(self) -> str:
        """The outcome in a line."""
        return (
            f"{self.series} series of {self.patients} patients in {self.folder} "
            f"({self.fetched} fetched now, {in_words(self.size)}); {self.table} lists them with their licences"
        )


def download(plan: FetchPlan, *, progress: bool = True) -> FetchReport:
    """Transfer the waiting series of a plan.

    A series that is complete is left alone, one that is not is fetched anew. Beside them `series.csv` (as the
    index has them, with licence and DOI) and `citations.txt` are written, for what is complete.
    Raises ArchiveError where the archive cannot be reached; what had arrived by then stays.
    """
    folder, unfinished = plan.out / plan.collection, plan.out / UNFINISHED
    unfinished.mkdir(parents=True, exist_ok=True)
    done: list[ArchivedSeries] = []
    with locked(unfinished, wait=False) as mine:
        if not mine and os.name == "posix":
            raise ArchiveError(f"another fetch is at work in {str(plan.out)!r}: wait for it, or end it")
        try:
            reason = _transfer(plan, done, progress=progress) if plan.waiting else ""
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
            table = _write_records(plan, folder)
    complete = [s for s in plan.series if s.is_complete(plan.out)]
    missing = sorted({s.series_uid for s in plan.series} - {s.series_uid for s in complete})
    return FetchReport(
        collection=plan.collection,
        folder=folder,
        patients=len({s.patient_id for s in complete}),
        series=len(complete),
        fetched=len(done),
        size=sum(s.size for s in done),
        missing=tuple(missing),
        reason=reason or "of another size than the index says",
        table=table,
    )


def _transfer(plan: FetchPlan, done: list[ArchivedSeries], *, progress: bool) -> str:
    """Fill `done`; returns why the first file was refused, "" where none was."""
    from tqdm import tqdm

    program()  # said before anything is made
    work = (plan.out / UNFINISHED / "series").absolute()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    waiting = {str(number): series for number, series in enumerate(plan.waiting)}
    jobs = [(series.url, work / number) for number, series in waiting.items()]
    arrived: Counter[str] = Counter()
    refused = ""
    with (
        tqdm(
            total=plan.waiting_size,
            desc="fetch",
            unit="B",
            unit_scale=True,
            file=sys.stderr,
            disable=not progress,
            dynamic_ncols=True,
        ) as bar,
        closing(transfer(jobs, script=work / "jobs")) as files,
    ):
        for arrival in files:
            if isinstance(arrival, Refused):
                refused = refused or arrival.reason
                continue
            number = arrival.file.relative_to(work).parts[0]
            arrived[number] += 1
            bar.update(arrival.size)
            series = waiting[number]
            if arrived[number] == series.files and _take(work / number, series, plan.out):
                done.append(series)
                bar.set_postfix_str(f"{len(done)}/{len(waiting)} series")
    return refused


def _take(arrived: Path, series: ArchivedSeries, out: Path) -> bool:
    """Move a series to its place if it is whole: at once, or file by file into what an earlier fetch left."""
    files = list(arrived.iterdir())
    if len(files) != series.files or sum(file.stat().st_size for file in files) != series.size:
        return False
    target = out / series.folder
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        arrived.rename(target)
    except OSError:  # the folder is there, damaged
        for file in files:
            file.replace(target / file.name)
    return True


def _write_records(plan: FetchPlan, folder: Path) -> Path:
    """The index's rows of all series of the collection that are here whole, and whom to cite."""
    whole = {s.series_uid for s in plan.series if s.is_complete(plan.out)}
    table, citations = folder / TABLE, folder / CITATIONS
    if not whole:
        return table
    rows = series_of(plan.collection)
    earlier = _listed_before(table)
    rows = rows[rows["series_uid"].isin(whole | earlier)].drop(columns="url")

    def cite(path: Path) -> None:
        lines = (f"{source.line()}\n" for source in sources_in(rows, plan.collection))
        path.write_text("".join(lines), encoding="utf-8")

    write_whole(table, lambda path: rows.to_csv(path, index=False))
    write_whole(citations, cite)
    return table


def _listed_before(table: Path) -> set[str]:
    if not table.is_file():
        return set()
    import pandas as pd

    return set(pd.read_csv(table, dtype=str)["series_uid"])
