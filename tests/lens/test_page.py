"""Pages in a real browser: what is on them is seen, heard and reached by the keyboard."""

import html
import shutil

import numpy as np
import pytest
import soundfile

from audioslots_jax import lens
from audioslots_jax.data.wholes import HEARD_SECONDS
from audioslots_jax.lens.page import Section, render
from tests.lens.conftest import HOSTILE, RATE

PLAYING = "[...document.querySelectorAll('audio')].filter((audio) => !audio.paused)"


@pytest.fixture(scope="module")
def page(run):
    path = run / "lens.html"
    lens.write(path, lens.page([run]))
    return path


@pytest.fixture
def opened(browser, page):
    browser.resize(1280, 800)
    browser.open(page)
    yield browser
    assert not browser.problems


def at(browser, track=None):
    """Where a track of the first mixture is, in seconds; of the one that plays by default."""
    which = f"{PLAYING}[0]" if track is None else f"document.querySelectorAll('audio')[{track}]"
    return browser.evaluate(f"{which}.currentTime")


def test_all_pictures_have_a_size_and_say_what_they_show(opened):
    pictures = opened.evaluate(
        "Promise.all([...document.images].map((image) => image.decode())).then(() => "
        "[...document.images].map((i) => [i.naturalWidth, i.clientWidth, i.clientHeight, i.alt]))"
    )
    assert len(pictures) > 30
    for natural, width, height, alt in pictures:
        assert min(natural, width, height) > 0
        assert len(alt) > 10


def test_nothing_is_loaded_and_nothing_can_be(opened, page):
    assert page.stat().st_size < 15e6
    entries = "performance.getEntriesByType('resource').map((entry) => entry.name)"
    assert all(name.startswith("data:") for name in opened.evaluate(entries))
    refused = "new Promise((done) => document.addEventListener('securitypolicyviolation', "
    refused += "(event) => done(event.violatedDirective)) || fetch('https://localhost/').catch("
    refused += "() => 0))"
    assert opened.evaluate(refused) == "connect-src"
    opened.problems = []  # that was asked for


def test_space_plays_and_the_playhead_moves(opened):
    head = "parseFloat(document.querySelector('.playhead').style.left)"
    opened.press(" ")
    opened.wait_for(f"{head} > 3")
    opened.press(" ")
    opened.wait_for(f"!{PLAYING}.length")
    place, seconds = opened.evaluate(head), at(opened, 0)
    assert 0.1 < seconds < HEARD_SECONDS
    assert place == pytest.approx(100 * seconds / HEARD_SECONDS, abs=1)
    shown = "document.querySelectorAll('.card.active .playhead:not([hidden])').length"
    assert opened.evaluate(shown) >= 8


def test_digits_change_the_track_at_the_same_moment(opened):
    opened.press(" ")
    opened.wait_for(f"{PLAYING}.length && {PLAYING}[0].currentTime > 0.1")
    for _ in range(3):
        opened.press("ArrowRight")
    opened.wait_for(f"{PLAYING}.length && {PLAYING}[0].currentTime > 0.6")
    before = at(opened)
    opened.press("2")
    opened.wait_for(f"{PLAYING}.length && {PLAYING}[0].dataset.key === '2'")
    opened.wait_for(f"{PLAYING}[0].currentTime >= {before}")
    assert at(opened) < before + 3
    assert opened.evaluate(f"{PLAYING}.length") == 1
    opened.press("ArrowLeft")
    opened.press(" ")
    opened.wait_for(f"!{PLAYING}.length")


def test_one_player_sounds_at_a_time_and_pictures_seek(opened):
    opened.evaluate("document.querySelectorAll('audio')[0].play()")
    opened.evaluate("document.querySelectorAll('audio')[1].play()")
    opened.wait_for(f"{PLAYING}.length === 1")
    opened.evaluate(
        "(() => { const picture = document.querySelectorAll('.time')[1]; const box = "
        "picture.getBoundingClientRect(); picture.dispatchEvent(new MouseEvent('click', "
        "{clientX: box.left + 0.75 * box.width, bubbles: true})); })()"
    )
    opened.wait_for(f"{PLAYING}.length === 1 && {PLAYING}[0].currentTime >= {0.74 * HEARD_SECONDS}")
    opened.press("ArrowDown")
    opened.wait_for("document.querySelectorAll('.card')[1].classList.contains('active')")
    assert not opened.evaluate(f"{PLAYING}.length")


def test_players_have_the_length_of_their_mixture(opened):
    opened.wait_for("[...document.querySelectorAll('audio')].every((a) => a.readyState > 0)")
    lengths = opened.evaluate("[...document.querySelectorAll('audio')].map((a) => a.duration)")
    assert len(lengths) == 3 * 5  # mixture, truths and slots
    np.testing.assert_allclose(lengths, HEARD_SECONDS, atol=0.1)


def test_a_page_fits_a_phone(opened):
    opened.resize(360, 740)
    assert opened.evaluate("document.documentElement.scrollWidth") <= 360


def test_in_a_frame_links_lead_to_the_parts_of_the_page(browser, page, tmp_path):
    """As in a notebook, whose own page they would lead to."""
    around = tmp_path / "around.html"
    around.write_text(f'<iframe height="500" srcdoc="{html.escape(page.read_text())}"></iframe>')
    browser.open(around)
    inside = "document.querySelector('iframe').contentWindow"
    links = f"[...{inside}.document.querySelectorAll('nav a')]"
    for number in range(browser.evaluate(f"{links}.length")):
        browser.evaluate(f"{links}[{number}].click()")
        place = f"{inside}.document.querySelectorAll('section')[{number}].getBoundingClientRect()"
        browser.wait_for(f"{place}.top < 500 && {place}.bottom > 0")
    assert browser.evaluate(f"{inside}.location.href") == "about:srcdoc"
    assert browser.evaluate(f"{inside}.scrollY") > 1000
    assert not browser.problems


def test_hostile_names_are_text(browser, run, tmp_path):
    name = "<script>hacked=1<" + "ß林" * 20 + ".wav"
    noise = np.random.default_rng(0).normal(0, 0.1, RATE)
    soundfile.write(tmp_path / name, noise, RATE)
    lens.write(tmp_path / "page.html", lens.page([run, tmp_path / name]))
    for path, shown in (
        (run / "lens.html", [*HOSTILE, run.name]),
        (tmp_path / "page.html", [name]),
    ):
        browser.open(path)
        text = browser.evaluate("document.body.innerText")
        for each in shown:
            assert each in text
        assert browser.evaluate("typeof hacked") == "undefined"
        assert browser.evaluate("document.scripts.length") == 1
        assert browser.evaluate("document.title") == (run.name if path.parent == run else name)
        assert not browser.problems


def test_any_text_is_escaped():
    sections = [Section("<b>" * 100, ["</style></script><script>"])]
    text = render("</title>" + "Ж" * 300, ["<i>"], sections).decode()
    for part in ("<b>" * 100, "</script><script>", "</title>Ж", "<i>"):
        assert part not in text
        assert html.escape(part) in text


def test_without_its_recordings_a_page_says_so(run):
    """They are looked for where the config of the command line has them."""
    shown = lens.run_page(run, {"root": "/nowhere"}).decode()
    assert html.escape(f"The recordings of {run.name} cannot be used") in shown
    assert "there is no folder /nowhere" in shown
    assert "Learning curves" in shown
    assert "Slot embeddings" not in shown


def test_runs_are_compared_side_by_side(run, tmp_path):
    shutil.copytree(run, tmp_path / "other")
    shown = lens.page([run, tmp_path / "other"]).decode()
    assert shown.count("<audio") == 3 * (1 + 2 + 2 * 2)
    assert "other, slot 1" in shown
    assert html.escape(f"fields that differ from {run.name}") in shown
