"""Clinical columns: which have few values, which can be drawn, in what order and colours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app import state
from app.held import Held
from app.loaders.cohorts import cohort_key

if TYPE_CHECKING:
    from analysis.cohort import Cohort
    from analysis.plots.projection import Colouring

_MOST_LEVELS = 20
_MOST_SPELLINGS = 200  # of them in a column
_MOST_OFFERED = 500  # columns in menus, each of which is sent to every page that has one
_LONGEST = 200  # letters of a name or value in a menu
_COLUMNS: Held[Columns] = Held(most=32, most_mb=64)
_COLOURINGS: Held[Colouring] = Held(most=64, most_mb=128)


def colouring(cohort: Cohort, column: str, order: list[str] | None) -> Colouring:
    """How a column colours the map."""
    from analysis.plots.projection import colouring as make

    key = (cohort_key(cohort), column, tuple(order or ()))
    return _COLOURINGS.get(key, lambda: make(cohort.column(column), label=column, order=order))


@dataclass(frozen=True)
class Columns:
    """What menus offer of a clinical table. levels: of columns with few different values, in natural order; numbers:
    columns of numbers with more than two; left_out: how many further columns no menu lists."""

    offered: tuple[str, ...]
    levels: dict[str, list[str]]
    numeric: tuple[str, ...]
    numbers: tuple[str, ...]
    left_out: int


def columns(cohort: Cohort) -> Columns:
    """The columns of the table's beginning, the stage before all: a menu of 10,000 serves nobody."""
    first = tuple(c for c in (state.view().stage, state.AppConfig.from_environment().stage) if c)
    return _COLUMNS.get((cohort_key(cohort), first), lambda: _columns(cohort, first))


def _columns(cohort: Cohort, first: tuple[str, ...]) -> Columns:
    table = cohort.table
    names = [str(c) for c in table.columns if c != cohort.id_column and len(str(c)) <= _LONGEST]
    offered = tuple(dict.fromkeys([*(c for c in first if c in names), *names]))[:_MOST_OFFERED]
    offered = tuple(c for c in names if c in set(offered))  # in the table's order
    levels = {name: found for name in offered if (found := _levels(cohort, name))}
    numeric = tuple(c for c in offered if table[c].dtype.kind == "f")
    numbers = tuple(c for c in numeric if table[c].nunique() > 2)
    return Columns(offered, levels, numeric, numbers, table.shape[1] - 1 - len(offered))


def _levels(cohort: Cohort, name: str) -> list[str]:
    """The 2 to 20 different values of a column; none where there are others, or one too long for a menu."""
    from analysis.clinical import canonical
    from analysis.selection import natural_key

    different = cohort.table[name].unique()
    if len(different) > _MOST_SPELLINGS or any(len(str(v)) > _LONGEST for v in different):
        return []
    values = sorted({canonical(v) for v in different} - {""}, key=natural_key)
    return values if 2 <= len(values) <= min(_MOST_LEVELS, max(2, cohort.n // 2)) else []


def category_levels(cohort: Cohort) -> dict[str, list[str]]:
    """Columns with few different values, and those values as text, in natural order."""
    return columns(cohort).levels


def stage_order(cohort: Cohort, column: str, config: state.AppConfig) -> list[str] | None:
    """The order of the stages where `column` is the stage column and the order names each of its values once."""
    from analysis.clinical import canonical

    shown = state.view()
    known = {config.stage: config.order, **({shown.stage: shown.order} if shown.order else {})}
    order = known.get(column)
    names = [canonical(part) for part in order.split(",")] if order else []
    present = set(category_levels(cohort).get(column, ()))
    return names if present and present <= set(names) else None


def plottable_columns(cohort: Cohort) -> list[str]:
    """Columns that are numbers or have few values: what a picture can show or be coloured by."""
    held = columns(cohort)
    shown = {*held.levels, *held.numeric}
    return [c for c in held.offered if c in shown]
