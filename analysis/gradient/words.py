"""The stage gradient in words and as a table: every number comes from the result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.gradient.result import Adjusters, StageGradientResult, Strict, Trend
from analysis.results import Interval

if TYPE_CHECKING:
    import pandas as pd


def interval_text(ci: Interval | None, digits: int = 2) -> str:
    """ "0.61–0.78", or "no interval"."""
    return "no interval" if ci is None else f"{ci[0]:.{digits}f} to {ci[1]:.{digits}f}"


def p_text(p: float, draws: int) -> str:
    """p to two digits ("p = 0.0023"), with its floor ("p ≤ 0.0001") where no draw was as extreme.

    Three digits near 0.05, so that rounding never moves it across.
    """
    floor = 1 / (draws + 1)
    if p <= floor * 1.001:
        return f"p ≤ {floor:.2g}"
    return f"p = {p:.3g}" if 0.045 < p < 0.055 else f"p = {p:.2g}"


def headline(
    trend: Trend,
    strict: Strict,
    adjusters: Adjusters | None,
    minimum_detectable: float | None,
    *,
    alpha: float,
) -> str:
    """One sentence that may be quoted without the rest."""
    text = strict.verdict
    if trend.p_value >= alpha:
        text += (
            " (so few patients that no concordance could have been detected with 80 % power)"
            if minimum_detectable is None
            else f" (a concordance of {minimum_detectable:.2f} could have been detected with 80 % power)"
        )
    if adjusters is None:
        return text + "; no adjusters given, so size and scanner may explain all of it" * (
            trend.p_value < alpha
        )
    if trend.p_value >= alpha and adjusters.verdict == "beyond adjusters":
        return text + f"; associated with the stage only after adjustment for {', '.join(adjusters.columns)}"
    text += f"; {adjusters.verdict} ({', '.join(adjusters.columns)})"
    if adjusters.verdict == "beyond adjusters":
        gain = interval_text(adjusters.added_value_ci, 3)
        text += f", adding {adjusters.added_value:+.3f} ({gain}) to their concordance"
        shown = adjusters.added_value_ci is not None and adjusters.added_value_ci[0] > 0
        return (
            text if shown else text + ": the tests see something, but no gain in ordering patients is shown"
        )
    if adjusters.verdict == "cannot tell":
        if adjusters.disagreement:
            return text + ": the two adjusted tests disagree"
        detectable = adjusters.minimum_detectable_statistic
        text += f": an adjusted correlation of {detectable:.2f} could have been detected with 80 % power"
    return text


def summary(r: StageGradientResult) -> str:
    """The answer for a terminal or a card: verdict, then one line an estimate."""
    from analysis.gradient.section_words import further_lines

    t = r.trend
    lines = [
        f"Verdict: {r.verdict}.",
        f"Trend: concordance {t.concordance:.3f} (95 % interval {interval_text(t.ci)}), "
        f"{p_text(t.p_value, t.permutations)} (permutation test with {t.permutations} refits), "
        f"Kendall τ-b {t.kendall_tau:.2f}, n = {r.n}.",
    ]
    lines += [
        f"Step {s.from_stage} → {s.to_stage} (n = {s.n_from}, {s.n_to}): difference {s.difference:+.2f} SD "
        f"({interval_text(s.ci)}), {p_text(s.p_value, t.permutations)}, AUC {s.auc:.2f}."
        for s in r.steps
    ]
    reversed_steps = ", ".join(r.strict.reversed_steps) or "none shown"
    lines.append(
        f"Every step: {r.strict.verdict} (intersection–union {p_text(r.strict.p_value, t.permutations)}); "
        f"reversed steps: {reversed_steps}."
    )
    if r.adjusters is not None:
        lines += _adjuster_lines(r.adjusters, t)
    lines += further_lines(r)
    if t.p_value >= r.alpha:
        detectable = r.minimum_detectable_concordance
        lines.append(
            f"Power: n = {r.n} is too few to find any concordance in 80 % of studies."
            if detectable is None
            else f"Power: with n = {r.n}, a concordance of {detectable:.2f} or more would have been found in "
            "80 % of studies."
        )
    if r.provenance.synthetic:
        lines.append("Synthetic data: says nothing about patients.")
    return "\n".join([*lines, *(f"Warning: {w}." for w in r.warnings)])


def _adjuster_lines(a: Adjusters, t: Trend) -> list[str]:
    strata = "" if a.stratified_concordance is None else f"{a.stratified_concordance:.3f}"
    lines = [
        f"Adjusters alone ({', '.join(a.columns)}): concordance {a.baseline_concordance:.3f} "
        f"({interval_text(a.baseline_ci)}); the embedding's is {t.concordance:.3f}.",
        f"Beyond the adjusters: {a.verdict}; adjusted correlation {a.adjusted_statistic:+.3f}, "
        f"{p_text(a.p_conditional, t.permutations)} (conditional randomisation), "
        f"{p_text(a.p_freedman_lane, t.permutations)} (Freedman–Lane).",
        f"Concordance added to the adjusters: {a.added_value:+.3f} ({interval_text(a.added_value_ci, 3)}); "
        f"within strata ({a.strata}): {strata or 'no pairs'}.",
    ]
    return lines if a.disagreement is None else [*lines, f"Note: {a.disagreement}."]


def methods_text(r: StageGradientResult) -> str:
    """What was done, for the methods section of a paper (Markdown)."""
    from analysis.gradient.section_words import further_methods

    p, t = r.parameters, r.trend
    stages = ", ".join(f"{s.label} (n = {s.n})" for s in r.stages)
    within = f" within {p['group']}" if p["group"] else ""
    axis = (
        f"**Stage gradient.** Embeddings ({p['dimensions']} dimensions, {r.n} patients, one row each) were "
        f"tested for a monotonic trend over {p['stage']}: {stages}. A stage axis was cross-fitted in "
        f"{p['folds']} patient-level folds repeated {p['repeats']} times, drawn without regard to stage: in each "
        "training fold embeddings were standardised and a ridge regression was fitted to the stage (equally "
        f"spaced, centred) with a penalty giving {p['effective_df']:.1f} effective degrees of freedom. A "
        "patient's score is the mean of the held-out predictions, in pooled within-stage standard deviations."
    )
    trend = (
        "**Trend.** The statistic is the concordance P(score_i < score_j | stage_i < stage_j), ties half "
        f"(Jonckheere–Terpstra). Its p-value comes from {t.permutations} permutations of stage{within}, each "
        "refitted exactly. "
        + (
            "Embedding and stage were centred within groups and only pairs of one group counted. "
            if within
            else ""
        )
        + "Its 95 % interval inverts a score test; the variance at a candidate is the jackknife variance of fixed "
        "scores plus what learning the axis adds there, found by refitting the axis to stages drawn from a model in "
        "which the gradient has just that strength (without a gradient: the permutations themselves). It estimates "
        f"the {t.estimand}. "
        f"Result: {t.concordance:.3f} ({interval_text(t.ci, 3)}), {p_text(t.p_value, t.permutations)}."
    )
    steps = (
        "**Steps.** Each pair of neighbouring stages was compared by Welch’s t of the scores, one-sided, by "
        "exchanging labels between the two stages with refit; all steps together by the intersection–union "
        f"principle ({p_text(r.strict.p_value, t.permutations)}). Intervals of stage means and differences, in "
        "pooled within-stage standard deviations, are Student intervals with the delete-one jackknife variance of "
        "fixed scores (each stage with its own spread) and the variance from learning the axis, simulated as for "
        "the trend at the concordance found. Stage means were also fitted by isotonic "
        "regression. A step is called reversed only if its interval lies below zero at a level shared among all "
        "steps (Bonferroni); the interval of the largest fall is likewise widened for all pairs of stages."
    )
    parts = [axis, trend, steps]
    if r.adjusters is not None:
        parts.append(_adjusted_methods(r, r.adjusters))
    parts += further_methods(r)
    parts.append(f"Level {r.alpha:g}; seed {r.provenance.seed}. Research use only.")
    if r.provenance.synthetic:
        parts.append("**The data are synthetic.**")
    return "\n\n".join(parts) + "\n"


def _adjusted_methods(r: StageGradientResult, a: Adjusters) -> str:
    draws = r.trend.permutations
    return (
        f"**Beyond adjusters.** Adjusters: {'; '.join(a.basis)}. Inside every training fold the embedding was "
        "residualised on them before the axis was fitted; the statistic is the correlation of the held-out "
        f"score with the residual stage ({a.adjusted_statistic:+.3f}). Primary test: {draws} redraws of the "
        "stage from a multinomial logistic model of stage given adjusters (conditional randomisation, "
        f"{p_text(a.p_conditional, draws)}); second: Freedman–Lane permutation of the residuals from the "
        f"stage expected under that model ({p_text(a.p_freedman_lane, draws)}). “Beyond adjusters” needs both "
        f"below {r.alpha:g}; “explained by adjusters” needs both above it, a trend, adjusters whose own concordance "
        "is above 0.5, 80 % power for an "
        f"adjusted correlation of 1/3 (here {a.minimum_detectable_statistic:.2f} was detectable), its upper 97.5 % "
        f"bound below 0.25 (here {a.adjusted_upper_bound:.2f}), and an added "
        f"concordance whose 95 % interval ends below {a.relevant_gain:.3f}. Concordances with and without the "
        "embedding are counted over pairs held out in the same fold, and so estimate those of a model learnt from "
        "4/5 of the patients; the interval of the added concordance keeps the candidates that a test with the "
        "variance at the candidate keeps, among stages drawn from the model of stage given adjusters in which the "
        "score has the strength that gives the candidate. The adjusters alone reach "
        f"{a.baseline_concordance:.3f} ({interval_text(a.baseline_ci, 3)}); adding the score changes it by "
        f"{a.added_value:+.3f} ({interval_text(a.added_value_ci, 3)}). What is left beyond an adjuster may "
        "still be the adjuster where it was measured with error."
    )


def estimates_table(r: StageGradientResult) -> pd.DataFrame:
    """One row an estimate: section, estimate, value, 95 % interval, p, test, n."""
    import pandas as pd

    from analysis.gradient.section_words import further_rows

    n = r.n
    t, refit = r.trend, f"permutation with refit, {r.trend.permutations} draws"
    rows: list[tuple[str, str, float | None, Interval | None, float | None, str, int | str]] = [
        ("trend", "concordance", t.concordance, t.ci, t.p_value, refit, n),
        ("trend", "Kendall tau-b", t.kendall_tau, None, None, "", n),
        (
            "trend",
            "minimum detectable concordance (80 % power)",
            r.minimum_detectable_concordance,
            None,
            None,
            "",
            r.n,
        ),
    ]
    rows += [("stage", f"mean score {s.label} (SD)", s.mean_score, s.ci, None, "", s.n) for s in r.stages]
    for s in r.steps:
        name, both = f"{s.from_stage} → {s.to_stage}", f"{s.n_from} + {s.n_to}"
        rows.append(("step", f"difference {name} (SD)", s.difference, s.ci, s.p_value, refit, both))
        rows.append(("step", f"AUC {name}", s.auc, None, None, "", both))
    rows.append(("every step", "intersection–union", None, None, r.strict.p_value, "largest step p", n))
    rows.append(
        (
            "every step",
            "largest fall (SD)",
            r.strict.largest_violation,
            r.strict.largest_violation_ci,
            None,
            "",
            r.n,
        )
    )
    if (a := r.adjusters) is not None:
        draws = f"{t.permutations} draws"
        rows += [
            ("adjusters", "concordance of adjusters alone", a.baseline_concordance, a.baseline_ci, None, "", n),
            ("adjusters", "concordance of adjusters + score", a.combined_concordance, None, None, "", n),
            ("adjusters", "added concordance", a.added_value, a.added_value_ci, None, "", n),
            ("adjusters", "adjusted correlation", a.adjusted_statistic, None, a.p_conditional,
             f"conditional randomisation, {draws}", n),
            ("adjusters", "adjusted correlation", a.adjusted_statistic, None, a.p_freedman_lane,
             f"Freedman–Lane, {draws}", n),
            ("adjusters", f"concordance within {a.strata}", a.stratified_concordance, None, None, "", n),
        ]  # fmt: skip
    rows += further_rows(r)
    return pd.DataFrame(
        [
            {
                "section": section,
                "estimate": estimate,
                "value": value,
                "ci_low": ci[0] if ci else None,
                "ci_high": ci[1] if ci else None,
                "p_value": p,
                "test": test,
                "n": str(n),
            }
            for section, estimate, value, ci, p, test, n in rows
        ]
    )
