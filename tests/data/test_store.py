"""Reading a store, and refusing what has been damaged since it was made."""

import json
import os
import shutil
import subprocess

import numpy as np
import pyloudnorm
import pytest
import soundfile

from audioslots_jax import UserError
from audioslots_jax.data import Libri2Mix, open_store, prepare, store
from audioslots_jax.data.recordings import read_crop, scan
from tests.data.files import SPEAKERS, SUBSETS, contents


def flip(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def test_16_bits_are_kept_as_they_are(librimix, stored):
    opened = open_store(stored)
    names = [name.decode() for name in opened.table["name"]]
    assert names == sorted(names)
    assert len(names) == len(SUBSETS) * SPEAKERS * 2
    utterances = opened.named([*names, "dev-clean/none.flac", "zzz"])
    assert list(utterances.present) == [True] * len(names) + [False] * 2
    for index, name in enumerate(names):
        audio, _ = soundfile.read(librimix / "LibriSpeech" / name, dtype="float32")
        np.testing.assert_array_equal(utterances.whole(index), audio)
        row = opened.table[index]
        assert row["speaker"].decode() == name.split("/")[1]
        assert row["rms"] == pytest.approx(np.sqrt(np.mean(audio.astype(float) ** 2)), rel=1e-5)
        assert row["peak"] == np.abs(audio).max()
        loudness = pyloudnorm.Meter(16000).integrated_loudness(audio.astype(float))
        assert row["loudness"] == pytest.approx(loudness, abs=1e-3)


DAMAGE = {
    "a flipped bit": ("part-00001.pcm", lambda path: flip(path, 20_001)),
    "a flipped bit in the index": ("part-00001.npy", lambda path: flip(path, 150)),
    "a flipped bit in the list": ("store.json", lambda path: flip(path, 40)),
    "another list": ("store.json", lambda path: path.write_text("[1]")),
    "a part cut off": ("part-00002.pcm", lambda path: os.truncate(path, 5000)),
    "a part that grew": ("part-00002.pcm", lambda path: os.truncate(path, 500_000)),
    "a part lost": ("part-00000.pcm", os.remove),
    "its index lost": ("part-00000.npy", os.remove),
    "metadata": ("metadata/Libri2Mix/libri2mix_dev-clean.csv", lambda path: flip(path, 0)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_refused_by_name_and_mended(librimix, tmp_path, small_parts, damage, capsys):
    output = tmp_path / "store"
    prepare.prepare(librimix, output, 16000)
    whole, dates = contents(output), {p: p.stat().st_mtime_ns for p in output.glob("part-*.pcm")}
    name, harm = DAMAGE[damage]
    harm(output / name)
    for _ in range(2):  # a refusal does not wear off
        with pytest.raises(UserError, match=f"damaged.*{name}|{name} is damaged") as caught:
            open_store(output)
        assert "audioslots prepare" in str(caught.value)
        with pytest.raises(UserError, match=f"damaged.*{name}|{name} is damaged"):
            Libri2Mix(output, "dev")
    assert "checksums" not in prepare.prepare(librimix, output, 16000)
    assert name in capsys.readouterr().out
    assert contents(output) == whole
    assert len(open_store(output).table) == 16
    stem = name.split(".")[0]
    written = {p.stem for p in output.glob("part-*.pcm") if dates.get(p) != p.stat().st_mtime_ns}
    assert written <= {stem}


@pytest.mark.parametrize("text", ["", "[]", "null", '{"part-00000.pcm": 3}'])
def test_notes_on_what_was_verified_are_not_needed(librimix, tmp_path, text):
    output = tmp_path / "store"
    prepare.prepare(librimix, output, 16000)
    (output / store.VERIFIED).write_text(text)
    assert len(open_store(output).table) == 16
    assert json.loads((output / store.VERIFIED).read_text()).keys() >= {"part-00000.pcm"}


def test_a_medium_that_cannot_be_written_or_read(librimix, tmp_path, monkeypatch):
    output = tmp_path / "store"
    prepare.prepare(librimix, output, 16000)
    (output / store.VERIFIED).unlink()

    def fail(*_):
        raise OSError(30, "Read-only file system", "somewhere")

    monkeypatch.setattr(store, "write_atomically", fail)
    assert len(open_store(output).table) == 16
    monkeypatch.setattr(store.os, "open", fail)
    with pytest.raises(UserError, match="cannot be read: somewhere: Read-only file system"):
        open_store(output)


def test_train_and_dev_stay_apart(folder, tmp_path_factory):
    root, output = tmp_path_factory.mktemp("divided"), tmp_path_factory.mktemp("out")
    for subset, speakers in (("train", "012"), ("dev", "3")):
        for speaker in speakers:
            (root / subset).mkdir(exist_ok=True)
            shutil.copytree(folder / f"speaker{speaker}", root / subset / speaker)
    assert "8 utterances of 4 speakers" in prepare.prepare(root, output, 8000)
    options = {"sample_rate": 8000, "field": "data.root"}
    for subset, speakers in (("train", {"0", "1", "2"}), ("dev", {"3"})):
        assert scan(output / subset, **options)[0].keys() == speakers
        assert scan(root / subset, **options)[0].keys() == speakers
    with pytest.raises(UserError, match=r"there is no folder .*test"):
        scan(output / "test", **options)


def test_checksums_are_computed_once(stored, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    shutil.copytree(stored, copy, copy_function=shutil.copyfile)  # with new dates
    computed = []
    described = store.described
    monkeypatch.setattr(store, "described", lambda path: computed.append(path) or described(path))
    open_store(stored)
    assert not computed
    open_store(copy)
    assert {path.name for path in computed} >= {"part-00000.pcm", "part-00000.npy"}
    computed.clear()
    open_store(copy)
    assert not computed
    flip(copy / "part-00000.pcm", 77)
    with pytest.raises(UserError, match=r"part-00000\.pcm does not have the content"):
        open_store(copy)


def test_a_store_that_shrinks_under_a_training_is_one_sentence(stored, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(stored, copy)
    utterances = open_store(copy).select(np.arange(16))
    os.truncate(copy / "part-00000.pcm", 40_000)
    with pytest.raises(UserError, match=r"part-00000\.pcm is cut off"):
        utterances.whole(15)


def test_a_file_system_may_give_less_than_is_asked_for(stored, monkeypatch):
    """As those of a network do."""
    preadv, utterances = os.preadv, open_store(stored).select(np.arange(16))
    whole = utterances.whole(3)
    monkeypatch.setattr(
        store.os, "preadv", lambda file, buffers, offset: preadv(file, [buffers[0][:777]], offset)
    )
    np.testing.assert_array_equal(utterances.whole(3), whole)


def test_another_rate_is_refused_where_it_matters(librimix, tmp_path):
    prepare.prepare(librimix, tmp_path / "out", 8000)
    with pytest.raises(UserError, match=r"at 8000 Hz, and 16000 Hz is needed.*--sample-rate=16000"):
        open_store(tmp_path / "out", 16000)
    assert open_store(tmp_path / "out").sample_rate == 8000


def test_a_store_of_a_newer_program_is_refused(stored, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    shutil.copytree(stored, copy)
    monkeypatch.setattr(store, "FORMAT", 2)
    with pytest.raises(UserError, match="has format 1, not 2; prepare it again"):
        open_store(copy)


def test_speakers_come_from_a_store_as_from_their_folder(folder, tmp_path):
    """At the store's own rate and at another one; lossy formats are within 16 bits."""
    prepare.prepare(folder, tmp_path / "store", 8000)
    for rate in (8000, 6000):
        options = {"sample_rate": rate, "field": "data.root"}
        files, _ = scan(folder, **options)
        stored, summary = scan(tmp_path / "store", **options)
        assert "8 recordings of 4 speakers" in summary
        assert files.keys() == stored.keys()
        for speaker in files:
            for one, other in zip(files[speaker], stored[speaker], strict=True):
                assert (one.frames, one.path.name) == (other.frames, other.path.name)
                assert one.rms == pytest.approx(other.rms, rel=1e-5)
                crops = [read_crop([r], 0.4, rate // 4, rate) for r in (one, other)]
                np.testing.assert_allclose(*crops, atol=1e-3)


def test_what_a_store_lists_is_checkable_by_others(stored):
    """With sha256sum, that is."""
    files = json.loads((stored / store.INDEX).read_text())["files"]
    lines = "".join(f"{file['sha256']}  {name}\n" for name, file in files.items())
    subprocess.run(
        ["sha256sum", "--check", "--quiet"], cwd=stored, input=lines, text=True, check=True
    )
