"""Cox models by lifelines: the score, the clinical columns, both; hazard ratios and proportional hazards."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.results import Interval
from flexict_core.errors import AnalysisError

if TYPE_CHECKING:
    import pandas as pd

EVENTS_PER_VARIABLE = 10
SCORE = "risk score (per SD)"


@dataclass(frozen=True)
class CoxRow:
    """Hazard ratio of one term in one model; `test` names what gave the p-value."""

    model: str
    term: str
    hazard_ratio: float
    ci: Interval | None
    p_value: float | None
    test: str
    proportional_hazards_p: float


@dataclass(frozen=True)
class CoxFit:
    """Terms of one model with Wald intervals, or none where a penalty shrinks them."""

    name: str
    rows: tuple[CoxRow, ...]
    parameters: int
    notes: tuple[str, ...]


def design(table: pd.DataFrame) -> pd.DataFrame:
    """Numbers as they are, categories as indicators against the first in natural order."""
    import pandas as pd

    from analysis.clinical import canonical
    from analysis.selection import natural_key

    blocks = {}
    for name in table.columns:
        values = table[name]
        if np.issubdtype(np.asarray(values.tolist()).dtype, np.number):
            if np.ptp(values.to_numpy(dtype=float)) == 0:
                raise AnalysisError(f"clinical column {name!r} has a single value: leave it out")
            blocks[str(name)] = values.to_numpy(dtype=float)
            continue
        texts = [canonical(v) for v in values]
        levels = sorted(set(texts), key=natural_key)
        if len(levels) < 2:
            raise AnalysisError(f"clinical column {name!r} has the single value {levels[0]!r}: leave it out")
        for level in levels[1:]:
            blocks[f"{name}: {level} against {levels[0]}"] = np.array([float(t == level) for t in texts])
    return pd.DataFrame(blocks)


class NoFitError(Exception):
    """A Cox model that lifelines cannot fit; the text is its reason, in one line."""


def fit_cox(frame: pd.DataFrame, *, penalty: float = 0.0) -> tuple[Any, list[str]]:
    """Lifelines' fitted model of columns time, event and covariates, and what it says of convergence."""
    from lifelines import CoxPHFitter
    from lifelines.exceptions import ConvergenceError

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = CoxPHFitter(penalizer=penalty).fit(frame, duration_col="time", event_col="event")
        except (ConvergenceError, ValueError, np.linalg.LinAlgError) as error:
            raise NoFitError(" ".join(str(error).split())[:120]) from None
    texts = [(type(w.message).__name__, " ".join(str(w.message).split())) for w in caught]
    return model, [t[:160] for kind, t in texts if "Convergence" in kind or "complete separation" in t]


def cox_model(
    name: str, covariates: pd.DataFrame, *, time: np.ndarray, event: np.ndarray, penalty: float = 0.0
) -> CoxFit:
    """Fit by lifelines (Efron's ties). With a penalty there are no intervals: shrunken estimates do not centre
    on the truth. Raises AnalysisError where it does not converge."""
    import pandas as pd
    from lifelines.statistics import proportional_hazard_test

    frame = pd.concat(
        [pd.DataFrame({"time": time, "event": event}), covariates.reset_index(drop=True)], axis=1
    )
    try:
        model, said = fit_cox(frame, penalty=penalty)
    except NoFitError as error:
        raise AnalysisError(
            f"Cox model {name!r} could not be fitted ({error}): leave collinear columns out, or give --penalty 0.1"
        ) from None
    notes = [f"Cox model {name!r}: lifelines says {text}" for text in said]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hazards = proportional_hazard_test(model, frame, time_transform="rank").summary
    p_hazards = {t: float(hazards.loc[t, "p"]) for t in covariates.columns}
    rows = tuple(_row(name, str(t), model.summary.loc[t], p_hazards[t], penalty) for t in covariates.columns)
    per_variable = float(event.sum()) / covariates.shape[1]
    if per_variable < EVENTS_PER_VARIABLE:
        notes.append(
            f"Cox model {name!r}: {per_variable:.1f} events per variable, fewer than {EVENTS_PER_VARIABLE}: its "
            "hazard ratios are not to be relied on"
        )
    broken = [t for t, p in p_hazards.items() if p < 0.05]
    if broken:
        shown = ", ".join(f"{t} (p = {p_hazards[t]:.3g})" for t in broken)
        notes.append(
            f"Cox model {name!r}: the hazard ratio changes over time for {shown}: it is an average over follow-up"
        )
    return CoxFit(name, rows, covariates.shape[1], tuple(notes))


def _row(model: str, term: str, summary: Any, hazards_p: float, penalty: float) -> CoxRow:
    shrunken = penalty > 0
    return CoxRow(
        model=model,
        term=term,
        hazard_ratio=float(summary["exp(coef)"]),
        ci=None
        if shrunken
        else (float(summary["exp(coef) lower 95%"]), float(summary["exp(coef) upper 95%"])),
        p_value=None if shrunken else float(summary["p"]),
        test="none (penalised)" if shrunken else "Wald",
        proportional_hazards_p=hazards_p,
    )
