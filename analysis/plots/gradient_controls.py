"""Controls of the stage gradient: concordances beside the embedding's, and what else can be read from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analysis.gradient.words import p_text
from analysis.plots.forest import ForestRow, forest, forest_source, not_drawn, that_fit
from analysis.plots.theme import Width, decimal, finish, shown
from flexict_core.errors import AnalysisError

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from analysis.gradient.result import StageGradientResult


def controls_forest(result: StageGradientResult, *, width: Width = "single") -> go.Figure:
    """Concordance of the embedding, of a permuted stage, of random weights, of size, and without each group."""
    everything = _concordances(result)
    rows = that_fit(everything)
    fig = forest(rows, title="Concordance with stage (0.5 = none)", nothing=0.5, width=width)
    skipped = [
        f"{name}: {shown(control['skipped'])}."
        for name, control in (
            ("Random weights", result.controls.get("random_weights") or {}),
            ("Size alone", result.controls.get("size_only") or {}),
        )
        if "skipped" in control
    ]
    notes = [
        "Bars: 95 % intervals; for the permuted stage, the central 95 % of the permutations. p: permutation tests "
        f"with refits; the embedding's with {result.trend.permutations:,}.",
        *skipped,
        *not_drawn(len(everything), rows, "left-out groups"),
    ]
    caption = (
        f"Controls of the stage gradient ({result.n} patients): "
        + "; ".join(f"{shown(r.label)} {r.value:.3f}" for r in rows)
        + ". "
        + notes[0]
    )
    return finish(fig, result.provenance, name="gradient_controls", notes=notes, caption=caption)


def controls_forest_source(result: StageGradientResult) -> pd.DataFrame:
    """estimate, value, ci_low, ci_high, p_value, n, remark."""
    return forest_source(that_fit(_concordances(result)))


def _concordances(result: StageGradientResult) -> list[ForestRow]:
    t, null = result.trend, result.controls["permuted_stage"]
    central = (null["null_interval"][0], null["null_interval"][1])
    rows = [
        ForestRow("Embedding", t.concordance, t.ci, result.n, t.p_value, p_text(t.p_value, t.permutations)),
        ForestRow(
            "Permuted stage", null["concordance"], central, result.n, null["p_value"],
            p_text(null["p_value"], t.permutations), kind=1,
        ),
    ]  # fmt: skip
    for key, name in (("random_weights", "Random weights"), ("size_only", "Size alone")):
        c = result.controls.get(key) or {}
        if "concordance" in c:
            remark = p_text(c["p_value"], c["permutations"])
            rows.append(ForestRow(name, c["concordance"], c["ci"], c["n"], c["p_value"], remark, kind=2))
    for left_out in result.controls.get("leave_one_group_out", []):
        if left_out["concordance"] is not None:
            label = f"Embedding without {left_out['group']}"
            rows.append(ForestRow(label, left_out["concordance"], None, left_out["n_left"], kind=3))
    return rows


def readability_forest(result: StageGradientResult, *, width: Width = "single") -> go.Figure:
    """How well each recorded field can be read from the embedding: 0 not at all, 1 perfectly."""
    rows = _fields(result)
    fig = forest(
        rows, title="Readable from the embedding<br>(0 = not, 1 = perfectly)", nothing=0.0, width=width,
        heading="AUC or R²",
    )  # fmt: skip
    notes = [
        "Categories (squares): 2 × mean one-against-rest AUC − 1. Numbers (circles): R², the signed squared "
        "correlation of the held-out prediction. Bars: 95 % intervals. p: 199 permutations with refits, Holm's "
        "correction over the fields."
    ]
    notes += not_drawn(len(result.controls["readability"]), rows, "less readable fields")
    caption = f"Recorded fields that can be read from the embedding of {result.n} patients. {' '.join(notes)}"
    return finish(fig, result.provenance, name="gradient_readability", notes=notes, caption=caption)


def readability_forest_source(result: StageGradientResult) -> pd.DataFrame:
    """field, value as drawn, its interval, p after Holm, n, and the AUC or R² as it is reported."""
    return forest_source(_fields(result)).rename(columns={"estimate": "field", "p_value": "p_holm"})


def has_readability(result: StageGradientResult) -> bool:
    """Whether there is a field to draw."""
    return bool(result.controls.get("readability"))


def _fields(result: StageGradientResult) -> list[ForestRow]:
    fields = result.controls.get("readability") or []
    if not fields:
        raise AnalysisError("no recorded field was read from this embedding: there is nothing to draw")
    rows = []
    for f in sorted(fields, key=lambda f: (f["p_holm"], -_strength(f), f["name"])):
        category = f["kind"] == "category"
        ends, value = f["ci"], _strength(f)
        ci = None if ends is None else (2 * ends[0] - 1, 2 * ends[1] - 1) if category else (ends[0], ends[1])
        remark = f"{f['metric']} {decimal(f['value'], 2)}, {p_text(f['p_holm'], 199)}"
        rows.append(ForestRow(f["name"], value, ci, f["n"], f["p_holm"], remark, kind=int(category)))
    return that_fit(rows)


def _strength(field: dict[str, Any]) -> float:
    """0 not at all, 1 perfectly: of a category 2 × AUC − 1, of a number R²."""
    value = float(field["value"])
    return 2 * value - 1 if field["kind"] == "category" else value
