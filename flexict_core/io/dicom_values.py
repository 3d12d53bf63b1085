"""Values of a pydicom dataset, converted here and not by pydicom: its warnings quote the values they complain
of, and those may name a patient. A value that is missing or damaged is "", () or None, never an error."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def text(ds: Dataset, keyword: str) -> str:
    """A text value, without padding; "" where it is missing."""
    element = _element(ds, keyword)
    value = None if element is None else element.value
    if not isinstance(value, bytes):
        return "" if value is None else str(value).strip(" \0")
    try:
        return value.decode("ascii").strip(" \0")
    except UnicodeDecodeError:
        return str(ds[keyword].value).strip(" \0")  # pydicom knows the character sets


def numbers(ds: Dataset, keyword: str) -> tuple[float, ...]:
    """Decimal strings or binary floats; () where missing, or where one is no finite number."""
    element = _element(ds, keyword)
    value = None if element is None else element.value
    if value is None:
        return ()
    try:
        if isinstance(value, bytes):
            if _vr(element, keyword) in ("FD", "FL"):  # functional groups
                value = ds[keyword].value
            else:
                value = value.decode("ascii").strip(" \0").split("\\")
        several = [value] if isinstance(value, (str, int, float)) else value
        found = tuple(map(float, several))
    except (ValueError, TypeError, UnicodeDecodeError):
        return ()
    return found if all(map(math.isfinite, found)) else ()


def _element(ds: Dataset, keyword: str) -> Any:
    """An element as pydicom holds it, its value still bytes if nobody asked for it; None where missing."""
    try:
        return ds.get_item(tag_of(keyword))
    except KeyError:
        return None


def _vr(element: Any, keyword: str) -> str:
    from pydicom.datadict import dictionary_VR

    return dictionary_VR(tag_of(keyword)) if element.VR in (None, "UN") else element.VR


@lru_cache
def tag_of(keyword: str) -> Any:
    from pydicom.tag import Tag

    return Tag(keyword)


def number(ds: Dataset, keyword: str) -> float | None:
    found = numbers(ds, keyword)
    return found[0] if found else None


def integer(ds: Dataset, keyword: str) -> int | None:
    element = _element(ds, keyword)
    if element is None:
        return None
    vr = _vr(element, keyword)
    if isinstance(element.value, bytes) and vr in ("US", "SS", "UL", "US or SS"):
        width = 4 if vr == "UL" else 2
        value = element.value[:width]
        order: Literal["little", "big"] = "little" if element.is_little_endian else "big"
        return int.from_bytes(value, order) if len(value) == width else None
    found = numbers(ds, keyword)
    return int(found[0]) if found else None


def codes(ds: Dataset, keyword: str = "ImageType") -> tuple[str, ...]:
    element = _element(ds, keyword)
    if element is not None and not isinstance(element.value, (str, bytes, type(None))):
        return tuple(str(part).strip().upper() for part in element.value)
    return tuple(part.strip().upper() for part in text(ds, keyword).split("\\") if part.strip())


def group(shared: list[Dataset], frame: list[Dataset], keyword: str) -> Dataset | None:
    """A functional group of a frame, or the one that all frames share."""
    for item in (*frame, *shared):
        found = items(item, keyword)
        if found:
            return found[0]
    return None


def items(ds: Dataset, keyword: str) -> list[Dataset]:
    tag = tag_of(keyword)
    return list(ds[tag].value or []) if tag in ds else []
