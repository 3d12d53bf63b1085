"""The survival result in words, as a table and as JSON; every number comes from the result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analysis.gradient.words import p_text
from analysis.resampling import LEFT_OUT

if TYPE_CHECKING:
    import pandas as pd

    from analysis.results import Interval
    from analysis.survival import SurvivalResult
    from analysis.time_to_event.estimates import AddedValue, Measure
    from analysis.time_to_event.groups import GroupSurvival


def interval_words(ci: Interval | None) -> str:
    return "no interval" if ci is None else f"95 % CI {ci[0]:.3f} to {ci[1]:.3f}"


def number_p(p: float | None) -> str:
    """ "p = 0.012", "p < 0.0001"."""
    if p is None:
        return "no p"
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.4f}"


def statistic_sign(r: SurvivalResult | GroupSurvival) -> str:
    return "z" if r.provenance.parameters["by"] is None else "χ²"


def logrank_words(r: SurvivalResult | GroupSurvival) -> str:
    """The test with its statistic and p."""
    return f"{r.logrank_test}: {statistic_sign(r)} = {r.logrank_statistic:.2f}, {number_p(r.logrank_p)}"


def headline(c_index: Measure, added: AddedValue | None, logrank_p: float, *, by: str) -> str:
    """One sentence: what is shown, and what is not."""
    shown = c_index.ci is not None and c_index.ci[0] > 0.5
    words = interval_words(c_index.ci)
    text = (
        f"The embedding {'tells' if shown else 'is not shown to tell'} survival: cross-fitted C-index "
        f"{c_index.mean:.3f} ({words})"
    )
    if added is not None:
        gained = added.ci is not None and added.ci[0] > 0
        beyond = "but is not shown to add to them"
        if added.p_value < 0.05:
            beyond = (
                "and adds to them"
                if gained
                else "so that it knows something beyond them, but no gain in ordering patients is shown"
            )
        text += (
            f"; beside {', '.join(added.columns)} (C-index {added.baseline:.3f}) it gains {added.gain:+.3f} "
            f"({interval_words(added.ci)}; {number_p(added.p_value)} by permutation), {beyond}"
        )
    return text


def summary(r: SurvivalResult) -> str:
    permutations = int(r.provenance.parameters["permutations"])
    unit = f" {r.unit}" if r.unit else ""
    lines = [f"{r.verdict}.", f"  {r.n} patients, {r.events} events of {r.event_name} ({r.duration})"]
    lines.append(f"  curves by {r.by}: {logrank_words(r)}")
    for g in r.groups:
        median = "not reached" if g.median is None else f"{g.median:g}{unit}"
        lines.append(f"    {g.label:<14} n = {g.n}, {g.events} events, median {median}")
    for name, m in (("C-index (Harrell)", r.c_index), ("C-index (IPCW)", r.c_index_ipcw)):
        lines.append(
            f"  {name:<18} {m.mean:.3f} ({interval_words(m.ci)}; {p_text(m.p_value or 1.0, permutations)})"
        )
    for row in r.auc:
        lines.append(f"  AUC at {row.horizon:g}{unit:<5} {row.mean:.3f} ({interval_words(row.ci)})")
    for b in r.brier:
        lines.append(f"  Brier at {b.horizon:g}{unit} {b.score:.3f} (Kaplan–Meier {b.reference:.3f})")
    for c in r.cox:
        ci = "no interval" if c.ci is None else f"95 % CI {c.ci[0]:.2f} to {c.ci[1]:.2f}"
        lines.append(
            f"  HR {c.term} [{c.model}] {c.hazard_ratio:.2f} ({ci}; {number_p(c.p_value)}, {c.test})"
        )
    return "\n".join(lines)


def methods_text(r: SurvivalResult) -> str:
    p = r.provenance.parameters
    text = (
        f"Survival ({r.duration}, event {r.event_name}) of {r.n} patients with {r.events} events was related to "
        f"{p['dimensions']} embedding dimensions. A risk score was cross-fitted by patient (5 folds × 10 repeats): "
        "in each training fold the embedding was standardised and a ridge regression with n/10 effective degrees "
        "of freedom fitted to the martingale residuals of the null model, the first Newton step of a "
        f"ridge-penalised Cox regression; nothing was tuned. Its concordance was {r.c_index.mean:.3f} (Harrell; "
        f"{interval_words(r.c_index.ci)}) and {r.c_index_ipcw.mean:.3f} (inverse-probability-of-censoring "
        f"weighted; {interval_words(r.c_index_ipcw.ci)}). p-values of the score come from {p['permutations']} "
        f"permutations of the outcome (seed {r.provenance.seed}) with the score refitted each time; 95 % "
        "intervals invert a score test whose variance contains the learning of the score, and refer to new "
        "patients and a score learnt from 4/5 as many. "
    )
    text += f"Kaplan–Meier curves (lifelines, log–log limits) compare {r.by}; {logrank_words(r)}. "
    if r.auc:
        shown = "; ".join(f"{a.mean:.3f} at {a.horizon:g} ({interval_words(a.ci)})" for a in r.auc)
        text += f"Cumulative/dynamic AUC (IPCW): {shown}. "
    if r.brier:
        shown = "; ".join(
            f"{b.score:.3f} at {b.horizon:g} against {b.reference:.3f} of the Kaplan–Meier curve"
            for b in r.brier
        )
        text += f"Brier score (IPCW, cross-fitted, no interval): {shown}. "
    penalty = p["penalty"]
    text += (
        "Cox models were fitted by lifelines with Efron's ties"
        + (f" and a ridge penalty of {penalty:g}, without intervals" if penalty else "; Wald intervals")
        + "; the score's own interval contains its learning where one is given. Proportional hazards were tested "
        "by scaled Schoenfeld residuals against the rank of time. "
    )
    if r.added is not None:
        a = r.added
        text += (
            f"Added value: in training folds (5 × 5 repeats) a Cox model of {', '.join(a.columns)} (numbers as "
            "natural cubic splines) and the ridge score of its martingale residuals on the embedding, residualised "
            f"on the same columns, were fitted and added up: C-index {a.baseline:.3f} "
            f"without and {a.combined:.3f} with the embedding, gain {a.gain:+.3f} ({interval_words(a.ci)}; "
            f"{number_p(a.p_value)}, {a.permutations} permutations of the residual embedding; interval: both models "
            f"fitted anew in random subsamples without {100 * LEFT_OUT:g} % of the patients). "
        )
    if p["competing"] == "censor":
        text += "Other kinds of event were censored: hazards are cause-specific. "
    return text.strip()


def details(r: SurvivalResult) -> dict[str, Any]:
    return {
        "duration": r.duration,
        "event": r.event_name,
        "unit": r.unit,
        "events": r.events,
        "median_follow_up": r.median_follow_up,
        "by": r.by,
        "km_groups": [
            {
                "label": g.label,
                "n": g.n,
                "events": g.events,
                "median": g.median,
                "median_ci": g.median_ci,
                "at_risk": dict(zip((f"{t:g}" for t in r.ticks), g.at_risk, strict=True)),
                "times": g.times,
                "survival": g.survival,
                "ci_low": g.low,
                "ci_high": g.high,
            }
            for g in r.groups
        ],
        "logrank_statistic": r.logrank_statistic,
        "logrank_p": r.logrank_p,
        "logrank_test": r.logrank_test,
        "c_index": r.c_index,
        "c_index_ipcw": r.c_index_ipcw,
        "auc": r.auc,
        "brier": r.brier,
        "integrated_brier": r.integrated_brier,
        "cox": [
            {
                "model": c.model,
                "term": c.term,
                "hazard_ratio": c.hazard_ratio,
                "ci": c.ci,
                "p_value": c.p_value,
                "test": c.test,
            }
            for c in r.cox
        ],
        "proportional_hazards": [
            {"model": c.model, "term": c.term, "p_value": c.proportional_hazards_p} for c in r.cox
        ],
        "added_value": r.added,
    }


def estimates_table(r: SurvivalResult) -> pd.DataFrame:
    """section, estimate, value, ci_low, ci_high, p_value, test, n."""
    import pandas as pd

    refit = f"permutation, {r.provenance.parameters['permutations']} refits"
    rows: list[tuple[Any, ...]] = [
        ("score", "C-index (Harrell)", r.c_index.mean, r.c_index.ci, r.c_index.p_value, refit, r.n),
        (
            "score",
            "C-index (IPCW)",
            r.c_index_ipcw.mean,
            r.c_index_ipcw.ci,
            r.c_index_ipcw.p_value,
            refit,
            r.n,
        ),
    ]
    rows += [
        ("score", f"AUC at {a.horizon:g}", a.mean, a.ci, None, None, a.cases + a.controls) for a in r.auc
    ]
    for b in r.brier:
        rows.append(("score", f"Brier at {b.horizon:g}", b.score, None, None, None, r.n))
        rows.append(("score", f"Brier at {b.horizon:g} (Kaplan–Meier)", b.reference, None, None, None, r.n))
    rows.append(
        (r.by, f"log-rank {statistic_sign(r)}", r.logrank_statistic, None, r.logrank_p, r.logrank_test, r.n)
    )
    rows += [(r.by, f"median of {g.label}", g.median, g.median_ci, None, None, g.n) for g in r.groups]
    rows += [
        (f"Cox: {c.model}", f"hazard ratio of {c.term}", c.hazard_ratio, c.ci, c.p_value, c.test, r.n)
        for c in r.cox
    ]
    rows += [
        (f"Cox: {c.model}", f"proportional hazards of {c.term}", None, None, c.proportional_hazards_p, "Schoenfeld",
         r.n) for c in r.cox
    ]  # fmt: skip
    if r.added is not None:
        a = r.added
        test = f"permutation, {a.permutations} refits"
        rows.append(("added value", "C-index, clinical", a.baseline, None, None, None, r.n))
        rows.append(("added value", "C-index, with embedding", a.combined, None, None, None, r.n))
        rows.append(("added value", "gain", a.gain, a.ci, a.p_value, test, r.n))
    flat = [(s, e, v, *(ci or (None, None)), p, t, n) for s, e, v, ci, p, t, n in rows]
    return pd.DataFrame(
        flat, columns=["section", "estimate", "value", "ci_low", "ci_high", "p_value", "test", "n"]
    )
