"""The benchmarks run, on sizes that take no time."""

import argparse
import importlib
import json
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import scipy.signal
import soundfile

import audioslots_jax
from audioslots_jax.data.batch import Batch
from audioslots_jax.separator import Estimates
from audioslots_jax.training.settings import check, complete
from audioslots_jax.training.step import make_task
from configs import compact
from experiments.compact.export import export
from tests.data.files import tone, write
from tests.experiments.scripts import load
from tests.runs import make_run
from tests.tiny import get_config


def test_compile_time(written, monkeypatch):
    benchmark = load("compile_time")
    monkeypatch.setattr(benchmark, "CONFIGS", {"tiny": get_config})
    with jax.numpy_dtype_promotion("standard"):  # optax's schedules mix types
        table = written(benchmark)
    rows = re.findall(r"^\| tiny \| (.*?) \| (\d+) \|", table, re.MULTILINE)
    names = ["parameters", "step", "evaluation of si_snri", "evaluation of oracle_si_snri"]
    assert [name for name, _ in rows] == names
    assert all(int(count) > 100 for _, count in rows)


def test_decoder_speed(written):
    benchmark = load("decoder_speed")
    benchmark.SIZE = (32, 16)
    table = written(benchmark, "--slot-size=256", "--repeats=1")
    ratios = re.search(r"([\d.]+) x the time, ([\d.]+) x the memory", table)
    assert float(ratios[2]) > 1


def test_matching_speed(written):
    benchmark = load("matching_speed")
    benchmark.SIZES = ((2, 2), (4, 2))
    table = written(benchmark, "--repeats=1")
    assert len(re.findall(r"^\| \d x 2 (\| \d+ ){3}\|$", table, re.MULTILINE)) == 2


def test_blind_stitching(written, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    make_run(workdir, get_config())
    table = written(load("blind_stitching"), f"--workdir={workdir}", "--mixtures=2")
    rows = re.findall(r"^\| .*(?: \| -?[\d.]+ ± [\d.]+ dB){2} \|$", table, re.MULTILINE)
    assert len(rows) == 5
    assert rows[-1].startswith("| the truth (oracle stitching) |")


def test_carry_over(written, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    config = get_config()
    config.train.sequence = 2
    make_run(workdir, config)
    benchmark = load("carry_over")
    table = written(benchmark, f"--workdir={workdir}", "--mixtures=2")
    score, swaps = r" (-?[\d.]+) ± [\d.]+ dB \|", r" (-?[\d.]+) ± [\d.]+ \|"
    rows = re.findall(rf"^\| (.*?) \|{score * 2}{swaps * 2}$", table, re.MULTILINE)
    columns = {name: cells for name, *cells in rows}
    assert len(columns) == 5
    assert columns[benchmark.TRUTH][2] == "0.00"
    assert columns[benchmark.OWN][3] == columns[benchmark.CARRIED][1] == "0.00"
    np.testing.assert_allclose(
        benchmark.swaps_per_joint(np.array([[0, 1], [0, 1], [1, 0], [1, 0], [0, 1]])), 0.5
    )


def test_conversations(written, tmp_path_factory, monkeypatch):
    workdir, dev = tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("dev")
    make_run(workdir, get_config())
    for speaker, seconds in enumerate((3.0, 2.5, 1.0)):
        for half in "ab":
            path = dev / f"speaker{speaker}" / f"{half}.wav"
            write(path, tone(seconds / 2, 8000, 200 + 100 * speaker), 8000)
    benchmark = load("conversations")
    at_once, *windows = benchmark.ways(audioslots_jax.load(workdir), 2).items()
    assert [reads.carries for _, reads in windows] == [False, True, False, False]
    monkeypatch.setattr(benchmark, "ways", lambda *_: dict([at_once, windows[-1]]))
    table = written(benchmark, f"--workdir={workdir}", f"--dev={dev}", "--seconds=2")
    cells = r" (-?[\d.]+) ± nan dB \|" * 3
    rows = re.findall(rf"^\| (?:.*?) \|{cells}$", table, re.MULTILINE)
    assert len(rows) == 2 * 2, "one pair of the two who have two seconds"
    for plain, _, truth in rows:
        assert float(truth) >= float(plain) - 0.01, "the truth is the ceiling"
    both, turns = (next(benchmark.conversations(dev, 8000, 2, each)) for each in (False, True))
    for whole in (both, turns):
        np.testing.assert_allclose(whole.sources.sum(axis=0), whole.mixture, atol=1e-6)
    assert (both.sources != 0).mean() > 0.9
    said = benchmark.spoken(np.random.default_rng(0), 60 * 100, 100)
    edges = np.flatnonzero(np.diff(said))
    assert set(said) == {0, 1}
    assert np.all((np.diff(edges) >= 200) & (np.diff(edges) <= 800))


def test_decoders(tmp_path, monkeypatch):
    """A decoder of magnitudes and an autoencoder."""
    runs = []
    for slots in (2, 1):
        config = get_config()
        config.model.slots = slots
        if slots == 1:
            config.eval.evaluators = ("autoencoder",)
        (tmp_path / str(slots)).mkdir()
        make_run(tmp_path / str(slots), config)
        runs.append(f"{slots}={tmp_path / str(slots)}")
    flags = ["--mixtures=4", "--examples=1", f"--output={tmp_path / 'results'}"]
    monkeypatch.setattr(sys, "argv", ["run.py", *runs, *flags])
    load("decoders").main()
    table = (tmp_path / "results" / "decoders.md").read_text()
    assert len(re.findall(r"^\| \d \| -?[\d.]+ ± [\d.]+ dB \|$", table, re.MULTILINE)) == 2
    assert (tmp_path / "results" / "figure2.png").stat().st_size > 10_000


def test_next_steps_are_possible_trainings(tmp_path, monkeypatch):
    """Each has a config that can be trained, and a row in a table."""
    experiment = load("next_steps")
    monkeypatch.setattr(experiment, "RESULTS", tmp_path)
    for name, variant in experiment.VARIANTS.items():
        check(complete(experiment.make_config(variant, 1, str(tmp_path))))
        for seed, score in enumerate([1.0, 2.0]):
            run = {"variant": name, "steps": 5, "scores": {"si_snri": score}}
            (tmp_path / f"{name}-{seed}.json").write_text(json.dumps(run))
    rows = re.findall(r"\| 5 \| 2 \| 1.50 ± 0.50 dB \(1.00, 2.00\) \|", experiment.tables())
    assert len(rows) == len(experiment.VARIANTS)


def test_a_next_step_is_trained_and_scored(written, monkeypatch, tmp_path_factory):
    experiment = load("next_steps")
    monkeypatch.setattr(experiment, "make_config", lambda *_: get_config())
    workdir = tmp_path_factory.mktemp("runs")
    with jax.numpy_dtype_promotion("standard"):  # optimisers of optax promote types
        result = json.loads(written(experiment, "mixit", "3", f"--workdir={workdir}"))
    assert result["seed"] == 3
    assert set(result["validation"]) == {"6", "12"}
    assert np.isfinite(result["scores"]["si_snri"])


def test_steps_of_variants_take_turns(monkeypatch, capsys):
    benchmark = load("next_steps", "step_time")
    monkeypatch.setattr(benchmark, "make_config", lambda *_: complete(get_config()))
    monkeypatch.setattr(sys, "argv", ["step_time.py", "transformer", "mixit", "--rounds=1"])
    with jax.numpy_dtype_promotion("standard"):  # optimisers of optax promote types
        benchmark.main()
    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"transformer: \d+\.\d{3} s a step, 1.00 .* of transformer", first)
    assert re.match(r"mixit: \d+\.\d{3} s a step, \d+\.\d\d ", second)


def test_more_slots_than_voices(written, tmp_path_factory):
    workdir, config = tmp_path_factory.mktemp("run"), get_config()
    sizes = {name: config.model.slot_module[name] for name in ("slot_size", "width", "mlp")}
    config.model.slot_module = {"name": "slot_attention", "start": "random", **sizes}
    make_run(workdir, config)
    benchmark = load("next_steps", "more_slots")
    benchmark.DRAWS, benchmark.ROWS = 2, 2
    table = written(benchmark, f"--workdir={workdir}", "--mixtures=4")
    rows = re.findall(r"^\| (\d) \| \S+ ± \S+ dB \| (\S+ dB)?", table, re.MULTILINE)
    assert [(slots, bool(energy)) for slots, energy in rows] == [("2", 0), ("3", 1), ("4", 1)]


def test_what_slots_beyond_the_voices_hold():
    """A copy of the first voice at half its amplitude, and silence."""
    random = np.random.default_rng(0)
    sources = random.normal(0, 0.1, (1, 2, 4000)).astype(np.float32)
    first, second = sources[0]
    task = make_task(complete(get_config()))

    class Fake:
        slots, front_end = 4, task.separator.front_end

        def __call__(self, params, mixture, key):
            waveforms = jnp.stack([0.5 * first, second, first, 0 * first])[None]
            magnitudes = self.front_end.magnitudes(waveforms)
            return Estimates(waveforms, magnitudes, magnitudes, jnp.zeros((1, 4, 2)), {})

    batch = Batch(*map(jnp.asarray, (sources.sum(axis=1), sources, np.ones((1, 2), bool))))
    held = load("next_steps", "more_slots").held
    scores, energy, nearest, mixture = map(np.asarray, held(Fake(), {}, batch, jax.random.key(0)))
    assert scores[0] > 20
    louder, quieter = np.argsort(-energy[0])
    expected = 10 * np.log10(np.mean(first**2) / np.mean(batch.mixture**2))
    assert -6.1 < energy[0, louder] - expected < 0.1
    assert energy[0, quieter] < -40
    assert nearest[0, louder] > 0.999 > 0.99 > mixture[0, louder]


def test_speaker_probe_tells_speakers_of_different_spectra_apart(written, tmp_path_factory):
    """Noise of three colours: the clean source says who it is, and the rate is that of pairs."""
    folder = tmp_path_factory.mktemp("speakers")
    for number, name in enumerate("abc"):
        (folder / name).mkdir()
        noise = np.random.default_rng(number).normal(0, 0.1, 8 * 8000)
        band = scipy.signal.butter(2, (300 + 900 * number, 900 + 900 * number), "band", fs=8000)
        soundfile.write(folder / name / "1.wav", scipy.signal.lfilter(*band, noise), 8000)
    workdir = tmp_path_factory.mktemp("run")
    make_run(workdir, get_config())
    benchmark = load("speaker_probe")
    table = written(benchmark, f"--data={folder}", f"--workdir={workdir}", "--rounds=12")
    rows = dict(re.findall(r"^\| (.*?) \| ([\d.]+) % \| .* \|$", table, re.MULTILINE))
    assert len(rows) == 4
    assert float(rows["mel spectrum of the clean source"]) == 0
    scores, same = np.array([0.1, 0.6, 0.4, 0.9]), np.array([False, False, True, True])
    assert benchmark.equal_error_rate(scores, same) == 0.5


def test_high_band(written, tmp_path_factory):
    """Two speakers whose sound reaches above the band of a model of 8 kHz."""
    folder = tmp_path_factory.mktemp("speakers")
    for name in "ab":
        (folder / name).mkdir()
        noise = np.random.default_rng(ord(name)).normal(0, 0.1, 4 * 16_000)
        soundfile.write(folder / name / "1.wav", noise, 16_000)
    workdir = tmp_path_factory.mktemp("run")
    make_run(workdir, get_config())
    table = written(load("high_band"), f"--data={folder}", f"--workdir={workdir}", "--mixtures=2")
    assert len(re.findall(r"^\| .* -?[\d.]+ ± [\d.]+ dB \|$", table, re.MULTILINE)) == 3


def test_separation_speed(tmp_path):
    """Its measurements; the script makes each in a process of its own."""
    make_run(tmp_path, get_config())
    benchmark = load("separation_speed")
    options = argparse.Namespace(workdir=tmp_path, long=70, chunk_seconds=0.5)
    assert benchmark.load(options).chunk == 4000
    for measurement in (benchmark.ours, benchmark.long):
        speed, memory = measurement(options)
        assert speed > 0
        assert memory > 100


def test_input_speed(tmp_path):
    """Its measurements; the script makes each in a process of its own."""
    benchmark = load("input_speed")
    root = benchmark.write_noise(tmp_path / "noise")
    assert benchmark.audio_seconds(root) == 40 * 12
    benchmark.prepare.prepare(root, tmp_path / "store", 16000)
    contenders = [name for name in benchmark.CONTENDERS if name != "wav, torch"]
    for contender in contenders:
        assert float(benchmark.measure(contender, root, tmp_path, seconds=0.01)) > 100
    assert float(benchmark.measure("start", root, tmp_path, 0)) > 0
    benchmark.write_sparse_store(tmp_path / "sparse10", 10)
    benchmark.READ = 50
    before, _ = map(int, benchmark.measure("memory 10", root, tmp_path, 0).split())
    benchmark.write_sparse_store(tmp_path / "sparse1000", 1000)
    benchmark.READ = 500
    after, _ = map(int, benchmark.measure("memory 1000", root, tmp_path, 0).split())
    # The 1 GB that the last one reads would stay resident if it were mapped.
    assert after < before + 600


def small_compact():
    config = compact.get_config()
    config.data.crop_seconds = 0.25
    config.model.encoder.update(width=8, blocks=4, cycle=4, embedding_block=1)
    config.model.slot_module.slot_size = 8
    config.train.update(batch_size=2)
    config.eval.update(mixtures=2, examples=0, chunk_seconds=1.0)
    return config


def test_the_compact_model_travels_without_what_only_training_used(tmp_path):
    """What has never been trained is not heard either, in recordings longer than a crop."""
    make_run(tmp_path / "run", small_compact())
    run = audioslots_jax.load(tmp_path / "run")
    export(run, tmp_path / "run", {"data": "none"}, tmp_path / "model")
    model = audioslots_jax.load(tmp_path / "model")
    encoder = model.params["params"]["encoder"]
    assert "embedding" not in encoder
    frames = 8  # of a crop; the dilation of the last block is as long
    assert run.separator.front_end.size(run.crop) == (256, frames)
    outer = [np.abs(encoder[f"block{i}"]["taps"][::2]).max() > 0 for i in (1, 2, 3, 4)]
    assert outer == [True, True, True, False]
    noise = 0.1 * jax.random.normal(jax.random.key(0), (1, run.crop))
    expected = run.separator(run.params, noise).waveforms
    found = model.separator(model.params, noise).waveforms
    np.testing.assert_allclose(found, expected, atol=1e-2 * np.abs(expected).max())
    assert model.chunk == 120 * 8000
    for name, variations in (("compact", ""), ("count", "count")):
        cut, own = compact.get_config(variations).eval, audioslots_jax.load(name).config["eval"]
        assert (cut.chunk_seconds, cut.overlap) == (own["chunk_seconds"], own["overlap"])


def test_slots_and_split(tmp_path, monkeypatch):
    """All variants can be built; one of them is trained and scored, on tones."""
    benchmark = load("slots_and_split")
    for side, count in (("train", 4), ("dev", 8)):
        for speaker in range(count):
            path = tmp_path / "data" / side / f"{side}{speaker}" / "tone.wav"
            path.parent.mkdir(parents=True)
            time = np.arange(3 * 8000) / 8000
            soundfile.write(path, 0.1 * np.sin(2000 * (speaker + 1) * time), 8000)
    config = small_compact()
    config.model.encoder.blocks = 2
    monkeypatch.setattr(compact, "get_config", config.copy_and_resolve_references)
    monkeypatch.setattr(benchmark, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(benchmark, "SECONDS", tmp_path / "results" / "seconds_per_step.json")
    variants = importlib.import_module("experiments.slots_and_split.variants")
    for name, (registry, part) in variants.OWN.items():
        monkeypatch.setitem(registry, name, part)
    flags = [f"--data={tmp_path / 'data'}", "--minutes=0.04", "--mixtures=2"]
    flags.append(f"--output={tmp_path / 'results'}")
    for variant in variants.VARIANTS:
        task = make_task(complete(benchmark.make_config(variant, 0, tmp_path)))
        shapes = jax.eval_shape(lambda t=task: t.separator.init(jax.random.key(0), 2000))
        assert ("hidden" in shapes["params"]["decoder"]) == (variant != "split")
    with jax.numpy_dtype_promotion("standard"):  # optimisers of optax promote types
        monkeypatch.setattr(benchmark, "VARIANTS", {"attending": variants.VARIANTS["attending"]})
        monkeypatch.setattr(sys, "argv", ["run.py", "--time", *flags])
        benchmark.main()
        assert json.loads(benchmark.SECONDS.read_text())["attending"] > 0
        benchmark.SECONDS.write_text('{"attending": 1.0}')
        monkeypatch.setattr(sys, "argv", ["run.py", "attending", "1", *flags])
        benchmark.main()
    (row,) = benchmark.table(tmp_path / "results").splitlines()[2:]
    assert row.startswith("| attending | ")
    run = json.loads((tmp_path / "results" / "attending-1.json").read_text())
    assert run["steps"] == 2
    assert np.isfinite(run["dev"]["si_snri"])
