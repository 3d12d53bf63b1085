"""The probe's result in words, as a table and as JSON; every number comes from the result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analysis.probes.metrics import PRIMARY

if TYPE_CHECKING:
    import pandas as pd

    from analysis.probe import ProbeResult
    from analysis.probes.estimates import MetricRow, Published
    from analysis.results import Interval

NAMES = {
    "balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1", "macro_auc": "macro AUC",
    "macro_pr_auc": "macro PR-AUC", "quadratic_kappa": "quadratic κ", "mae": "mean absolute error", "r2": "R²",
    "c_index": "C-index",
}  # fmt: skip
_LEARNERS = {
    ("linear", "classify"): "multinomial logistic regression with balanced classes",
    ("linear", "ordinal"): "proportional-odds regression with a ridge penalty",
    ("linear", "regress"): "ridge regression",
    ("linear", "survival"): "Cox regression with a ridge penalty",
    ("knn", ""): "the mean of the nearest patients (Euclidean)",
    ("mlp", ""): "a neural network with one hidden layer of 32",
}


def interval_words(ci: Interval | None) -> str:
    return "no interval" if ci is None else f"95 % CI {ci[0]:.3f} to {ci[1]:.3f}"


def headline(target: str, task: str, metrics: dict[str, MetricRow], published: Published | None) -> str:
    """One sentence: the primary metric against chance, and what the published protocol makes of it."""
    name = PRIMARY[task]
    m = metrics[name]
    words = f"{NAMES[name]} {m.mean:.3f} ({interval_words(m.ci)}"
    words += "" if m.chance is None else f"; chance {m.chance:.3f}"
    if m.p_value is None:
        text = f"Nested probe of {target}: {words})"
    else:
        shown = "can" if m.p_value < 0.05 else "is not shown to"
        text = f"{target} {shown} be read from the embedding: {words}, p = {m.p_value:.2g} by permutation)"
    if published is not None:
        text += (
            f"; the published protocol reports {published.metrics[name]:.3f}, which flatters by "
            f"{published.flatters[name]:+.3f}"
        )
    return text


def summary(r: ProbeResult) -> str:
    lines = [f"{r.verdict}.", f"  {r.n} patients, {r.learner} probe, task {r.task}, {r.embedding}"]
    for name, m in r.metrics.items():
        chance = "" if m.chance is None else f"; chance {m.chance:.3f}"
        line = f"  {NAMES[name]:<20} {m.mean:.3f} ({interval_words(m.ci)}{chance})"
        if r.published is not None:
            line += (
                f"   published protocol {r.published.metrics[name]:.3f} ({r.published.flatters[name]:+.3f})"
            )
        lines.append(line)
    for c in r.per_class:
        lines.append(
            f"    {c.label:<16} n = {c.n}, recall {c.recall:.3f}, precision {c.precision:.3f}, AUC {c.auc:.3f}"
        )
    for d in r.differences:
        p = "" if d.p_value is None else f"; p = {d.p_value:.4f}, Holm {d.p_holm:.4f}"
        lines.append(
            f"  {d.first} − {d.second}: {NAMES[d.metric]} {d.difference:+.3f} ({interval_words(d.ci)}{p})"
        )
    return "\n".join(lines)


def methods_text(r: ProbeResult) -> str:
    p = r.provenance.parameters
    how = _LEARNERS.get((r.learner, r.task)) or _LEARNERS[r.learner, ""]
    main = r.metrics[PRIMARY[r.task]]
    text = (
        f"{r.target} ({r.task}) was read from {p['dimensions']} embedding dimensions of {r.n} patients by {how}, the "
        f"embedding standardised in the training patients. Cross-validation was nested and by patient "
        f"({p['folds']} outer folds × {p['repeats']} repeats, drawn within classes, seed {r.provenance.seed}); "
        f"{r.hyperparameter} was chosen by {NAMES[PRIMARY[r.task]]} in {p['inner_folds']} inner folds of the training "
        f"patients and never saw a test fold. {NAMES[PRIMARY[r.task]][:1].upper()}{NAMES[PRIMARY[r.task]][1:]} was "
        f"{main.mean:.3f} ({interval_words(main.ci)}). "
    )
    if any(m.ci for m in r.metrics.values()):
        text += (
            "Intervals (95 %) hold both who was examined and what was learnt from them: in both halves of "
            f"{p['splits']} random splits of the patients all folds were fitted anew; halves share no patient, so that "
            "their squared differences give the variance of a measure, which near chance is blended with that of the "
            "refits to permuted values; a score test is inverted on the scale of the log or logit. They refer to new "
            "patients and a probe learnt from 4/5 as many. "
        )
    if main.p_value is not None:
        text += (
            f"Whether anything can be read was tested against {p['permutations']} refits to permuted values "
            f"(p = {main.p_value:.2g}). "
        )
    if r.published is not None:
        text += (
            "The published protocol (the C that is best on the out-of-fold predictions that are reported) gives "
            f"{r.published.metrics[PRIMARY[r.task]]:.3f}, {r.published.flatters[PRIMARY[r.task]]:+.3f} against nested. "
        )
    if r.differences:
        text += "Embeddings were compared on identical folds, halves and permutations, p-values corrected by Holm. "
    return text.strip()


def details(r: ProbeResult) -> dict[str, Any]:
    return {
        "target": r.target,
        "task": r.task,
        "learner": r.learner,
        "protocol": r.protocol,
        "embedding": r.embedding,
        "labels": r.labels,
        "metrics": r.metrics,
        "per_class": r.per_class,
        "folds": {
            "outer": r.provenance.parameters["folds"],
            "inner": r.provenance.parameters["inner_folds"],
            "repeats": r.provenance.parameters["repeats"],
        },
        "chosen_hyperparameters": {"name": r.hyperparameter, "by_repeat_and_fold": r.chosen},
        "confusion": r.confusion,
        "calibration": [{"predicted": a, "observed": b, "n": n} for a, b, n in r.calibration],
        "label_efficiency": r.efficiency,
        "published": r.published,
        "others": r.others,
        "differences": r.differences,
    }


def estimates_table(r: ProbeResult) -> pd.DataFrame:
    """section, estimate, value, ci_low, ci_high, chance, p_value, n."""
    import pandas as pd

    rows: list[tuple[Any, ...]] = []
    for name, metrics in ({r.embedding: r.metrics} | r.others).items():
        rows += [
            (name, NAMES[k], m.mean, *(m.ci or (None, None)), m.chance, m.p_value, r.n)
            for k, m in metrics.items()
        ]
    if r.published is not None:
        rows += [
            ("published protocol", NAMES[k], v, None, None, None, None, r.n)
            for k, v in r.published.metrics.items()
        ]
        rows += [
            ("published − nested", NAMES[k], v, None, None, None, None, r.n)
            for k, v in r.published.flatters.items()
        ]
    for c in r.per_class:
        for key in ("recall", "precision", "f1", "auc", "pr_auc"):
            rows.append((f"class {c.label}", key, getattr(c, key), None, None, None, None, c.n))
    rows += [
        (
            f"{d.first} − {d.second}",
            NAMES[d.metric],
            d.difference,
            *(d.ci or (None, None)),
            0.0,
            d.p_holm,
            r.n,
        )
        for d in r.differences
    ]
    rows += [
        ("label efficiency", f"{100 * e.fraction:g} % of labels", e.mean, None, None, None, None, e.labels)
        for e in r.efficiency
    ]
    columns = ["section", "estimate", "value", "ci_low", "ci_high", "chance", "p_value", "n"]
    return pd.DataFrame(rows, columns=columns)
