"""The audit in pictures: the ledger of recorded fields, and what is lost when a group is left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.audits.result import CONFOUNDS, READABLE
from analysis.gradient.words import p_text
from analysis.plots.forest import ForestRow, forest, forest_source, not_drawn, that_fit
from analysis.plots.theme import FAINT, PT, Width, decimal, finish, shown
from flexict_core.errors import AnalysisError

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from analysis.audit import AuditResult
    from analysis.audits.result import FieldRow

_KINDS = {CONFOUNDS: 1, READABLE: 0}


def ledger_forest(result: AuditResult, *, width: Width = "single") -> go.Figure:
    """Every recorded field by how well the embedding tells it, and what goes with the label."""
    rows = _ledger_rows(result)
    fig = forest(
        rows, title="Readable from the embedding<br>(0 = not, 1 = perfectly)", nothing=0.0, width=width
    )
    goes = f" and goes with {shown(result.label)}" if result.label else ""
    notes = [
        "Categories: 2 × AUC − 1 (mean of one against the rest). Numbers: correlation of the held-out prediction. "
        f"Bars: 95 % intervals. p: {result.draws:,} permutations with refits, Holm's correction over "
        f"{len(result.fields)} fields.",
        f"Squares: readable{goes}. Circles: readable. Diamonds: not shown." if result.label
        else "Circles: readable. Diamonds: not shown.",
    ]  # fmt: skip
    notes += not_drawn(len(result.fields), rows, "less readable fields")
    caption = f"Recorded fields as the embedding of {result.n} patients tells them. {' '.join(notes)}"
    return finish(fig, result.provenance, name="audit_ledger", notes=notes, caption=caption)


def ledger_forest_source(result: AuditResult) -> pd.DataFrame:
    """field, value as drawn, its interval, Holm's p, n, remark."""
    return forest_source(_ledger_rows(result)).rename(columns={"estimate": "field", "p_value": "p_holm"})


def _ledger_rows(result: AuditResult) -> list[ForestRow]:
    if not result.fields:
        raise AnalysisError("no recorded field was read from this embedding: there is no ledger to draw")
    return that_fit(
        [
            ForestRow(
                f.name,
                f.strength,
                f.strength_ci,
                f.n,
                f.p_holm,
                _remark(f, result.draws),
                _KINDS.get(f.verdict, 2),
            )
            for f in result.fields
        ]
    )


def _remark(f: FieldRow, draws: int) -> str:
    return f"{f.metric} {decimal(f.readability, 2)}, {p_text(f.p_holm, draws)}"


def left_out_forest(result: AuditResult, *, width: Width = "single") -> go.Figure:
    """Concordance in each group left out of the learning, beside the cross-validated one of all."""
    rows = _group_rows(result)
    groups = result.left_out_groups
    assert groups is not None  # `_group_rows` refuses where there are none
    fig = forest(
        rows, title=f"Concordance of {shown(groups.label)}<br>(0.5 = none)", nothing=0.5, width=width
    )
    fig.add_vline(x=groups.pooled, line={"width": 0.75 * PT, "color": FAINT, "dash": "dash"}, layer="below")
    notes = [
        f"Dashed: cross-validated over all patients ({groups.pooled:.3f}). Each {shown(groups.column)} is ordered "
        f"by an axis learnt on the others. p: the fall, against {groups.draws} redraws of groups of the same "
        "sizes; Holm's correction over the groups. No interval is shown: none is known to cover.",
        *not_drawn(sum(r.left_out is not None for r in groups.rows) + 1, rows, "groups"),
    ]
    caption = (
        f"What {shown(groups.label)} loses when a {shown(groups.column)} is left out: {groups.pooled:.3f} becomes "
        f"{groups.left_out:.3f} ({p_text(groups.p_value, groups.draws)}), n = {result.n}. {notes[0]}"
    )
    return finish(fig, result.provenance, name="audit_groups", notes=notes, caption=caption)


def left_out_forest_source(result: AuditResult) -> pd.DataFrame:
    """group, concordance, p of the fall, n, remark."""
    return forest_source(_group_rows(result)).rename(columns={"estimate": "group"})


def _group_rows(result: AuditResult) -> list[ForestRow]:
    groups = result.left_out_groups
    if groups is None:
        raise AnalysisError("no group was left out: give the audit a group and a label")
    everyone = ForestRow(
        "All left out in turn", groups.left_out, None, result.n, groups.p_value,
        p_text(groups.p_value, groups.draws),
    )  # fmt: skip
    rows = [
        ForestRow(
            r.group, r.left_out, None, r.n, r.p_holm,
            "" if r.p_holm is None else p_text(r.p_holm, groups.draws), kind=1,
        )
        for r in groups.rows
        if r.left_out is not None
    ]  # fmt: skip
    return that_fit([everyone, *rows])
