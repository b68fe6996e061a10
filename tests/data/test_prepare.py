"""Packing recordings into a store."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import soxr

from audioslots_jax import UserError
from audioslots_jax.data import open_store, prepare, store
from audioslots_jax.data.recordings import scan
from tests.data.files import contents, noise, tone, write, write_librimix


def test_other_recordings_keep_16_bits_below_their_peak(tmp_path):
    """Far above and below full scale, the extremes of 16 bits, two channels, 44.1 kHz."""
    random = np.random.default_rng(0)
    extremes = np.array([-32768, 32767] * 8000, np.int16)
    wanted = {
        "loud.wav": 7.3 * random.uniform(-1, 1, 16000),
        "quiet.wav": 1e-3 * random.uniform(-1, 1, 16000),
        "one.wav": tone(1.0, 16000, amplitude=1.0),
        "extremes.wav": extremes / 32768,
    }
    for name, audio in wanted.items():
        write(tmp_path / "in" / "a" / name, audio, 16000, subtype="FLOAT")
    write(tmp_path / "in" / "b" / "pcm.wav", extremes, 16000)
    write(tmp_path / "in" / "b" / "stereo.wav", np.stack([extremes, 0 * extremes], 1), 16000)
    sung = tone(1.0, 44100)
    write(tmp_path / "in" / "b" / "44100.wav", sung, 44100, subtype="FLOAT")
    write(tmp_path / "in" / "b" / "short.wav", tone(0.2, 16000), 16000)
    wanted |= {"pcm.wav": extremes / 32768, "stereo.wav": extremes / 65536}
    wanted["44100.wav"] = soxr.resample(sung.astype(np.float32), 44100, 16000)
    summary = prepare.prepare(tmp_path / "in", tmp_path / "out", 16000)
    assert "8 utterances of 2 speakers" in summary
    opened = open_store(tmp_path / "out")
    folders = {name.decode().split("/")[1]: name.decode() for name in opened.table["name"]}
    for name, audio in wanted.items():
        packed = opened.named([folders[name]]).whole(0)
        step = 2.0 ** np.ceil(np.log2(np.abs(audio).max() / 32767.5))
        assert np.abs(packed - audio.astype(np.float32)).max() <= step / 2 * 1.01
    for name in ("pcm.wav", "stereo.wav", "extremes.wav"):
        np.testing.assert_array_equal(opened.named([folders[name]]).whole(0), wanted[name])
    short = opened.table[opened.table["name"] == folders["short.wav"].encode()]
    assert np.isnan(short["loudness"][0])


def test_unusable_recordings_are_named_and_left_out(librimix, tmp_path, small_parts):
    root = tmp_path / "in"
    shutil.copytree(librimix, root)
    broken = root / "LibriSpeech" / "dev-clean" / "101" / "7"
    (broken / "text.flac").write_text("no audio")
    (broken / "empty.flac").touch()
    write(broken / "no_samples.wav", [], 16000)
    write(broken / "silent.flac", np.zeros(16000), 16000)
    write(broken / "nan.wav", np.full(16000, np.nan), 16000, subtype="FLOAT")
    summary = prepare.prepare(root, tmp_path / "out", 16000)
    assert "16 utterances of 8 speakers" in summary
    assert "5 of 21 files left out" in summary
    for problem, name in (
        ("unreadable", "text"), ("silent", "silent"), ("empty", "no_samples"), ("scale", "nan"),
    ):  # fmt: skip
        assert re.search(rf"{problem} \([^)]*dev-clean/101/7/{name}", summary), summary
    assert prepare.prepare(root, tmp_path / "out", 16000) == summary[:-1] + "; all checksums hold."


def test_two_at_once_do_not_write_one_store(librimix, tmp_path, monkeypatch):
    output = tmp_path / "store"
    pack, met = prepare.pack, []

    def meet(source, sample_rate):
        with pytest.raises(UserError, match=r"another `audioslots prepare` is writing .*store"):
            prepare.prepare(librimix, output, 16000)
        met.append(source)
        return pack(source, sample_rate)

    monkeypatch.setattr(prepare, "pack", meet)
    prepare.prepare(librimix, output, 16000)
    assert len(met) == 16
    assert len(open_store(output).table) == 16


def test_what_is_not_a_stores_own_is_never_touched(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("mine")
    (output / "part-of-my-thesis.txt").write_text("all of it")
    with pytest.raises(UserError, match=r"--output: .* holds something else"):
        prepare.prepare(folder, output, 8000)
    # Speakers of such names are no store either.
    (folder / "speaker0").rename(folder / "part-1")
    assert len(scan(folder, sample_rate=8000, field="data.root")[0]) == 4
    with pytest.raises(UserError, match="holds something else"):
        prepare.prepare(folder, folder, 8000)
    assert (output / "part-of-my-thesis.txt").read_text() == "all of it"


@pytest.mark.parametrize("way", ["inside", "link", "folder"])
def test_librispeech_is_recognised_from_inside_too(librimix, stored, tmp_path, monkeypatch, way):
    root = {"inside": ".", "link": tmp_path / "link", "folder": librimix / "LibriSpeech"}[way]
    (tmp_path / "link").symlink_to(librimix / "LibriSpeech")
    monkeypatch.chdir(librimix / "LibriSpeech")
    prepare.prepare(Path(root), tmp_path / "out", 16000)
    assert contents(tmp_path / "out").keys() == contents(stored).keys()
    assert (tmp_path / "out" / store.INDEX).read_text() == (stored / store.INDEX).read_text()


def test_names_of_any_encoding_and_links_to_folders(tmp_path):
    name = os.fsdecode(b"caf\xe9 \xc3\xa9.wav")
    write(tmp_path / "elsewhere" / "plain.wav", tone(1, 8000))
    (tmp_path / "elsewhere" / "plain.wav").rename(tmp_path / "elsewhere" / name)
    (tmp_path / "in" / "speaker").mkdir(parents=True)
    (tmp_path / "in" / "speaker" / "chapter").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "speaker" / "round").symlink_to(tmp_path / "in")
    (tmp_path / "elsewhere" / os.fsdecode(b"\xe9.wav")).write_text("no audio")
    summary = prepare.prepare(tmp_path / "in", tmp_path / "out", 8000)
    assert "1 utterances" in summary
    assert "1 unreadable (speaker/chapter/\ufffd.wav)" in summary
    for root in ("in", "out"):
        recordings, _ = scan(tmp_path / root, sample_rate=8000, field="data.root")
        assert recordings["speaker"][0].path.name == name
        assert recordings["speaker"][0].read(0, 8000).any()


def test_an_unfinished_store_is_refused_and_finished(librimix, tmp_path, small_parts, monkeypatch):
    output = tmp_path / "store"
    pack = prepare.pack

    def interrupted(source, sample_rate):
        if source.name.startswith("train-clean-100/2"):
            raise KeyboardInterrupt
        return pack(source, sample_rate)

    with monkeypatch.context() as patch:
        patch.setattr(prepare, "pack", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare.prepare(librimix, output, 16000)
    with pytest.raises(UserError, match="is an unfinished store; run `audioslots prepare`"):
        open_store(output)
    done = {path: path.stat().st_mtime_ns for path in output.glob("part-*.pcm")}
    assert done
    prepare.prepare(librimix, output, 16000)
    assert {path: path.stat().st_mtime_ns for path in done} == done
    prepare.prepare(librimix, tmp_path / "other", 16000)
    assert contents(output) == contents(tmp_path / "other")


def test_kill_9_while_packing_changes_no_bit(tmp_path, small_parts):
    root = write_librimix(tmp_path / "in")
    for take in range(80):
        path = root / "LibriSpeech" / "train-clean-100" / str(take % 5) / f"{take}.flac"
        write(path, noise(40_000, take), 16000)
    prepare.prepare(root, tmp_path / "other", 16000)
    output = tmp_path / "store"
    program = (
        "import sys; from pathlib import Path; from audioslots_jax.data import prepare; "
        "prepare.PART_BYTES = 60_000; prepare.prepare(Path(sys.argv[1]), Path(sys.argv[2]), 16000)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(root), str(output)], stderr=subprocess.DEVNULL
    )
    while process.poll() is None and len(list(output.glob("part-*.json"))) < 12:
        time.sleep(0.0005)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (output / store.INDEX).exists()
    prepare.prepare(root, output, 16000)
    assert contents(output) == contents(tmp_path / "other")


def test_more_recordings_are_added_and_fewer_removed(librimix, tmp_path, small_parts):
    root, output = tmp_path / "in", tmp_path / "store"
    shutil.copytree(librimix, root)
    prepare.prepare(root, output, 16000)
    parts = len(list(output.glob("part-*.pcm")))
    write(root / "LibriSpeech" / "train-clean-100" / "999" / "new.flac", noise(90_000, 1), 16000)
    assert "17 utterances of 9 speakers" in prepare.prepare(root, output, 16000)
    assert b"train-clean-100/999/new.flac" in open_store(output).table["name"]
    os.truncate(max(output.glob("part-*.pcm")), 9)  # of which there will be no need
    shutil.rmtree(root / "LibriSpeech" / "train-clean-100")
    assert "8 utterances of 4 speakers" in prepare.prepare(root, output, 16000)
    assert len(list(output.glob("part-*.pcm"))) < parts
    assert len(open_store(output).table) == 8


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda root, output: None, "ROOT: there is no folder"),
        (lambda root, output: root.mkdir(), "ROOT: no recordings in"),
        (lambda root, output: write(root / "a" / "x.wav", np.zeros(9)), "ROOT: nothing usable"),
        (
            lambda root, output: (
                write(root / "a" / "x.wav", tone(1, 8000)),
                write(output / "thesis.wav", tone(1, 8000)),
            ),
            "--output: .* holds something else",
        ),
        (
            lambda root, output: (write(root / "a" / "x.wav", tone(1, 8000)), output.touch()),
            "out: File exists; put that right, and the same command",
        ),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, make, sentence):
    make(tmp_path / "in", tmp_path / "out")
    with pytest.raises(UserError, match=sentence):
        prepare.prepare(tmp_path / "in", tmp_path / "out", 16000)


def test_threads_leave_the_filters_of_warnings_alone(tmp_path):
    for speaker in range(40):
        write(tmp_path / "in" / str(speaker) / "x.wav", 5e-4 * tone(1.0, 8000), subtype="FLOAT")
    filters = list(warnings.filters)
    prepare.prepare(tmp_path / "in", tmp_path / "out", 8000)
    assert warnings.filters == filters
    assert np.isnan(open_store(tmp_path / "out").table["loudness"]).all()
