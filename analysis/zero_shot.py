"""Images and words in one space: CTs found by words, zero-shot scores, and reports matched with CTs.

Needs embeddings of pooling `vlm` and a way to place words beside them: `encode_text` of the same encoder.
Prompts are combined as in CLIP (Radford et al. 2021): the unit vectors of all templates and synonyms of one
name are averaged and scaled to length one again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from analysis.neighbours import NeighbourResult, search
from analysis.results import Result
from analysis.vectors import Vectors, as_vectors, comparable
from flexict_core.errors import AnalysisError

if TYPE_CHECKING:
    import pandas as pd

    from analysis.cohort import Cohort

EncodeText = Callable[[Sequence[str]], np.ndarray]
POSITIVE, NEGATIVE = ("There is {}.",), ("There is no {}.",)


@dataclass(frozen=True, kw_only=True)
class ZeroShotResult(Result):
    """Scores [n, m] of n patients for m names, 0 to 1, without any training on this cohort.

    kind "classes": the names compete, each row sums to one (softmax of scaled cosines). kind "pairs": each name
    stands alone, against its own denial. prompts: the texts behind each name (for pairs: its denials under
    "not NAME"). Scores rank patients; they are no calibrated probabilities.
    """

    command: ClassVar[str] = "zero_shot"

    kind: Literal["classes", "pairs"]
    names: tuple[str, ...]
    scores: np.ndarray
    patient_id: np.ndarray
    prompts: dict[str, tuple[str, ...]]

    def table(self) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame(
            {"patient_id": self.patient_id, **dict(zip(self.names, self.scores.T, strict=True))}
        )

    def summary(self) -> str:
        lines = [self.verdict]
        for name, column in zip(self.names, self.scores.T, strict=True):
            low, middle, high = np.percentile(column, [5, 50, 95])
            lines.append(f"  {name:<24} median {middle:.3f} (5 to 95 %: {low:.3f} to {high:.3f})")
        return "\n".join(lines)

    def methods_text(self) -> str:
        count = sum(len(texts) for texts in self.prompts.values())
        how = (
            "a softmax over the names"
            if self.kind == "classes"
            else "a softmax over each finding and its denial"
        )
        return (
            f"Zero-shot scores of {len(self.names)} names for {self.n} patients: cosine of image and text "
            f"embedding, times {self.provenance.parameters['logit_scale']:.4g}, then {how}. {count} prompts were "
            "used; the embeddings of the prompts of one name were averaged and scaled to length one. The scores "
            "were not calibrated."
        )

    def details(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "names": list(self.names),
            "prompts": self.prompts,
            "scores": self.table().to_dict(orient="records"),
        }


def zero_shot_classes(
    data: Cohort | np.ndarray,
    prompts: Sequence[str] | Mapping[str, str | Sequence[str]],
    *,
    encode_text: EncodeText,
    logit_scale: float,
    templates: Sequence[str] = ("{}",),
    patient_id: Sequence[Any] | None = None,
) -> ZeroShotResult:
    """Which of several descriptions fits each CT best.

    data: a cohort or array [n, E] of image embeddings. prompts: a list of texts, or name → text or synonyms.
    encode_text, logit_scale: of the encoder that made the images (`encoder.encode_text`,
    `encoder.logit_scale()`). templates: each holds "{}" once, where a prompt goes. AnalysisError for fewer than
    two names, templates without a place, and text embeddings of another width.
    """
    named = {p: [p] for p in prompts} if not isinstance(prompts, Mapping) else dict(prompts)
    if len(named) < 2 or isinstance(prompts, str):
        raise AnalysisError(
            f"{len(named)} description to choose from: give two or more, or use zero_shot_pairs"
        )
    texts = {name: filled(value, templates) for name, value in named.items()}
    vectors, points = _images(data, patient_id)
    cosine = points @ _prototypes(texts, encode_text, points.shape[1]).T  # [n, m]
    scores = _softmax(logit_scale * cosine)
    share = np.bincount(scores.argmax(axis=1), minlength=len(texts))
    first = ", ".join(f"{name} {count}" for name, count in zip(texts, share, strict=True))
    return ZeroShotResult(
        kind="classes",
        names=tuple(texts),
        scores=scores,
        prompts=texts,
        verdict=f"Best description of {vectors.n} patients: {first}",
        **_common(vectors, {"logit_scale": logit_scale, "templates": list(templates)}),
    )


def zero_shot_pairs(
    data: Cohort | np.ndarray,
    findings: Sequence[str] | Mapping[str, tuple[str | Sequence[str], str | Sequence[str]]],
    *,
    encode_text: EncodeText,
    logit_scale: float,
    positive: Sequence[str] = POSITIVE,
    negative: Sequence[str] = NEGATIVE,
    patient_id: Sequence[Any] | None = None,
) -> ZeroShotResult:
    """Each finding against its denial: the share of the positive text in a softmax over the two.

    findings: a list that goes into the templates `positive` and `negative`, or name → (positive, negative)
    texts that are taken as they are. The rest is as in `zero_shot_classes`.
    """
    if isinstance(findings, str) or not findings:
        raise AnalysisError(f"findings {findings!r}: give a list of at least one")
    if isinstance(findings, Mapping):
        yes = {name: filled(pair[0], ("{}",)) for name, pair in findings.items()}
        no = {name: filled(pair[1], ("{}",)) for name, pair in findings.items()}
    else:
        yes = {name: filled(name, positive) for name in findings}
        no = {name: filled(name, negative) for name in findings}
    vectors, points = _images(data, patient_id)
    with_it = points @ _prototypes(yes, encode_text, points.shape[1]).T  # [n, m]
    without = points @ _prototypes(no, encode_text, points.shape[1]).T  # [n, m]
    scores = _softmax(logit_scale * np.stack([with_it, without], axis=-1))[..., 0]
    counts = ", ".join(f"{name} {n}" for name, n in zip(yes, (scores > 0.5).sum(axis=0), strict=True))
    return ZeroShotResult(
        kind="pairs",
        names=tuple(yes),
        scores=scores,
        prompts={**yes, **{f"not {name}": texts for name, texts in no.items()}},
        verdict=f"Of {vectors.n} patients nearer to the finding than to its denial: {counts}",
        **_common(
            vectors, {"logit_scale": logit_scale, "positive": list(positive), "negative": list(negative)}
        ),
    )


def search_by_text(
    data: Cohort | np.ndarray,
    text: str,
    *,
    encode_text: EncodeText,
    k: int = 10,
    patient_id: Sequence[Any] | None = None,
) -> NeighbourResult:
    """The k patients whose CT is nearest to a text, by exact cosine of image and text embedding."""
    vectors, points = _images(data, patient_id)
    (vector,) = embedded([text], encode_text, points.shape[1])
    found = search(data, vector, k=min(k, vectors.n), patient_id=patient_id)
    parameters = {**found.provenance.parameters, "query": text}
    return dataclasses.replace(
        found,
        query=text,
        verdict=f"{found.k} CTs nearest to {text!r}",
        provenance=dataclasses.replace(found.provenance, parameters=parameters),
    )


def filled(prompt: str | Sequence[str], templates: Sequence[str]) -> tuple[str, ...]:
    """Every prompt in every template; AnalysisError for a template without exactly one "{}", or an empty prompt."""
    if isinstance(templates, str) or not templates or any(t.count("{}") != 1 for t in templates):
        raise AnalysisError(f'templates {templates!r}: give a list of texts that hold "{{}}" once')
    texts = [prompt] if isinstance(prompt, str) else list(prompt)
    if not texts or not all(isinstance(t, str) and t.strip() for t in texts):
        raise AnalysisError(f"prompt {prompt!r} is empty: give words")
    return tuple(template.replace("{}", text) for template in templates for text in texts)


def embedded(texts: Sequence[str], encode_text: EncodeText, width: int) -> np.ndarray:
    """Texts → [n, E] float64 of length one; AnalysisError where they are not in the images' space."""
    vectors = np.asarray(encode_text(list(texts)), dtype=np.float64)
    if vectors.shape != (len(texts), width):
        raise AnalysisError(
            f"texts have embeddings of shape {vectors.shape}, images have {width} dimensions: embed the CTs with "
            "pooling 'vlm' of the encoder whose words these are"
        )
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(vectors).all() and length.all()):
        raise AnalysisError("an embedding of a text is zero or not finite: check the text model")
    return vectors / length


def _prototypes(texts: Mapping[str, tuple[str, ...]], encode_text: EncodeText, width: int) -> np.ndarray:
    """[m, E]: for each name the mean direction of its texts."""
    flat = [text for group in texts.values() for text in group]
    vectors = embedded(flat, encode_text, width)
    ends = np.cumsum([len(group) for group in texts.values()])
    means = np.stack([part.mean(axis=0) for part in np.split(vectors, ends[:-1])])
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def _images(data: Cohort | np.ndarray, patient_id: Sequence[Any] | None) -> tuple[Vectors, np.ndarray]:
    """The cohort's vectors, and their directions [n, E] as the network gave them."""
    vectors = as_vectors(data, patient_id=patient_id)
    if vectors.feature_names is not None:
        raise AnalysisError(
            "these embeddings are named measurements, not images in a space with words: use pooling 'vlm'"
        )
    return vectors, comparable(vectors, metric="cosine").points


def _softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def _common(vectors: Vectors, parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "n": len(set(vectors.patient_id)),
        "patient_id": vectors.patient_id,
        "warnings": vectors.warnings,
        "provenance": vectors.provenance(parameters=parameters, seed=None, libraries=()),
    }
