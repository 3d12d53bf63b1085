"""A study file (YAML) into a `Study`: every key, type and path checked, each mistake one line.

Relative paths are relative to the file and may not leave its folder, as in a manifest; the file is its user's own,
so absolute paths are taken, and the report says so. Nothing in the file is run: only YAML's plain values are read,
without anchors.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from analysis.report.study import Study
from flexict_core.errors import InputError
from flexict_core.tables import nearest, why_no_file

MOST_BYTES = 1_000_000
_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}


def read_study(
    path: str | Path, *, store: Path | None = None, clinical: Path | None = None
) -> tuple[Study, str]:
    """The study in a file, and the file's SHA-256. `store` and `clinical` replace what the file names.

    Raises InputError in one line for what is not YAML, an unknown key (with the nearest known one), a value of
    another type, a number out of range, and a path that leaves the file's folder or is not there.
    """
    import hashlib

    file = Path(path)
    if not file.is_file():
        raise InputError(
            f"--config {str(file)!r} {why_no_file(file)}: write one with flexict report --example > study.yaml"
        )
    data = file.read_bytes()
    values = _plain_yaml(data, file)
    replaced = {k: v for k, v in (("store", store), ("clinical", clinical)) if v is not None}
    for key, value in replaced.items():
        values[key] = str(value.resolve())
    reader = _Reader(file)
    study = reader.dataclass(Study, values, "")
    if study.order is not None and study.stage is None:
        raise InputError(f"{file.name}: order: {study.order!r} orders a stage, and there is none: add stage")
    given = tuple(key for key in reader.absolute if key not in replaced)
    return dataclasses.replace(study, absolute=given), hashlib.sha256(data).hexdigest()


class _Loader(yaml.SafeLoader):
    """Safe YAML without anchors (a short file may not unfold into a huge one) and without doubled keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not read here", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="keys must be plain words", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value!r} occurs twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def _plain_yaml(data: bytes, file: Path) -> dict[str, Any]:
    if len(data) > MOST_BYTES:
        raise InputError(f"{file.name} holds {len(data):,} bytes: a study file takes at most {MOST_BYTES:,}")
    try:
        values = yaml.load(data.decode("utf-8-sig"), Loader=_Loader)
    except UnicodeDecodeError:
        raise InputError(f"{file.name} is not UTF-8 text: save it as UTF-8") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or " ".join(str(error).split())[:120]
        raise InputError(f"{file.name}{where}: not readable as YAML ({problem}): mend this line") from None
    if not isinstance(values, dict):
        raise InputError(f"{file.name} holds no keys: write one with flexict report --example > study.yaml")
    return values


class _Reader:
    """Values to dataclasses by their type hints; `absolute` collects the keys of absolute paths."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.home = file.resolve().parent
        self.absolute: list[str] = []

    def wrong(self, key: str, value: Any, wanted: str) -> InputError:
        words = ((None, "nothing"), (True, "true"), (False, "false"))
        shown = next((word for it, word in words if value is it), None)  # 0 equals False and 1 True
        said = shown or (repr(value)[:60] if _scalar(value) else f"a {_kind(value)}")
        return InputError(f"{self.file.name}: {key}: {said} is not {wanted}")

    def dataclass(self, cls: type, values: Any, key: str) -> Any:
        if values is None or values is True:  # "audit:" alone asks with the defaults
            values = {}
        if not isinstance(values, Mapping):
            raise self.wrong(key, values, f"a section: indent its keys ({_keys(cls)}) below it")
        known = {f.name: f for f in dataclasses.fields(cls) if not f.metadata.get("hidden")}
        inside = f"{key}." if key else ""
        for name in values:
            if name not in known:
                raise InputError(
                    f"{self.file.name}: {inside}{name} is not a key: {nearest(str(name), list(known))}"
                )
        for name, f in known.items():
            needed = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
            if needed and values.get(name) is None:
                raise InputError(f"{self.file.name}: {inside}{name} is missing: add it")
        hints = get_type_hints(cls)
        read = {
            name: self.value(hints[name], value, inside + name, known[name].metadata)
            for name, value in values.items()
        }
        return cls(**read)

    def value(self, hint: Any, value: Any, key: str, about: Mapping[str, Any]) -> Any:
        origin, inner = get_origin(hint), get_args(hint)
        if origin in (Union, types.UnionType):
            wanted = next(a for a in inner if a is not type(None))
            if dataclasses.is_dataclass(wanted):
                return None if value is False else self.value(wanted, value, key, about)
            return None if value is None else self.value(wanted, value, key, about)
        if dataclasses.is_dataclass(hint):
            return self.dataclass(hint, value, key)  # type: ignore[arg-type]
        if origin is Literal:
            if value not in inner:
                near = nearest(str(value), [str(a) for a in inner])
                raise self.wrong(key, value, f"known: {near}")
            return value
        if origin is tuple:
            return self.several(inner[0], value, key)
        if origin is not None:  # a mapping of texts: the statements
            return self.texts(value, key)
        return self.scalar(hint, value, key, about)

    def several(self, hint: Any, value: Any, key: str) -> tuple[Any, ...]:
        if value is None:
            return ()
        if isinstance(value, str) and hint is str:  # "A, B" as on the command line
            value = [part.strip() for part in value.split(",") if part.strip()]
        if isinstance(value, Mapping) and dataclasses.is_dataclass(hint):
            value = [value]
        if not isinstance(value, list):
            value = [value] if _scalar(value) and not dataclasses.is_dataclass(hint) else value
        if not isinstance(value, list):
            raise self.wrong(key, value, "a list: begin each line below it with '- '")
        return tuple(self.value(hint, v, f"{key}[{i + 1}]", {}) for i, v in enumerate(value))

    def texts(self, value: Any, key: str) -> dict[str, str]:
        from analysis.report.checklist import STATEMENTS

        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise self.wrong(key, value, "a section of texts: indent its keys below it")
        for name in value:
            if name not in STATEMENTS:
                raise InputError(
                    f"{self.file.name}: {key}.{name} is not a key: {nearest(str(name), list(STATEMENTS))}"
                )
        return {k: self.scalar(str, v, f"{key}.{k}", {}) for k, v in value.items() if v is not None}

    def scalar(self, hint: Any, value: Any, key: str, about: Mapping[str, Any]) -> Any:
        if hint is str and isinstance(value, list) and key.endswith("order"):
            return ",".join(self.scalar(str, v, f"{key}[{i + 1}]", {}) for i, v in enumerate(value))
        if hint is str and isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        if hint is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        wanted = str if hint is Path else hint
        if not isinstance(value, wanted) or (isinstance(value, bool) and hint is not bool):
            quoted = ": write it in quotes" if hint is str and _scalar(value) and value is not None else ""
            raise self.wrong(key, value, _NAMES[hint] + quoted)
        least = about.get("least")
        if least is not None and not value >= least:  # NaN too
            raise self.wrong(key, value, f"{least:g} or more")
        return self.path(value, key) if hint is Path else value

    def path(self, text: str, key: str) -> Path:
        from flexict_core.manifest import resolve_inside

        if Path(text).is_absolute():
            self.absolute.append(key)
            found = Path(text)
        else:
            try:
                found = resolve_inside(self.home, text)
            except InputError:
                raise InputError(
                    f"{self.file.name}: {key}: {text!r} leaves the folder of the study file: move the file "
                    "beside its data, or write the absolute path"
                ) from None
        if not _exists(found):
            raise InputError(
                f"{self.file.name}: {key}: {text!r} does not exist in {str(self.home)!r}: correct the path"
                if not Path(text).is_absolute()
                else f"{self.file.name}: {key}: {text!r} does not exist: correct the path"
            )
        return found


def _scalar(value: Any) -> bool:
    return not isinstance(value, list | dict | set | tuple)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long, a null byte
        return False


def _kind(value: Any) -> str:
    return "section" if isinstance(value, Mapping) else "list"


def _keys(cls: type) -> str:
    return ", ".join(f.name for f in dataclasses.fields(cls)[:4]) + ", …"
