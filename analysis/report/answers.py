"""Sections answered into their folders: the result's files, its figures, and last the record that says it is whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from analysis.export import export_figure, export_result
from analysis.report.cohorts import Cohorts, as_keys
from analysis.report.records import (
    RECORD,
    FigureRecord,
    Record,
    failed_record,
    read_record,
    record_of,
    still_holds,
    write_record,
)
from analysis.report.sections import Section
from analysis.results import Result
from flexict_core.errors import FigureExportError, FlexictError, InputError

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

    from analysis.report.study import Study

Say = Callable[[str], None]


class Drawing(Protocol):
    """One figure of a result: the stem of its files, what draws it, and the numbers it draws."""

    @property
    def stem(self) -> str: ...
    @property
    def draw(self) -> Callable[[], Figure]: ...
    @property
    def source(self) -> Callable[[], pd.DataFrame]: ...


DrawingsOf = Callable[[Section, Result, Cohorts], Sequence[Drawing]]


@dataclass(frozen=True)
class Answers:
    """Answers sections into their folders. figures: they are wanted; browser: there is one to draw them."""

    out: Path
    study: Study
    cohorts: Cohorts
    drawings_of: DrawingsOf
    figures: bool
    browser: bool

    def held(self, section: Section, key: str) -> Record | None:
        """The answer of an earlier run where it still holds; figures that no browser could draw then are asked for."""
        folder = self.out / "sections" / section.slug
        record = read_record(folder)
        return record if still_holds(folder, record, key=key, figures=self.browser) else None

    def answered(self, section: Section, key: str, say: Say) -> Record:
        folder = self.out / "sections" / section.slug
        remove_older(folder)  # a record that is not whole says nothing of the files beside it
        try:
            say("begun")
            result = section.answer(self.cohorts, seed=self.study.seed, say=say)
        except FlexictError as error:
            record = failed_record(section, as_keys(error), key=key)
        except Exception as error:
            if os.environ.get("FLEXICT_DEBUG"):
                raise
            fault = f"internal error, {type(error).__name__}: {' '.join(str(error).split())}"
            record = replace(failed_record(section, fault, key=key), fault=True)
        else:
            export_result(result, folder, command=result.command)
            figures = self.drawn(section, result, folder, say)
            losses = section.losses(self.cohorts.by_name[section.own])
            record = record_of(section, result, key=key, losses=losses, figures=figures)
        write_record(folder, record)
        return record

    def drawn(
        self, section: Section, result: Result, folder: Path, say: Say
    ) -> tuple[FigureRecord, ...] | None:
        """Each figure's files; without a browser their numbers and captions alone. None where none are wanted."""
        if not self.figures:
            return None
        found = []
        drawings = self.drawings_of(section, result, self.cohorts)
        for i, drawing in enumerate(drawings):
            say(f"figure {i + 1} of {len(drawings)}")
            fig, drawn = drawing.draw(), True
            try:
                export_figure(
                    fig,
                    folder / drawing.stem,
                    formats=("svg", "pdf"),
                    source=drawing.source(),
                    result=result,
                )
            except FigureExportError:
                drawn = False
            caption = str((fig.layout.meta or {}).get("caption") or result.verdict)
            found.append(FigureRecord(drawing.stem, caption, drawn))
        return tuple(found)


def remove_older(folder: Path) -> None:
    """The files of a section that is made anew; InputError for a link, and for what cannot be removed."""
    if folder.is_symlink() or folder.parent.is_symlink():
        raise InputError(
            f"--out holds {str(folder)!r}, a link to another place: remove it, or choose another folder"
        )
    try:
        for older in folder.glob("*"):
            if older.is_symlink() or older.is_file():
                older.unlink()
    except OSError as error:
        raise InputError(
            f"--out: {str(folder)!r} cannot be emptied ({error.strerror}): choose another folder"
        ) from None


def remove_other(folder: Path, kept: set[str]) -> None:
    """Sections of an earlier report that this study does not ask for: only folders that a report made."""
    import shutil

    for record in folder.glob(f"*/{RECORD}"):
        if record.parent.name not in kept and not record.parent.is_symlink():
            shutil.rmtree(record.parent)
