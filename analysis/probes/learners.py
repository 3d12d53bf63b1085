"""Probes: what is fitted on the embedding, each with its grid of one hyperparameter (from strong to weak penalty).

`fit_path` fits every value of a grid and predicts held-out patients at once, so that what they share (a singular
value decomposition, neighbours, the last solution) is computed once. All standardise by the training patients.

linear: classify, multinomial logistic regression with balanced classes; ordinal, proportional odds
with a ridge; regress, ridge regression; survival, Cox regression with a ridge. kNN: the same targets from the
nearest patients. mlp: one hidden layer of 32 (scikit-learn). kNN and mlp meet survival as the martingale residual.

Sources: McCullagh, J. R. Stat. Soc. B 42 (1980) 109 (proportional odds); Therneau et al., Biometrika 77 (1990) 147.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from scipy.special import expit, softmax

from analysis.time_to_event.ridge_cox import ridge_cox_path
from analysis.time_to_event.risk_score import martingale_residuals

Task = Literal["classify", "ordinal", "regress", "survival"]
Learner = Literal["linear", "knn", "mlp"]

TASKS, LEARNERS = get_args(Task), get_args(Learner)
LOGISTIC_C = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
PARAMETER = {"linear": {"classify": "C", "ordinal": "penalty", "regress": "penalty", "survival": "penalty"}}


def grid(task: str, learner: str, n: int) -> tuple[float, ...]:
    """Values of the hyperparameter that the inner folds choose from, simplest model first."""
    if learner == "knn":
        return tuple(float(k) for k in (51, 31, 21, 15, 9, 5, 3, 1) if k <= max(n // 2, 1))
    if learner == "mlp":
        return (10.0, 1.0, 0.01)
    if task == "classify":
        return LOGISTIC_C
    return tuple(float(v) for v in n * np.logspace(1.5, -3.5, 11))


def parameter_name(task: str, learner: str) -> str:
    return {"knn": "k", "mlp": "alpha"}.get(learner) or PARAMETER["linear"][task]


def fit_path(
    task: str,
    learner: str,
    *,
    train: np.ndarray,
    target: np.ndarray,
    test: np.ndarray,
    values: Sequence[float],
    classes: int = 0,
    seed: int = 0,
) -> list[np.ndarray]:
    """Predictions of the test rows for each value: probabilities [n, classes], values [n] or risks [n]."""
    Z, T = standardised(train, test)
    if learner == "linear":
        if task == "classify":
            return logistic_path(Z, target, T, values, classes)
        if task == "ordinal":
            return proportional_odds_path(Z, target, T, values, classes)
        return ridge_path(Z, target, T, values) if task == "regress" else _cox_path(Z, target, T, values)
    y = target
    if task == "survival":
        y = martingale_residuals(target[:, 0], target[:, 1], np.ones((len(target), 1)))[:, 0]
    if learner == "knn":
        return _neighbours_path(Z, _one_hot(y, classes), T, values)
    return _mlp_path(Z, y, T, values, classes=classes, seed=seed)


def _one_hot(y: np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes)[y] if classes else y


def _filled(p: np.ndarray, present: np.ndarray, classes: int) -> np.ndarray:
    """Probabilities with a column of 0 for each class that the training patients lack."""
    out = np.zeros((len(p), classes))
    out[:, present] = p
    return out


class Rotated:
    """Training rows in their principal axes, scaled by a bound of the curvature for each penalty.

    In these coordinates quasi-Newton steps need tens of iterations, however collinear the columns and weak the
    penalty, where the raw columns need hundreds. The solution is that of the raw columns.
    Source of the bound: Böhning, Ann. Inst. Stat. Math. 44 (1992) 197.
    """

    def __init__(self, Z: np.ndarray, T: np.ndarray) -> None:
        U, s, Vt = np.linalg.svd(Z, full_matrices=False)
        kept = s > s.max(initial=0.0) * 1e-10
        self.s, self.train, self.test = s[kept], U[:, kept] * s[kept], T @ Vt[kept].T

    def scale(self, penalty: float, curvature: float) -> np.ndarray:
        """[r] one over the square root of the bound of the second derivative along each axis."""
        return 1 / np.sqrt(curvature * self.s**2 + penalty)


def logistic_path(
    Z: np.ndarray,
    y: np.ndarray,
    T: np.ndarray,
    values: Sequence[float],
    classes: int,
    *,
    tolerance: float = 1e-4,
) -> list[np.ndarray]:
    """Multinomial logistic regression with balanced classes for each C, every fit started from the last."""
    from scipy.optimize import minimize

    present, codes = np.unique(y, return_inverse=True)
    K = present.size
    if K == 1:
        return [_filled(np.ones((len(T), 1)), present, classes)] * len(values)
    weight = (len(y) / (K * np.bincount(codes)))[codes]
    rotated, hot = Rotated(Z, T), np.eye(K)[codes]
    B, intercept = np.zeros((rotated.s.size, K)), np.zeros(K)
    out = []
    for C in values:
        scale = rotated.scale(1 / C, 0.5 / K)[:, None]
        start = np.concatenate([(B / scale).ravel(), intercept])
        shrink, A = (scale**2 / C)[:, 0], rotated.train * scale[:, 0]
        found = minimize(
            _logistic_loss, start, args=(A, hot, weight, shrink), jac=True, method="L-BFGS-B",
            options={"maxiter": 1000, "gtol": tolerance * np.sqrt(len(y)), "ftol": 0.0, "maxcor": 20},
        )  # fmt: skip
        B, intercept = found.x[:-K].reshape(-1, K) * scale, found.x[-K:]
        out.append(_filled(softmax(rotated.test @ B + intercept, axis=1), present, classes))
    return out


def _logistic_loss(
    x: np.ndarray, A: np.ndarray, hot: np.ndarray, weight: np.ndarray, shrink: np.ndarray
) -> tuple[float, np.ndarray]:
    """Weighted negative log-likelihood + ½ Σ shrink u², with its gradient."""
    K = hot.shape[1]
    u = x[:-K].reshape(-1, K)
    eta = A @ u + x[-K:]
    eta -= eta.max(axis=1, keepdims=True)
    p = np.exp(eta)
    total = p.sum(axis=1, keepdims=True)
    loss = weight @ (np.log(total[:, 0]) - (eta * hot).sum(axis=1)) + 0.5 * shrink @ (u**2).sum(axis=1)
    away = (p / total - hot) * weight[:, None]
    return float(loss), np.concatenate([(A.T @ away + shrink[:, None] * u).ravel(), away.sum(axis=0)])


def ridge_path(Z: np.ndarray, y: np.ndarray, T: np.ndarray, values: Sequence[float]) -> list[np.ndarray]:
    """Ridge regression (intercept free) for each penalty from one decomposition."""
    U, s, Vt = np.linalg.svd(Z, full_matrices=False)
    middle = y.mean()
    along, out_of = U.T @ (y - middle), T @ Vt.T
    return [middle + out_of @ (s / (s**2 + penalty) * along) for penalty in values]


def ridge_axes(
    train: np.ndarray, y: np.ndarray, test: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What ridge fits of many targets y [n, B] share: targets and test rows along the principal axes, singular
    values, and the mean of each target. A fit predicts mean + rows @ (s / (s² + penalty) · targets)."""
    Z, T = standardised(train, test)
    U, s, Vt = np.linalg.svd(Z, full_matrices=False)
    middle = y.mean(axis=0)
    return U.T @ (y - middle), T @ Vt.T, s, middle


def standardised(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both by mean and SD of the training rows; a column that is constant there is 0."""
    mean, sd = train.mean(axis=0), train.std(axis=0)
    scale = np.where(sd > 1e-12 * (1 + np.abs(mean)), sd, np.inf)
    return (train - mean) / scale, (test - mean) / scale


def _cox_path(Z: np.ndarray, y: np.ndarray, T: np.ndarray, values: Sequence[float]) -> list[np.ndarray]:
    return [T @ beta for beta in ridge_cox_path(Z, y[:, 0], y[:, 1], penalties=values)]


def proportional_odds_path(
    Z: np.ndarray,
    y: np.ndarray,
    T: np.ndarray,
    values: Sequence[float],
    classes: int,
    *,
    tolerance: float = 1e-4,
) -> list[np.ndarray]:
    """Cumulative logit P(y ≤ k) = expit(θ_k − x·β), ridge on β alone, each fit started from the last."""
    from scipy.optimize import minimize

    present, codes = np.unique(y, return_inverse=True)
    K = present.size
    if K == 1:
        return [_filled(np.ones((len(T), 1)), present, classes)] * len(values)
    share = np.cumsum(np.bincount(codes))[:-1] / len(y)
    theta = np.log(share / (1 - share))
    cut = np.concatenate([[theta[0]], np.log(np.diff(theta))])
    rotated = Rotated(Z, T)
    beta = np.zeros(rotated.s.size)
    out = []
    for penalty in values:
        scale = rotated.scale(penalty, 0.25)
        found = minimize(
            _ordinal_loss, np.concatenate([cut, beta / scale]), jac=True, method="L-BFGS-B",
            args=(rotated.train * scale, codes, K, penalty * scale**2),
            options={"maxiter": 1000, "gtol": tolerance * np.sqrt(len(y)), "ftol": 0.0, "maxcor": 20},
        )  # fmt: skip
        cut, beta = found.x[: K - 1], found.x[K - 1 :] * scale
        below = expit(_cuts(cut, K) - (rotated.test @ beta)[:, None])
        edges = np.column_stack([np.zeros(len(T)), below, np.ones(len(T))])
        out.append(_filled(np.diff(edges, axis=1), present, classes))
    return out


def _cuts(x: np.ndarray, K: int) -> np.ndarray:
    return x[0] + np.concatenate([[0.0], np.cumsum(np.exp(x[1 : K - 1]))])


def _ordinal_loss(
    x: np.ndarray, Z: np.ndarray, codes: np.ndarray, K: int, shrink: np.ndarray
) -> tuple[float, np.ndarray]:
    """Negative log-likelihood + ½ Σ shrink β², with its gradient; thresholds kept in order by log steps."""
    cuts, beta = _cuts(x, K), x[K - 1 :]
    eta = Z @ beta
    upper = np.append(cuts, np.inf)[codes] - eta
    lower = np.append(-np.inf, cuts)[codes] - eta
    high, low = expit(upper), expit(lower)
    p = np.maximum(high - low, 1e-300)
    slope_high, slope_low = high * (1 - high) / p, low * (1 - low) / p
    loss = -np.log(p).sum() + 0.5 * shrink @ beta**2
    to_eta = slope_high - slope_low
    to_cut = np.bincount(codes, weights=-slope_high, minlength=K)[: K - 1]
    to_cut += np.bincount(codes, weights=slope_low, minlength=K)[1:]
    steps = np.exp(x[1 : K - 1])
    behind = np.cumsum(to_cut[::-1])[::-1]  # a step moves every threshold behind it
    gradient = np.concatenate([[to_cut.sum()], steps * behind[1:], Z.T @ to_eta + shrink * beta])
    return float(loss), gradient


def _neighbours_path(
    Z: np.ndarray, y: np.ndarray, T: np.ndarray, values: Sequence[float]
) -> list[np.ndarray]:
    """Mean target of the k nearest (Euclidean, standardised), ties by place, for each k."""
    squared = (T**2).sum(axis=1)[:, None] - 2 * T @ Z.T + (Z**2).sum(axis=1)
    nearest = np.argsort(squared, axis=1, kind="stable")[:, : int(max(values))]
    total = np.cumsum(y[nearest], axis=1)
    out = []
    for value in values:
        k = min(int(value), nearest.shape[1])
        out.append(total[:, k - 1] / k)
    return out


def _mlp_path(
    Z: np.ndarray, y: np.ndarray, T: np.ndarray, values: Sequence[float], *, classes: int, seed: int
) -> list[np.ndarray]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    common: dict[str, Any] = {"hidden_layer_sizes": (32,), "max_iter": 100, "random_state": seed}
    out = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for alpha in values:
            if classes:
                model = MLPClassifier(alpha=alpha, **common).fit(Z, y)
                out.append(_filled(model.predict_proba(T), model.classes_, classes))
                continue
            spread = y.std() or 1.0
            fitted = MLPRegressor(alpha=alpha, **common).fit(Z, (y - y.mean()) / spread)
            out.append(y.mean() + spread * fitted.predict(T))
    return out
