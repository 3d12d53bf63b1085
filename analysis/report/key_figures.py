"""The few numbers of a result that stand on the first page of a report, each with its interval, p and n."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis.results import Interval, Result

if TYPE_CHECKING:
    from analysis.audit import AuditResult
    from analysis.probe import ProbeResult
    from analysis.projection import ProjectionResult
    from analysis.retrieval import RetrievalResult
    from analysis.stage_gradient import StageGradientResult
    from analysis.survival import SurvivalResult


@dataclass(frozen=True)
class KeyFigure:
    """An estimate in print: value, interval ("" where there is none), what stands beside it (the test's p, the value
    expected by chance; "" without), patients."""

    name: str
    value: str
    interval: str
    beside: str
    n: str


def key_figures(result: Result) -> tuple[KeyFigure, ...]:
    """Of any result of a report's section."""
    return tuple(_OF[result.command](result))


def _ci(ci: Interval | None, digits: int = 3) -> str:
    return "" if ci is None else f"{ci[0]:.{digits}f} to {ci[1]:.{digits}f}"


def _of_audit(r: AuditResult) -> list[KeyFigure]:
    from analysis.gradient.words import p_text

    return [
        KeyFigure(
            f"{f.metric} of {f.name} read from the embedding",
            f"{f.readability:.3f}",
            _ci(f.ci),
            p_text(f.p_value, r.draws),
            str(f.n),
        )
        for f in sorted(r.confounders or r.fields, key=lambda f: -abs(f.strength))[:3]
    ]


def _of_project(_: ProjectionResult) -> list[KeyFigure]:
    return []  # its verdict says all of them


def _of_gradient(r: StageGradientResult) -> list[KeyFigure]:
    from analysis.gradient.words import p_text

    t, n = r.trend, str(r.n)
    rows = [
        KeyFigure(
            "concordance with the stage",
            f"{t.concordance:.3f}",
            _ci(t.ci),
            p_text(t.p_value, t.permutations),
            n,
        ),
        KeyFigure("every step upwards (largest step p)", "", "", p_text(r.strict.p_value, t.permutations), n),
    ]
    if (a := r.adjusters) is not None:
        both = (
            f"conditional randomisation {p_text(a.p_conditional, t.permutations)}, "
            f"Freedman–Lane {p_text(a.p_freedman_lane, t.permutations)}"
        )
        rows += [
            KeyFigure(
                "concordance of the adjusters alone",
                f"{a.baseline_concordance:.3f}",
                _ci(a.baseline_ci),
                "",
                n,
            ),
            KeyFigure(
                "added by the embedding to that",
                f"{a.added_value:+.3f}",
                _ci(a.added_value_ci),
                both,
                n,
            ),
        ]
    if (f := r.transport) is not None:
        rows.append(
            KeyFigure(
                "concordance of the axis of another cohort",
                f"{f.concordance:.3f}",
                _ci(f.ci),
                p_text(f.p_value, f.permutations),
                str(f.n),
            )
        )
    if (c := r.comparison) is not None:
        rows += [
            KeyFigure(
                f"concordance, {p.first} − {p.second}",
                f"{p.difference:+.3f}",
                _ci(p.ci),
                f"Holm p = {p.p_holm:.2g}",
                str(c.n),
            )
            for p in c.pairs
        ]
    return rows


def _of_probe(r: ProbeResult) -> list[KeyFigure]:
    from analysis.gradient.words import p_text
    from analysis.probes.metrics import PRIMARY
    from analysis.probes.words import NAMES

    name = PRIMARY[r.task]
    rows = []
    for embedding, metrics in {r.embedding: r.metrics, **r.others}.items():
        m = metrics[name]
        beside = [] if m.chance is None else [f"chance {m.chance:.3f}"]
        if m.p_value is not None:
            beside.append(p_text(m.p_value, int(r.provenance.parameters["permutations"])))
        of = f", {embedding}" if r.others else ""
        rows.append(KeyFigure(f"{NAMES[name]}{of}", f"{m.mean:.3f}", _ci(m.ci), ", ".join(beside), str(r.n)))
    return rows


def _of_retrieve(r: RetrievalResult) -> list[KeyFigure]:
    rows = [("mean average precision", r.metrics["mAP"], r.queries)]
    if r.matched is not None:
        like = ", ".join(r.matched.columns)
        rows.append((f"the same among patients alike in {like}", r.matched.metrics["mAP"], r.matched.queries))
    return [
        KeyFigure(name, f"{m.mean:.3f}", _ci(m.ci), f"random {m.random:.3f}", str(n)) for name, m, n in rows
    ]


def _of_survival(r: SurvivalResult) -> list[KeyFigure]:
    from analysis.gradient.words import p_text

    draws = int(r.provenance.parameters["permutations"])
    n = f"{r.n} ({r.events} events)"
    p = "" if r.c_index.p_value is None else p_text(r.c_index.p_value, draws)
    rows = [KeyFigure("C-index of the risk score", f"{r.c_index.mean:.3f}", _ci(r.c_index.ci), p, n)]
    if (a := r.added) is not None:
        rows.append(
            KeyFigure(
                f"C-index gained beside {', '.join(a.columns)}",
                f"{a.gain:+.3f}",
                _ci(a.ci),
                p_text(a.p_value, a.permutations),
                n,
            )
        )
    return rows


_OF: dict[str, Callable[[Any], list[KeyFigure]]] = {
    "audit": _of_audit,
    "project": _of_project,
    "gradient": _of_gradient,
    "probe": _of_probe,
    "retrieve": _of_retrieve,
    "survival": _of_survival,
}
