"""Where slots look: what passes their gates, frame by frame."""

import base64
import io
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from audioslots_jax.inference.recordings import load
from audioslots_jax.lens import attention
from audioslots_jax.lens.page import render
from audioslots_jax.lens.runs import where_slots_look
from configs import voices
from tests.runs import make_run

RATE = 8000


@pytest.fixture(scope="module")
def separator(tmp_path_factory):
    """An untrained model of gates, whose crops have 32 frames."""
    config = voices.get_config("mask")
    config.model.encoder.update(width=8, blocks=2, embedding=0)
    config.model.slot_module.slot_size = 16
    config.objectives = {"matched_snr": config.objectives.matched_snr}
    workdir = tmp_path_factory.mktemp("gates") / "run"
    make_run(workdir, config)
    return load(workdir)


def burst(start, seconds=1.0):
    """A tone of 0.1 s in silence."""
    sound = np.zeros(round(seconds * RATE), np.float32)
    tone = np.sin(2 * np.pi * 440 * np.arange(RATE // 10) / RATE)
    sound[round(start * RATE) :][: RATE // 10] = 0.3 * tone
    return sound


def pixels(picture):
    content = base64.b64decode(picture.uri.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def coloured(picture):
    """How many pixels of each column are neither black, grey nor white."""
    rgb = pixels(picture)
    return (rgb.max(axis=2) - rgb.min(axis=2) > 80).sum(axis=0)


def test_every_gate_has_a_picture_that_says_what_it_shows(separator):
    section = where_slots_look(separator, [("a tone", burst(0.2))])
    ((name, looks),) = section.looks
    ((first, second),) = looks.panels
    shown = render("", [], [section]).decode()
    assert name in shown
    assert "those of a slot sum to 1" in shown
    assert "Attention" not in shown
    assert "head" not in shown.partition("</head>")[2].partition("<h2")[2].partition("<footer")[0]
    for number, pictures in ((1, first), (2, second)):
        (picture,) = pictures
        assert picture.alt.startswith(f"Gate of slot {number}: ")
        assert picture.alt.endswith("if all were alike, each would have 3.1 %")  # of 32 frames
        assert picture.uri in shown


@pytest.mark.parametrize("start", [0.0, 0.2, 0.35])
def test_bars_are_where_there_is_something_to_hear(separator, start):
    looks = attention.looks(separator, burst(start, 0.5))
    for (picture,) in looks.panels[0]:
        columns = coloured(picture)
        heard = np.flatnonzero(columns > 2) / len(columns) * 0.5
        assert columns.max() > 0.6 * picture.height
        assert heard.min() > start - 0.05
        assert heard.max() < start + 0.15
        said = float(re.search(r"at (\d+) % of the time", picture.alt).group(1)) / 100 * 0.5
        assert start - 0.02 < said < start + 0.12


def test_a_silent_mixture_has_bars_of_one_height(separator):
    for (picture,) in attention.looks(separator, np.zeros(RATE, np.float32)).panels[0]:
        assert np.ptp(coloured(picture)) == 0


@given(arrays(np.float32, (2, 7), elements=st.floats(0, 1e3, width=32)), st.integers(-20, 20))
def test_shares_of_a_slot_sum_to_one_at_any_level(passed, octaves):
    shares = attention.frame_shares(passed)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    assert (shares >= 0).all()
    for row, share in zip(passed, shares, strict=True):
        assert (np.diff(share[np.argsort(row)]) >= 0).all()
    if (passed.sum(axis=1) > 1e-20).all():
        scaled = attention.frame_shares(passed * np.float32(2.0**octaves))
        np.testing.assert_allclose(scaled, shares, rtol=1e-4, atol=1e-6)


def test_bars_are_as_high_as_their_shares():
    shares = np.array([0.05, 0.3, 0.0, 0.4, 0.1, 0.05, 0.05, 0.05])
    picture = attention.bars(np.zeros((4, 4)), shares, 0.5, "x")
    columns = coloured(picture).reshape(len(shares), -1)[:, 20:-20]  # the codec blurs edges
    expected = np.repeat(shares[:, None] / 0.5 * picture.height, columns.shape[1], axis=1)
    np.testing.assert_allclose(columns, expected, atol=5)  # the line takes a few


def test_a_slot_module_with_neither_attention_nor_gates_says_so(separator, monkeypatch):
    monkeypatch.setattr(attention, "_looks", lambda *_: {})
    section = where_slots_look(separator, [("a tone", burst(0.2))])
    assert not section.looks
    assert list(section.text) == [
        "Slots of gated_pooling have neither attention over a grid nor gates to look at."
    ]


def test_a_short_mixture_is_looked_at_as_it_is_heard(separator):
    """Again and again, as the separator hears it."""
    short = burst(0.05, 0.2)
    pictures = [attention.looks(separator, x).panels for x in (short, np.resize(short, 4000))]
    assert [pixels(x).tolist() for x in pictures[0][0][0]] == [
        pixels(x).tolist() for x in pictures[1][0][0]
    ]
