"""The map of many points: what is sent to the browser, once and again, and what comes back."""

from __future__ import annotations

import base64
import gzip
import hashlib

import numpy as np
import pytest

from analysis import project
from analysis.plots.projection import colouring
from app.webgl_map import component as webgl
from app.webgl_map.blocks import Block, block
from app.webgl_map.palette import palette


def content(made: Block) -> bytes:
    """What the browser has of a block, after the hash at its head was checked."""
    whole = gzip.decompress(made.packed)
    assert hashlib.sha256(whole[32:]).digest() == whole[:32]
    return whole[32:]


def test_a_block_is_known_by_every_byte_of_its_content() -> None:
    """The server's store of files samples only head, middle and end of large ones: the head holds the hash of all."""
    one = np.zeros(3_000_000, np.uint8)
    other = one.copy()
    other[700_000] = 1
    first, second = block(one.tobytes()), block(other.tobytes())
    assert first.key != second.key
    assert gzip.decompress(first.packed)[:32] != gzip.decompress(second.packed)[:32]
    assert content(second) == other.tobytes()
    assert block(one.tobytes()) == first


def test_points_are_the_same_under_every_colour() -> None:
    X = np.random.default_rng(0).standard_normal((40, 3))
    ids = ["a b", "<b>ü</b>", "line\nbreak", *(f"P{i}" for i in range(37))]
    result = project(X, method="pca", patient_id=ids)
    made = webgl.points(result)
    places = np.frombuffer(content(made.places), np.float32).reshape(2, 40)
    assert places.T == pytest.approx(result.coordinates, rel=1e-6)
    assert content(made.names).decode().split("\n") == ["a b", "<b>ü</b>", "line break", *ids[3:]]
    assert webgl.points(result).places.key == made.places.key


def test_categories_have_a_code_a_colour_and_their_count() -> None:
    values = ["II", "I", "II", None, "III", "II"]
    made = palette(colouring(values, label="stage", order=["I", "II", "III"]), 6)
    assert made.codes.dtype == np.uint8
    assert made.codes.tolist() == [1, 0, 1, 3, 2, 1]
    assert [e["text"] for e in made.legend] == ["I (n = 1)", "II (n = 3)", "III (n = 1)", "missing (n = 1)"]
    assert len(set(made.colours)) == 4
    assert made.scale is None


def test_quarters_of_a_scale_count_its_numbers() -> None:
    numbers = np.array([0.0, 10.0, 20.0, 30.0, 60.0, 79.0, 80.0, np.nan])
    made = palette(colouring(numbers, label="volume"), 8)
    entries = [(e["name"], e["code"], e.get("last", e["code"]), e["text"]) for e in made.legend]
    assert entries == [
        ("0 to 20", 0, 15, "0 to 20 (n = 2)"),
        ("20 to 40", 16, 31, "20 to 40 (n = 2)"),
        ("40 to 60", 32, 47, "40 to 60 (n = 0)"),
        ("60 to 80", 48, 63, "60 to 80 (n = 3)"),
        ("missing", 64, 64, "missing (n = 1)"),
    ]
    assert made.codes.tolist() == [0, 8, 16, 24, 48, 63, 63, 64]
    assert made.scale is not None
    assert made.scale["ticks"] == ["0", "20", "40", "60", "80"]


def test_a_recolouring_sends_one_byte_a_patient() -> None:
    n = 50_000
    stage = np.random.default_rng(1).choice(["I", "II", "III"], n)
    painted = webgl.colours(colouring(stage, label="stage"), n)
    assert painted.values is None
    assert len(painted.codes.packed) < n
    assert np.frombuffer(content(painted.codes), np.uint8).tolist() == [len(s) - 1 for s in stage]
    score = np.linspace(-1, 1, n)
    numeric = webgl.colours(colouring(score, label="score"), n)
    assert numeric.values is not None
    assert np.frombuffer(content(numeric.values), np.float32) == pytest.approx(score)


def test_a_message_of_the_browser_selects_its_rows_or_nobody() -> None:
    chosen = np.array([True, False, False, True, False, False, False, False, True, False])
    text = base64.b64encode(np.packbits(chosen).tobytes()).decode()
    assert webgl.chosen_rows(text, 10).tolist() == chosen.tolist()
    for other in ("", "no such text!", base64.b64encode(b"abc").decode()):
        assert not webgl.chosen_rows(other, 10).any()


def test_no_colour_is_lost_on_a_dark_page() -> None:
    """Every colour of every palette stands at least 2:1 (WCAG) against the dark paper; light pages keep theirs."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    paper = luminance("#181714")
    stage = colouring(["I", "II", "III", "IV", None], label="stage", order=["I", "II", "III", "IV"])
    scanner = colouring(list("abcdefghijk"), label="scanner")
    for made, n in ((stage, 5), (scanner, 11), (colouring(np.linspace(0, 1, 50), label="score"), 50)):
        light, dark = webgl.colours(made, n).palette, webgl.colours(made, n, dark=True).palette
        assert dark.codes.tolist() == light.codes.tolist()
        assert {e["colour"] for e in dark.legend} <= set(dark.colours)
        assert min((luminance(c) + 0.05) / (paper + 0.05) for c in dark.colours) > 2
        assert [e["text"] for e in dark.legend] == [e["text"] for e in light.legend]
