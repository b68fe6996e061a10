"""The ``audioslots`` command."""

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from audioslots_jax.errors import UserError

if TYPE_CHECKING:
    from audioslots_jax.inference.files import SeparatedFile
    from audioslots_jax.inference.recordings import RecordingSeparator


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; mistakes end as one sentence.

    Returns:
      The exit code: 0, 1 if some recordings could not be separated, 2 after another mistake, 130
      after Ctrl-C.
    """
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    if "overrides" in arguments:
        arguments.overrides = rest
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    # A process that is asked to end leaves nothing half-written either.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return int(arguments.run(arguments))
    except UserError as error:
        _say(error)
        return 2
    except KeyboardInterrupt:
        _say(f"interrupted; {arguments.interrupted}.")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("audioslots", description="Slot-based separation of sounds.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    separate = commands.add_parser(
        "separate",
        help="separate recordings into one file per source",
        description="Separates recordings with a trained model. For each INPUT and each slot of "
        "the model, or each source that it finds, there will be a file in DIR, such as "
        "meeting_1.wav and meeting_2.wav, of the same format, sampling rate and length.",
    )
    add = separate.add_argument
    add("inputs", metavar="INPUT", type=Path, nargs="+", help="a recording")
    which = (
        "a run of main.py, or a model of the package (default: count, which finds out how many "
        "people speak; with --speakers=2 it is compact, which knows two)"
    )
    add("--workdir", metavar="RUN", help=which)
    add("--output", metavar="DIR", type=Path, required=True, help="for the files")
    how = "mix several channels down to one, or separate each (default: %(default)s)"
    add("--channels", choices=("mix", "each"), default="mix", help=how)
    number = "files to write of each INPUT (default: one per slot, or as many as the model counts)"
    add("--speakers", metavar="N", type=_count, help=number)
    add("--report", action="store_true", help="add a page to hear and see each input, NAME.html")
    separate.set_defaults(run=_separate, interrupted="files of recordings that were done are there")

    lens = commands.add_parser(
        "lens",
        help="make a page to hear and see what the slots do",
        description="Makes one page, in one file that needs no network, about runs of main.py or "
        "about recordings. Of a RUN: learning curves, held-out mixtures to hear and see, where the "
        "slots look, and where the model fails. Several are compared. Of a RECORDING: what every "
        "RUN, or else the package's model that counts, takes it apart to; of the RUNs themselves "
        "there are the learning curves alone then.",
    )
    add = lens.add_argument
    which = "a run's folder; a recording, and with it also the package's models, compact or count"
    add("paths", metavar="RUN|RECORDING", nargs="+", help=which)
    add("--output", metavar="FILE", type=Path, required=True, help="the page, such as page.html")
    lens.set_defaults(run=_lens, interrupted="nothing was written")

    prepare = commands.add_parser(
        "prepare",
        help="pack recordings once, for training at full speed",
        description="Packs LibriSpeech, or any folder of speakers, into a store that training "
        "reads at full speed: give it as data.root. The same command continues after an "
        "interruption, mends a damaged store, and verifies a finished one.",
    )
    add = prepare.add_argument
    holds = "holds LibriSpeech/ and metadata/Libri2Mix/, or a folder per speaker"
    add("root", metavar="ROOT", type=Path, help=holds)
    add("--output", metavar="DIR", type=Path, required=True, help="the store")
    rate = "of the store; recordings at other rates are resampled (default: %(default)s)"
    add("--sample-rate", metavar="HZ", type=_hertz, default=16000, help=rate)
    prepare.set_defaults(run=_prepare, interrupted="the same command continues")

    doctor = commands.add_parser(
        "doctor",
        help="tell what a config trains: shapes, operations and memory",
        usage="audioslots doctor --config FILE [--config.FIELD=VALUE ...] [--devices N]",
        description="Tells, before any training, what a config trains: the shapes of a batch, the "
        "parameters of every part of the model, the operations of a step, and the memory that XLA "
        "plans for it. Reads no recordings; with JAX_PLATFORMS=cpu it needs no accelerator.",
    )
    add = doctor.add_argument
    config = "as for main.py; --config.FIELD=VALUE sets a field"
    add("--config", metavar="FILE", required=True, help=config)
    devices = "to train on (default: those of this machine)"
    add("--devices", metavar="N", type=_count, help=devices)
    doctor.set_defaults(run=_doctor, overrides=[], interrupted="nothing is changed")
    return parser


def _separate(arguments: argparse.Namespace) -> int:
    from absl import logging

    from audioslots_jax.inference import packaged
    from audioslots_jax.inference.files import separate_file
    from audioslots_jax.inference.recordings import load

    logging.set_verbosity(logging.ERROR)  # Orbax tells of every directory it reads
    own = packaged.COMPACT if arguments.speakers == 2 else packaged.COUNT
    separator = load(own if arguments.workdir is None else arguments.workdir)
    slots = separator.separator.slots
    if arguments.speakers and arguments.speakers > slots:
        raise UserError(f"--speakers is {arguments.speakers}; the model has {slots} slots.")
    failed = False
    for path, outputs in _outputs(arguments, slots):
        try:
            if not outputs:
                raise UserError(f"{path}: its files would overwrite an input or another's files.")
            trace = None
            if arguments.report:
                from audioslots_jax import lens  # and Matplotlib, which others are spared

                trace = lens.new_trace(separator)
            made = separate_file(
                separator, path, outputs, arguments.channels == "mix", arguments.speakers, trace
            )
            if trace is not None:
                page = lens.separated_page(separator, path, made, trace)
                lens.write(outputs[0].parent / f"{path.name}.html", page)
            counts = separator.counts and not arguments.speakers
            others = [str(x) for x in outputs[len(made.outputs) :] if x.exists()]
            earlier = f"; {', '.join(others)} was there before" if others else ""
            print(f"{path}: {_tell(made, separator, counts=counts)}{earlier}")
        except UserError as error:
            _say(error)
            failed = True
    return int(failed)


def _lens(arguments: argparse.Namespace) -> int:
    from absl import logging

    from audioslots_jax import lens
    from audioslots_jax.compilation import keep_compiled
    from audioslots_jax.inference.packaged import folder_of

    logging.set_verbosity(logging.ERROR)  # Orbax tells of every directory it reads
    keep_compiled()
    output = arguments.output.expanduser()
    given = [(text, Path(text).expanduser()) for text in arguments.paths]
    paths = [path if path.is_file() else folder_of(text) for text, path in given]
    _require_free(output, paths)
    lens.write(output, lens.page(paths))
    print(f"{output}: {output.stat().st_size / 1e6:.1f} MB")
    return 0


def _require_free(output: Path, inputs: Sequence[Path]) -> None:
    """Refuses a page where an input is, or in place of anything but a page."""
    if output.is_dir():
        raise UserError(f"--output {output} is a folder; name a file in it, such as page.html.")
    same = (output.exists() and path.exists() and output.samefile(path) for path in inputs)
    if output.resolve() in [path.resolve() for path in inputs] or any(same):
        raise UserError(
            f"--output {output} is an input, which the page would replace; name another."
        )
    if output.exists() and output.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--output {output} is there and no page; name a file such as page.html.")


def _tell(made: "SeparatedFile", separator: "RecordingSeparator", *, counts: bool) -> str:
    """Returns what became of a recording, in a line."""
    text = ", ".join(map(str, made.outputs)) or "nobody is heard, so there is no file"
    if counts and made.outputs:
        sure = ", ".join(f"{100 * p:.0f} %" for p in made.probabilities)
        text = f"{len(made.outputs)} of {separator.separator.slots} slots are used ({sure}): {text}"
    if made.outputs and made.sample_rate > separator.sample_rate:
        text += f"; by a rule above {separator.sample_rate // 2} Hz, which the model cannot hear"
    return text


def _outputs(arguments: argparse.Namespace, slots: int) -> Iterator[tuple[Path, list[Path]]]:
    """Yields each input and the files to be made of it; none if they would overwrite others."""
    folder = arguments.output.expanduser()
    taken = {path.expanduser().resolve() for path in arguments.inputs}
    for path in map(Path.expanduser, arguments.inputs):
        names = [f"{path.stem}_{slot}{path.suffix}" for slot in range(1, slots + 1)]
        outputs = [folder / name for name in names]
        resolved = {output.resolve() for output in outputs}
        yield path, [] if resolved & taken else outputs
        taken |= resolved


def _prepare(arguments: argparse.Namespace) -> int:
    from audioslots_jax.data.prepare import prepare

    root, output = arguments.root.expanduser(), arguments.output.expanduser()
    print(prepare(root, output, arguments.sample_rate))
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from audioslots_jax.flags import load_config

    config = load_config(arguments.config, arguments.overrides)
    # Nothing is computed: a training on the same machine needs the accelerator's memory more.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

    import jax

    if arguments.devices and os.environ.get("JAX_PLATFORMS") == "cpu":
        jax.config.update("jax_num_cpu_devices", arguments.devices)

    from audioslots_jax.doctor import examine

    print(examine(config, arguments.devices or jax.device_count()))
    return 0


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def _hertz(text: str) -> int:
    if not text.isdecimal() or not 1000 <= int(text) <= 384_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of Hz from 1000 to 384000")
    return int(text)


def _say(error: UserError | str) -> None:
    print(f"error: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
