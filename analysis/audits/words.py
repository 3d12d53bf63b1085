"""The audit in words and as a table: every number comes from the result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from analysis.audits.duplicates import FEWEST
from analysis.audits.pretraining import MAYBE, NAMED, NONE
from analysis.audits.result import AuditResult, Duplicate, FieldRow, LeftOutGroups, Overlap
from analysis.gradient.words import interval_text, p_text

if TYPE_CHECKING:
    import pandas as pd

_MOST_LINES = 8


def verdict(
    fields: Sequence[FieldRow],
    groups: LeftOutGroups | None,
    duplicates: Sequence[Duplicate],
    overlap: Sequence[Overlap],
    *,
    label: str | None,
    split: str | None,
    alpha: float,
) -> str:
    """One sentence that other results of the cohort carry."""
    from analysis.audits.result import CONFOUNDS, NOT_SHOWN

    parts = []
    confounders = [f.name for f in fields if f.verdict == CONFOUNDS]
    readable = [f.name for f in fields if f.verdict != NOT_SHOWN]
    if confounders:
        parts.append(
            f"{_named(confounders)} can be read from the embedding and {_go(confounders)} with {label}: adjust for "
            f"{'it' if len(confounders) == 1 else 'them'}"
        )
    elif readable:
        against = f", none of them shown to go with {label}" if label else ""
        parts.append(f"{_named(readable)} can be read from the embedding{against}")
    elif fields:
        parts.append(f"none of {len(fields)} recorded fields was shown to be readable")
    else:
        parts.append("no recorded field could be looked at")
    if groups is not None and groups.p_value < alpha:
        fall = f"{groups.pooled:.2f} to {groups.left_out:.2f}"
        parts.append(f"concordance falls from {fall} in a {groups.column} that was not learnt from")
    leaks = sum(d.crosses_split for d in duplicates)
    if leaks:
        parts.append(f"{leaks} duplicates across {split}: results across it are too good")
    if others := len(duplicates) - leaks:
        parts.append(f"{others} suspected duplicates")
    if not duplicates:
        parts.append("no duplicates found")
    parts.append(_overlap_words(overlap))
    return "; ".join(parts)


def _overlap_words(overlap: Sequence[Overlap]) -> str:
    seen = sum(o.patients for o in overlap if o.status == NAMED)
    maybe = sum(o.patients for o in overlap if o.status == MAYBE)
    if seen or maybe:
        text = f"{seen} patients come from collections named as pretraining data"
        return text + f", {maybe} from such that may be" * bool(maybe)
    if overlap and all(o.status == NONE for o in overlap):
        return "the encoder was not pretrained"
    return "overlap with the pretraining data is unknown"


def _go(names: Sequence[str]) -> str:
    return "goes" if len(names) == 1 else "go"


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def summary(r: AuditResult) -> str:
    """The answer for a terminal: verdict, then the ledger from the top."""
    lines = [f"Verdict: {r.verdict}.", f"Fields read from the embedding, n = {r.n}:"]
    for f in r.fields[:_MOST_LINES]:
        lines.append(f"  {_field_line(f, r.draws)}")
    if len(r.fields) > _MOST_LINES:
        lines.append(f"  and {len(r.fields) - _MOST_LINES} more in the table")
    if r.label_readability is not None:
        lines.append(f"The label itself: {_field_line(r.label_readability, r.draws)}")
    if (g := r.left_out_groups) is not None:
        lines.append(
            f"Without each {g.column}: concordance of {g.label} {g.pooled:.3f} cross-validated, "
            f"{g.left_out:.3f} in groups left out, {p_text(g.p_value, g.draws)} against random groups."
        )
    for d in r.duplicates[:_MOST_LINES]:
        lines.append(f"  {_duplicate_line(d)}")
    for o in r.overlap[:_MOST_LINES]:
        lines.append(f"  {o.collection}: {o.status} ({o.patients} patients); {o.source}.")
    if r.provenance.synthetic:
        lines.append("Synthetic data: says nothing about patients.")
    return "\n".join([*lines, *(f"Warning: {w}." for w in r.warnings)])


def _field_line(f: FieldRow, draws: int) -> str:
    text = f"{f.name}: {f.metric} {f.readability:.3f} ({interval_text(f.ci, 3)}), {p_text(f.p_value, draws)}"
    if f.association is not None:
        a = f.association
        text += f"; with the label {a.measure} {a.value:.2f} (p = {a.p_value:.2g}, {a.test})"
    return f"{text} → {f.verdict}" if f.verdict else text


def _duplicate_line(d: Duplicate) -> str:
    how = "" if not d.ratio else f", at {d.ratio:.2f} of the distance to its tenth neighbour"
    where = "" if d.splits is None else f" ({d.splits[0]} and {d.splits[1]})"
    return f"{'LEAK: ' * d.crosses_split}{d.kind}: {d.first} and {d.second}{where}{how}"


def methods_text(r: AuditResult) -> str:
    """What was done, for the methods section of a paper (Markdown)."""
    parts = [_ledger_methods(r)]
    if (g := r.left_out_groups) is not None:
        parts.append(
            f"**Groups left out.** The concordance of {g.label} was cross-validated over all patients "
            f"({g.pooled:.3f}) and compared with that inside each {g.column} when the axis was learnt on all "
            f"others (mean weighted by pairs {g.left_out:.3f}); p from {g.draws} redraws of groups of the same "
            f"sizes, refitted each time ({p_text(g.p_value, g.draws)}). No interval is given."
        )
    near = (
        "Near duplicates: the ratio of the distances to the nearest and the tenth neighbour (standardised "
        f"dimensions) was compared with what points spread evenly in {r.intrinsic_dimension:.1f} dimensions give "
        f"(estimated from the median ratio); a pair was named below a Holm-corrected p of {r.alpha:g} and "
        "half the distance. "
        if r.intrinsic_dimension is not None
        else f"Near duplicates were not looked for (fewer than {FEWEST} patients, or all alike). "
    )
    images = (
        "Each patient's first CT was read again, reduced to the mean density of 8 × 8 × 8 cells, and judged in the "
        "same way; a crop of another scan is not found by that."
        if r.images_compared
        else "Image content was not compared."
    )
    split = f" Pairs on two sides of {r.split} are leaks." if r.split else ""
    parts.append(
        f"**Duplicates.** {near}Equal image files (by hash of image and mask), equal embeddings and IDs that "
        f"differ in spelling alone were listed as well: {len(r.duplicates)} pairs.{split} {images}"
    )
    rows = "; ".join(f"{o.collection}: {o.status} ({o.patients} patients)" for o in r.overlap)
    parts.append(
        f"**Pretraining.** {rows}. Sources: {'; '.join(dict.fromkeys(o.source for o in r.overlap))}."
    )
    parts.append(f"Level {r.alpha:g}; seed {r.provenance.seed}. Research use only.")
    if r.provenance.synthetic:
        parts.append("**The data are synthetic.**")
    return "\n\n".join(parts) + "\n"


def _ledger_methods(r: AuditResult) -> str:
    label = (
        f" A field confounds where it is readable and goes with {r.label} (Spearman's ρ for two numbers, "
        "Kruskal–Wallis for a number and a category, chi-squared for two categories; Holm-corrected)."
        if r.label
        else ""
    )
    return (
        f"**Confounder ledger.** From the embeddings of {r.n} patients each of {len(r.fields)} recorded fields was "
        "predicted by a ridge regression cross-fitted in five patient-level folds, repeated. Categories are scored "
        "by the area under the ROC curve (mean of one against the rest), numbers by the signed squared correlation "
        "of the held-out prediction. 95 % intervals invert a score test that holds the uncertainty of learning; p "
        f"from {r.draws} permutations of the field, each refitted exactly, Holm-corrected; level "
        f"{r.alpha:g}.{label}"
    )


def ledger_table(r: AuditResult) -> pd.DataFrame:
    """One row a field, the best readable first; the label itself last."""
    import pandas as pd

    rows = [*r.fields, *([r.label_readability] if r.label_readability is not None else [])]
    return pd.DataFrame([_table_row(f) for f in rows], columns=list(_COLUMNS))


_COLUMNS = (
    "field", "kind", "metric", "readability", "ci_low", "ci_high", "p_value", "p_holm", "n", "strength",
    "strength_ci_low", "strength_ci_high", "association", "association_value", "association_p_holm", "verdict",
)  # fmt: skip


def _table_row(f: FieldRow) -> tuple[Any, ...]:
    low, high = f.ci or (None, None)
    s_low, s_high = f.strength_ci or (None, None)
    a = f.association
    return (
        f.name, f.kind, f.metric, f.readability, low, high, f.p_value, f.p_holm, f.n, f.strength, s_low, s_high,
        a and a.measure, a and a.value, a and a.p_holm, f.verdict,
    )  # fmt: skip
