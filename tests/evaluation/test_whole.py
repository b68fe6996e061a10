"""Whole mixtures: one number whichever door, of speakers who were never trained on."""

import csv
import json
import shutil

import numpy as np
import pytest
import soundfile

import audioslots_jax
from audioslots_jax import UserError, cli
from audioslots_jax.data import data_sets
from audioslots_jax.data.batch import Whole
from audioslots_jax.evaluation.whole import describe, evaluate
from audioslots_jax.workdir import DataRecord
from experiments.table1.estimators import Estimator, seen_in_mixture
from experiments.table1.protocols import network
from tests.data.files import tone, write
from tests.runs import make_run
from tests.tiny import get_config

RATE = 16000


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose protocol, mask and level are not those that everything else would have."""
    config = get_config()
    config.data.sample_rate = RATE
    config.stft.edges = "chunk_edge"
    config.eval.update(mask="ibm", mixtures=3)
    workdir = tmp_path_factory.mktemp("run")
    make_run(workdir, config, record=DataRecord("", 0.02, {}))
    return workdir, config, evaluate(config, workdir)


def test_one_number_whichever_door(run, tmp_path, capsys):
    """Python, the command, the evaluation, and the blind row of the paper's table."""
    workdir, _, _ = run
    mixture, rate = soundfile.read(workdir / "evaluation/best/mixture.wav", dtype="float32")
    separator = audioslots_jax.load(workdir)
    estimates = separator(mixture, rate)
    command = ["separate", f"{workdir}/evaluation/best/mixture.wav", f"--workdir={workdir}"]
    assert cli.main([*command, f"--output={tmp_path}"]) == 0
    by_command = [soundfile.read(tmp_path / f"mixture_{i}.wav", dtype="float32")[0] for i in (1, 2)]
    np.testing.assert_array_equal(by_command, estimates)
    row = Estimator(
        "audioslots", (0.5,), separator.separator, network, seen_in_mixture, separator.params,
        separator,
    )  # fmt: skip
    sources = np.stack([mixture, mixture])
    in_table = row.estimates(Whole("x", mixture, sources), 0.5, "A", "ibm", "blind")
    np.testing.assert_array_equal(in_table, estimates)
    evaluated = [
        soundfile.read(workdir / f"evaluation/best/estimate_{i}.wav", dtype="float32")[0]
        for i in (1, 2)
    ]
    np.testing.assert_array_equal(sorted(map(tuple, evaluated)), sorted(map(tuple, estimates)))


def test_the_results_hold_every_mixture(run):
    workdir, _, summary = run
    with open(workdir / "evaluation" / "scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["mixture_id"] for row in rows] == ["voices-0", "voices-1", "voices-2"]
    for name in ("si_snr", "si_snri"):
        means = [np.mean([float(row[f"{name}_{i}"]) for i in (1, 2)]) for row in rows]
        assert summary[name] == pytest.approx(np.mean(means), abs=1e-4)
        assert summary[f"{name}_stderr"] == pytest.approx(np.std(means, ddof=1) / 3**0.5, abs=1e-4)
    assert json.loads((workdir / "evaluation" / "summary.json").read_text()) == summary
    assert f"3 whole mixtures, stitched blindly: SI-SNR {summary['si_snr']:.2f} dB" in describe(
        summary, workdir
    )


@pytest.mark.parametrize(
    ("field", "value", "difference"),
    [
        ("eval.mask", "wiener", r"eval\.mask \(ibm -> wiener\)"),
        ("stft.edges", "centred", r"stft\.edges \(chunk_edge -> centred\)"),
        ("model.decoder.width", 16, r"model\.decoder\.width \(8 -> 16\)"),
        ("data.sample_rate", 8000, r"data\.sample_rate \(16000 -> 8000\)"),
        ("data.kind", "speakers", r"data\.kind \(voices -> speakers\)"),
        ("data.sources", 3, r"data\.sources \(2 -> 3\)"),
    ],
)
def test_other_configs_are_refused(run, field, value, difference):
    workdir, config, _ = run
    other = config.copy_and_resolve_references()
    other.update_from_flattened_dict({field: value})
    with pytest.raises(UserError, match=f"another config, which differs in {difference}"):
        evaluate(other, workdir)


@pytest.fixture(scope="module")
def speakers(tmp_path_factory):
    """20 speakers, each a tone of its own, with recordings of very different lengths; and a run."""
    root, config = tmp_path_factory.mktemp("speakers"), get_config()
    for number in range(20):
        for take, seconds in enumerate((0.3,) if number % 7 == 3 else (0.5 + number, 2.0)):
            write(root / f"s{number:02}" / f"{take}.wav", tone(seconds, 8000, 200 + 100 * number))
    config.data = {"kind": "speakers", "root": str(root), "sample_rate": 8000, "crop_seconds": 0.12}
    config.eval.mixtures = 4
    # Not those that the hashes of the names would choose; s03 has a short recording alone.
    held_out = {"validation": ["s01", "s02"], "test": ["s03", "s09"]}
    fingerprint = data_sets.make(config.data).open(held_out).fingerprint
    workdir = tmp_path_factory.mktemp("run")
    make_run(workdir, config, record=DataRecord(fingerprint, 0.05, held_out))
    return workdir, config, held_out


def test_only_speakers_held_out_for_the_test_are_scored(speakers):
    """And nothing is left of an earlier evaluation's mixtures, which may have had more of them."""
    workdir, config, held_out = speakers
    for name in ("source_3", "estimate_3"):
        write(workdir / "evaluation" / "worst" / f"{name}.wav", tone(1.0, 8000, 2000))
    evaluate(config, workdir)
    assert not [*workdir.glob("evaluation/*/*_3.wav")]
    sources = list((workdir / "evaluation").glob("*/source_*.wav"))
    assert len(sources) == 6
    for source in sources:
        sound, rate = soundfile.read(source)
        hertz = np.argmax(np.abs(np.fft.rfft(sound))) * rate / len(sound)
        assert f"s{round((hertz - 200) / 100):02}" in held_out["test"]


def test_recordings_that_may_have_been_trained_on_are_refused(speakers, tmp_path):
    workdir, config, _ = speakers
    shutil.copytree(workdir, tmp_path / "old")
    (tmp_path / "old" / "data.json").unlink()
    with pytest.raises(UserError, match="does not remember which speakers it was not trained on"):
        evaluate(config, tmp_path / "old")
    shutil.copytree(config.data.root, tmp_path / "other")
    write(tmp_path / "other" / "s20" / "0.wav", tone(1.0, 8000))
    other = config.copy_and_resolve_references()
    other.data.root = str(tmp_path / "other")
    with pytest.raises(UserError, match="was trained with other recordings than"):
        evaluate(other, workdir)


def test_rows_that_were_trained_on_are_refused(tmp_path):
    """Whatever the command line says, the splits of the training are those of the run."""
    config = get_config()
    config.data = {
        "kind": "libri2mix", "root": str(tmp_path), "split": "train-100", "eval_split": "test",
        "test_split": "dev", "sample_rate": 16000, "crop_seconds": 0.12,
    }  # fmt: skip
    make_run(tmp_path / "run", config)
    other = config.copy_and_resolve_references()
    other.data.update(split="train-360", eval_split="dev", test_split="train-100")
    with pytest.raises(UserError, match=r"data\.eval_split \(test -> dev\), .*data\.split"):
        evaluate(other, tmp_path / "run")
    for split in ("train-100", "test"):
        config.data.test_split = split
        with pytest.raises(UserError, match=r"data\.test_split is .* it must be another split"):
            evaluate(config, tmp_path / "run")
