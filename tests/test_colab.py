"""The notebook for Colab, executed from top to bottom on the CPU, with small numbers."""

import ast
import base64
import copy
import html
import io
import os
import re
import tarfile
from pathlib import Path

import nbformat
import numpy as np
import pytest
import soundfile
from nbclient import NotebookClient

from audioslots_jax.training.settings import check, complete
from configs import paper, voices
from tests.data.files import write_librimix
from tests.tiny import get_config as get_tiny_config

PATH = Path(__file__).parents[1] / "experiments" / "colab_tpu.ipynb"
PARTS = ("train-clean-100", "test-clean")
SMALL_PAPER = {
    "data.split": "train-100",
    "data.eval_split": "test",
    "model.encoder.blocks": (1,),
    "model.encoder.widths": (32,),
    "model.encoder.strides": (8,),
    "model.encoder.root_width": 32,
    "model.slot_module.slot_size": 32,
    "model.slot_module.layers": 1,
    "model.decoder.layers": 1,
    "model.decoder.width": 16,
    "precision": "bfloat16",
    "train.batch_size": 4,
    "train.steps": 3,
    "train.log_every": 1,
    "train.warmup_steps": 1,
    "eval.mixtures": 8,
}


def read():
    return nbformat.read(PATH, as_version=nbformat.NO_CONVERT)


def parameters(notebook):
    """The cell that holds them, and their values."""
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    statements = ast.parse(cell.source).body
    return cell, {
        statement.targets[0].id: ast.literal_eval(statement.value) for statement in statements
    }


def flat(tree, prefix=""):
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


@pytest.fixture(scope="module")
def librimix(tmp_path_factory):
    """Official rows of Libri2Mix where there is real speech, else a small folder like it."""
    if folder := os.environ.get("AUDIOSLOTS_DATA"):
        return Path(folder) / "librimix"
    return write_librimix(tmp_path_factory.mktemp("librimix"), PARTS)


@pytest.fixture(scope="module")
def small(librimix, tmp_path_factory):
    """Parameters for seconds; LibriSpeech's archives come from a folder."""
    folder = tmp_path_factory.mktemp("notebook")
    for part in PARTS:
        with tarfile.open(folder / f"{part}.tar.gz", "w:gz", compresslevel=1) as archive:
            archive.add(librimix / "LibriSpeech" / part, f"LibriSpeech/{part}")
    return {
        "REPOSITORY": "",
        "INSTALL": False,
        "WORKDIR": str(folder / "runs"),
        "VOICES": {**dict(flat(get_tiny_config().to_dict())), "eval.examples": 1},
        "RECORDING_SECONDS": 2,
        "DATA": str(folder / "librimix"),
        "DOWNLOAD": PARTS,
        "LIBRISPEECH": folder.as_uri(),
        "METADATA": (librimix / "metadata" / "Libri2Mix").as_uri(),
        "PAPER": SMALL_PAPER,
    }


@pytest.fixture(scope="module")
def outputs(environment, small, tmp_path_factory):
    """What each cell gave, by its name; those of the paper once more without data."""
    notebook = read()
    cell, _ = parameters(notebook)
    cell.source = "\n".join(f"{name} = {value!r}" for name, value in small.items())
    names = [cell.id for cell in notebook.cells]
    without = copy.deepcopy(notebook.cells[names.index("data") :])
    for cell in without:
        cell.id += "-without"
    notebook.cells += [nbformat.v4.new_code_cell('DATA = ""'), *without]
    settings = tmp_path_factory.mktemp("jupyter")
    client = NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(PATH.parent)}}
    )
    client.execute(env={**environment, "IPYTHONDIR": str(settings)})
    return {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}


def printed(outputs, stream="stdout"):
    return "".join(output.text for output in outputs if output.get("name") == stream)


def shown(outputs, kind):
    """What a cell displays in a format, decoded."""
    found = [output.data[kind] for output in outputs if kind in output.get("data", {})]
    return [base64.b64decode(data) if kind == "image/png" else data for data in found]


def played(outputs):
    """The waveform and sampling rate of every player, by its label."""
    (table,) = shown(outputs, "text/html")
    found = re.findall(r"<td>([^<]*)</td><td>\s*<audio.*?base64,([^\"]*)\"", table, re.DOTALL)
    return {name: soundfile.read(io.BytesIO(base64.b64decode(wav))) for name, wav in found}


def test_the_file_stores_nothing_and_is_made_for_colab():
    notebook = read()
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.metadata.accelerator == "TPU"
    for cell in notebook.cells:
        assert re.fullmatch("[a-z-]+", cell.id)
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


def test_small_parameters_replace_all_of_them(small):
    _, defaults = parameters(read())
    assert list(small) == list(defaults)
    assert {name: type(value) for name, value in small.items()} == {
        name: type(value) for name, value in defaults.items()
    }


@pytest.mark.parametrize(("name", "module"), [("VOICES", voices), ("PAPER", paper)])
def test_default_parameters_fit_the_configs(name, module):
    _, defaults = parameters(read())
    config = module.get_config()
    before = dict(flat(config.to_dict()))
    assert before.keys() >= defaults[name].keys()
    config.update_from_flattened_dict(defaults[name])
    check(complete(config))


def test_every_cell_is_quiet(outputs):
    for name, found in outputs.items():
        stderr = printed(found, "stderr")
        assert not re.search("warn|error", stderr, re.IGNORECASE), f"{name}: {stderr}"


@pytest.mark.parametrize("run", ["voices", "paper"])
def test_training_shows_its_progress_and_scores(outputs, run):
    table = printed(outputs[run]).splitlines()
    assert re.fullmatch(
        r".*/(voices|paper): [\d,]+ parameters, 1 cpu device\(s\), seed 0", table[0]
    )
    assert re.match(r" +si_snri +-?\d+\.\d+", table[-5])
    assert re.match(r" +oracle_si_snr +\d+\.\d+", table[-1])
    assert "loss=" in printed(outputs[run], "stderr")


@pytest.mark.parametrize(("cell", "run"), [("picture", "voices"), ("paper-results", "paper")])
def test_the_picture_is_the_runs(outputs, small, cell, run):
    picture = (Path(small["WORKDIR"]) / run / "separated.png").read_bytes()
    assert shown(outputs[cell], "image/png")[-1] == picture


@pytest.mark.parametrize(("cell", "pictures"), [("curves", 1), ("paper-results", 2)])
def test_curves_are_drawn(outputs, cell, pictures):
    found = shown(outputs[cell], "image/png")
    assert len(found) == pictures
    assert found[0].startswith(b"\x89PNG")


def test_players_have_the_first_mixture(outputs, small):
    players = played(outputs["listen"])
    wavs = list(Path(small["WORKDIR"]).glob("voices/separated/1/*.wav"))
    assert players.keys() == {wav.stem for wav in wavs}
    for wav in wavs:
        (heard, heard_rate), (samples, rate) = players[wav.stem], soundfile.read(wav)
        assert heard_rate == rate
        np.testing.assert_allclose(heard, samples / np.abs(samples).max(), atol=1e-4)


def test_a_recording_is_separated(outputs, small):
    players = played(outputs["separate"])
    assert players.keys() == {"mixture", "slot 1", "slot 2"}
    samples = small["RECORDING_SECONDS"] * 8000
    assert {(len(sound), rate) for sound, rate in players.values()} == {(samples, 8000)}


def test_the_lens_is_there_whole_and_apart_from_the_notebook(outputs, small):
    """All of the page is in a frame, whose styles and scripts cannot get out, and nothing else."""
    (output,) = shown(outputs["lens"], "text/html")
    frame = re.fullmatch(r'<div><iframe [^<>"]*"[^<>]* srcdoc="([^"]*)"></iframe></div>', output)
    page = html.unescape(frame.group(1))
    assert page == (Path(small["WORKDIR"]) / "voices" / "lens.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    titles = re.findall(r"<h2[^>]*>([^<]*)</h2>", page)
    assert {"Learning curves", "Listen", "Where each slot looks", "Slot embeddings"} <= {*titles}
    assert page.count("<audio") == 3 * 5  # mixture, truths and slots


def test_the_paper_is_trained_on_what_was_downloaded(outputs, small, librimix):
    assert re.search(r"\d+ utterances of \d+ speakers, .* at 16000 Hz", printed(outputs["data"]))
    for part in PARTS:
        found, expected = (
            {path.name: path.read_bytes() for path in (root / "LibriSpeech" / part).rglob("*.flac")}
            for root in (Path(small["DATA"]), librimix)
        )
        assert found == expected
    players = played(outputs["paper-results"])
    assert players.keys() == {"mixture", "source 1", "source 2", "slot 1", "slot 2"}
    assert len({(len(sound), rate) for sound, rate in players.values()}) == 1
    assert players["mixture"][1] == 16000


def test_without_data_the_paper_is_left_out_in_a_sentence(outputs):
    (said,) = outputs["data-without"]
    assert re.fullmatch(r"Without Libri2Mix .*set DATA at the top\.\n", said.text)
    assert outputs["paper-without"] == []
    assert outputs["paper-results-without"] == []
