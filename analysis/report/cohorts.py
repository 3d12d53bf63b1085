"""The cohorts of a study: every embedding on the same patients, and every column it names checked beforehand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flexict_core.errors import CohortError, InputError, StoreError

if TYPE_CHECKING:
    from analysis.cohort import Cohort
    from analysis.report.study import Study


@dataclass(frozen=True, kw_only=True, eq=False)
class Cohorts:
    """`by_name`: one cohort an embedding, all of the same patients in the same order; the first is the main one.

    known: patients in the clinical table or in an embedding; quarantined: reasons of rows that could not be
    embedded, with their number, by patient where nobody else stands for them; without_id: rows of the clinical
    table without an ID; `id_reasons` of the main cohort's losses tell matching (before) from filters (after).
    """

    by_name: Mapping[str, Cohort]
    clinical: Path
    without_id: int
    quarantined: Mapping[str, str]
    filter_reason: str

    @property
    def main(self) -> Cohort:
        return next(iter(self.by_name.values()))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.by_name)


def load_cohorts(study: Study, *, file: str) -> Cohorts:
    """Join each embedding of the study with its clinical table; keep the patients whom every embedding has.

    `file`: name of the study file, for messages. Raises InputError, CohortError or StoreError for what is not there,
    naming the key and the nearest name.
    """
    from analysis.clinical import read_clinical
    from analysis.cohort import load_cohort, only_embedding
    from analysis.gradient.alignment import in_every_embedding
    from flexict_core.store import EmbeddingStore

    try:
        store = EmbeddingStore(study.store)
        names = study.embeddings or (only_embedding(store),)
        identities = [store.resolve(name) for name in names]
        if len(set(identities)) < len(identities):
            twice = [n for n, i in zip(names, identities, strict=True) if identities.count(i) > 1]
            raise CohortError(f"{' and '.join(twice)} are one embedding: name it once")
        loaded = {
            _short(name, store): load_cohort(
                store,
                identity,
                study.clinical,
                id_column=study.id,
                where=study.where,
                id_replace=study.id_replace,
            )
            for name, identity in zip(names, identities, strict=True)
        }
    except (CohortError, StoreError) as error:
        raise InputError(f"{file}: {as_keys(error)}") from None
    aligned = {
        name: in_every_embedding(cohort, {n: c for n, c in loaded.items() if n != name})
        for name, cohort in loaded.items()
    }
    table = read_clinical(study.clinical, id_column=study.id, id_replace=study.id_replace)
    cohorts = Cohorts(
        by_name=aligned,
        clinical=study.clinical,
        without_id=table.without_id,
        quarantined=_quarantined(store, identities[0]),
        filter_reason=f"left out by --where {' '.join(study.where)}",
    )
    check_columns(study, cohorts.main, file=file)
    return cohorts


def check_columns(study: Study, cohort: Cohort, *, file: str) -> None:
    """InputError that names the key, the misspelt column and the nearest one; the same for stages and orders."""
    from analysis.clinical import parse_order, stage_codes

    for key, column in named_columns(study):
        try:
            cohort.column(column)
        except (CohortError, StoreError) as error:
            raise InputError(f"{file}: {key}: {as_keys(error)}") from None
    for key, column, order in named_orders(study):
        try:
            stage_codes(list(cohort.column(column)), parse_order(order), column=column)
        except CohortError as error:
            raise InputError(f"{file}: {key}: {as_keys(error)}") from None


def named_columns(study: Study) -> Iterator[tuple[str, str]]:
    """Every (key, column) that the study names."""
    columns: dict[str, Any] = {"stage": study.stage, "group": study.group}
    columns |= {"adjust": study.adjust, "describe": study.describe}
    for name, keys in _COLUMN_KEYS.items():
        sections = getattr(study, name)
        several = sections if isinstance(sections, tuple) else (sections,)
        for i, section in enumerate(several):
            if section is not None:
                at = f"{name}[{i + 1}]" if isinstance(sections, tuple) else name
                columns |= {f"{at}.{key}": getattr(section, key) for key in keys}
    for key, value in columns.items():
        for column in value if isinstance(value, tuple) else (value,):
            if column is not None:
                yield key, column


_COLUMN_KEYS = {
    "audit": ("label", "fields", "group", "split", "person"),
    "project": ("colour",),
    "gradient": ("stage", "adjust", "group", "duration", "event"),
    "probe": ("target", "event"),
    "retrieve": ("label", "stratify", "match"),
    "survival": ("duration", "event", "by", "adjust"),
}


def named_orders(study: Study) -> Iterator[tuple[str, str, str]]:
    """Every (key, column, order) that the study names."""
    if study.stage is not None and study.order is not None:
        yield "order", study.stage, study.order
    if (g := study.gradient) is not None and g.order is not None and (g.stage or study.stage):
        yield "gradient.order", str(g.stage or study.stage), g.order
    for i, p in enumerate(study.probe):
        if p.task == "ordinal" and p.order is not None:
            yield f"probe[{i + 1}].order", p.target, p.order


def _short(name: str, store: Any) -> str:
    """The readable name of an embedding, as its store gives it; the ID where two share a name."""
    infos = {i.embedding_id: i.name for i in store.list()}
    own = infos[store.resolve(name)]
    return own if Counter(infos.values())[own] == 1 else store.resolve(name)


def _quarantined(store: Any, identity: str) -> dict[str, str]:
    """Reason by patient, without the names of files: a report is passed on, and equal reasons are counted together."""
    return {
        str(row["patient_id"]).strip(): _without_files(row)
        for row in store.quarantine(identity).to_dict("records")
    }


def _without_files(row: Mapping[str, Any]) -> str:
    reason = str(row["reason"])
    named: dict[str, str] = {}
    for key in ("file", "image", "mask"):
        if name := str(row[key] or ""):
            word = "the mask" if name == row["mask"] else "the image"
            named |= {name: word, str(Path(str(row["root"] or "")) / name): word}
    for name in sorted(named, key=len, reverse=True):  # a path before its end alone
        reason = reason.replace(name, named[name])
    return reason.removeprefix("the image: ")


def as_keys(error: Exception) -> str:
    """A message for the command line in the words of the file: "--order" is "order" here."""
    return str(error).replace("choose by --embedding", "name one or several by embeddings").replace("--", "")


def complete(
    cohort: Cohort, columns: Sequence[str], *, stage: str | None = None, order: str | None = None
) -> Cohort:
    """The patients who have every column and a stage of the order; CohortError where nobody has."""
    names = [c for c in dict.fromkeys(columns) if c]
    kept = cohort.complete(names) if names else cohort
    if stage is not None and order is not None:
        kept, _, _ = kept.with_stage(stage, order)
    return kept
