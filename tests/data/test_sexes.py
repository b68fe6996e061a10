"""Who is female and who is male, as LibriSpeech's SPEAKERS.TXT says."""

import shutil

import pytest

from audioslots_jax import UserError
from audioslots_jax.data import open_store, prepare
from audioslots_jax.data.libri2mix_data import Libri2MixData
from audioslots_jax.data.sexes import read_sexes
from audioslots_jax.data.speakers import SpeakersData
from tests.data.files import tone, write, write_speakers

DEV = {"100": "F", "101": "F", "102": "M", "103": "M"}


@pytest.fixture
def listed(librimix, tmp_path):
    """A small LibriSpeech with its list, and the metadata of Libri2Mix."""
    root = shutil.copytree(librimix, tmp_path / "root")
    write_speakers(root / "LibriSpeech", range(100, 104))
    return root


def libri2mix(root):
    return Libri2MixData(root=str(root), split="train-100").open().speaker_lists


def speakers(root, **fields):
    return SpeakersData(root=str(root), **fields).open().speaker_lists


def test_they_are_known_wherever_librispeech_lies(listed, tmp_path):
    """In its own layout or in a store, as Libri2Mix or as folders of speakers."""
    prepare.prepare(listed, tmp_path / "store", 16000)
    assert read_sexes(libri2mix(listed)) == read_sexes(libri2mix(tmp_path / "store")) == DEV
    for folder in (listed / "LibriSpeech", tmp_path / "store"):
        train, dev = (str(folder / subset) for subset in ("train-clean-100", "dev-clean"))
        lists = speakers(train, eval_root=dev)
        assert set(lists.values()) == {folder / "SPEAKERS.TXT"}
        sexes = read_sexes(lists)
        assert len(sexes) == 2  # the others are held out for the test
        assert sexes.items() <= DEV.items()


def test_nothing_is_known_without_a_list(librimix, stored, folder):
    assert libri2mix(librimix) == libri2mix(stored) == {}
    assert speakers(librimix / "LibriSpeech/dev-clean", eval_root=str(folder)) == {}


def test_the_list_of_a_speaker_is_the_nearest_one(tmp_path):
    """Folders that are joined have lists of their own, which name no other's speakers."""
    for name in ("anna", "berta", "carla", "dora", "emil", "fritz", "gustav", "hans"):
        folder = "women" if name < "e" else "men"
        write(tmp_path / folder / "dev" / name / "0.wav", tone(1.0, 8000))
        write(tmp_path / folder / "train" / f"{name} junior" / "0.wav", tone(1.0, 8000))
    (tmp_path / "women" / "SPEAKERS.TXT").write_text("anna|F\nberta|F\ncarla|F\nemil|F\nhans|F\n")
    (tmp_path / "SPEAKERS.TXT").write_text("emil | M\nfritz | M\ngustav | M\nhans | M\ndora | M\n")
    lists = speakers(f"{tmp_path / 'women'},{tmp_path / 'men'}")
    assert {lists[name].parent.name for name in lists if name < "e"} == {"women"}
    assert {lists[name].parent for name in lists if name >= "e"} == {tmp_path}
    wanted = {name: "F" if name < "e" else "M" for name in lists if name != "dora"}
    assert read_sexes(lists) == wanted  # nobody has listed her


def test_a_store_that_is_there_gets_the_list(listed, tmp_path):
    """And looks after it as after everything that it holds."""
    path, output = listed / "LibriSpeech" / "SPEAKERS.TXT", tmp_path / "store"
    content = path.read_bytes()
    path.unlink()
    prepare.prepare(listed, output, 16000)
    assert libri2mix(output) == {}
    path.write_bytes(content)
    parts = {path: path.stat().st_mtime_ns for path in output.glob("part-*")}
    prepare.prepare(listed, output, 16000)
    assert {path: path.stat().st_mtime_ns for path in output.glob("part-*")} == parts
    assert read_sexes(libri2mix(output)) == DEV
    assert (output / "SPEAKERS.TXT").read_bytes() == content
    (output / "SPEAKERS.TXT").write_text("100 | M\n")
    with pytest.raises(UserError, match=r"SPEAKERS\.TXT has 8 bytes instead of"):
        open_store(output)
    prepare.prepare(listed, output, 16000)
    assert read_sexes(libri2mix(output)) == DEV


def test_what_follows_the_sex_does_not_matter(tmp_path):
    path = tmp_path / "SPEAKERS.TXT"
    lines = [
        b"\xef\xbb\xbf; comment | X |\r",
        b" ; another",
        b"",
        b"7   | F | train-clean-100 | 20.18 | | A | M |",
        b"8|M|dev-clean|8.0|caf\xe9\r",
        b"Zo\xc3\xab | F",
        b"8 | M | there twice |",
    ]
    path.write_bytes(b"\n".join(lines))
    lists = dict.fromkeys(["7", "8", "Zoë", "9"], path)
    assert read_sexes(lists) == {"7": "F", "8": "M", "Zoë": "F"}


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("9 | X | dev-clean | 8.0 | A", "line 4: the second field is 'X'"),
        ("9 | f | dev-clean | 8.0 | A", "line 4: the second field is 'f'"),
        ("9, F, dev-clean", "line 4: the second field is ''"),
        ("\x00\x01\x02", "line 4: the second field is ''"),
        ("8 | F | dev-clean | 8.0 | A", "line 4: speaker 8 has another sex in a line before"),
    ],
)
def test_a_line_that_cannot_be_is_one_sentence_and_stops_no_training(listed, line, sentence):
    path = listed / "LibriSpeech" / "SPEAKERS.TXT"
    path.write_text(f";\n\n8 | M | dev-clean | 8.0 | A\n{line}\n")
    lists = libri2mix(listed)
    with pytest.raises(UserError, match=sentence) as caught:
        read_sexes(lists)
    assert str(caught.value).startswith(f"{path}, line 4: ")
    assert "\n" not in str(caught.value)
    path.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        read_sexes(lists)
