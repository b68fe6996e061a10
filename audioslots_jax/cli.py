"""The ``audioslots`` command."""

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from audioslots_jax.errors import UserError


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
        code: int = arguments.run(arguments)
        return code
    except UserError as error:
        _say(error)
        return 2
    except KeyboardInterrupt:
        print(f"error: interrupted; {arguments.interrupted}.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("audioslots", description="Slot-based separation of sounds.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_separate(commands)
    _add_prepare(commands)
    _add_doctor(commands)
    return parser


def _add_separate(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "separate",
        help="separate recordings into one file per source",
        description="Separates recordings with a trained model. For each INPUT and each slot of "
        "the model there will be a file in DIR, such as meeting_1.wav and meeting_2.wav, of the "
        "same format, sampling rate and length.",
    )
    command.add_argument("inputs", metavar="INPUT", type=Path, nargs="+", help="a recording")
    command.add_argument(
        "--workdir", metavar="RUN", type=Path, required=True, help="a run of main.py"
    )
    command.add_argument("--output", metavar="DIR", type=Path, required=True, help="for the files")
    command.add_argument(
        "--channels", choices=("mix", "each"), default="mix",
        help="mix several channels down to one, or separate each (default: %(default)s)",
    )  # fmt: skip
    command.add_argument(
        "--report", action="store_true", help="add a picture of the spectrograms of each input"
    )
    command.set_defaults(run=_separate, interrupted="files of recordings that were done are there")


def _add_prepare(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "prepare",
        help="pack recordings once, for training at full speed",
        description="Packs LibriSpeech, or any folder of speakers, into a store that training "
        "reads at full speed: give it as data.root. The same command continues after an "
        "interruption, mends a damaged store, and verifies a finished one.",
    )
    command.add_argument(
        "root", metavar="ROOT", type=Path,
        help="holds LibriSpeech/ and metadata/Libri2Mix/, or a folder per speaker",
    )  # fmt: skip
    command.add_argument("--output", metavar="DIR", type=Path, required=True, help="the store")
    command.add_argument(
        "--sample-rate", metavar="HZ", type=_hertz, default=16000,
        help="of the store; recordings at other rates are resampled (default: %(default)s)",
    )  # fmt: skip
    command.set_defaults(run=_prepare, interrupted="the same command continues")


def _add_doctor(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "doctor",
        help="tell what a config trains: sizes, work and memory",
        usage="audioslots doctor --config FILE [--config.FIELD=VALUE ...] [--devices N]",
        description="Tells, before any training, what a config trains: the shapes of a batch; "
        "parameters, outputs and work of every part of the model; and the memory it takes. Reads "
        "no recordings and needs no accelerator.",
    )
    command.add_argument(
        "--config", metavar="FILE", required=True,
        help="as for main.py; --config.FIELD=VALUE sets a field",
    )  # fmt: skip
    command.add_argument(
        "--devices", metavar="N", type=_count, help="to train on (default: those of this machine)"
    )
    command.set_defaults(run=_doctor, overrides=[], interrupted="nothing is changed")


def _separate(arguments: argparse.Namespace) -> int:
    from absl import logging

    from audioslots_jax.separation import load, separate_file

    logging.set_verbosity(logging.ERROR)  # Orbax tells of every directory it reads
    separator = load(arguments.workdir)
    failed = 0
    for path, outputs in _outputs(arguments, separator.task.slots):
        try:
            if not outputs:
                raise UserError(f"{path}: its files would overwrite an input or another's files.")
            picture = outputs[0].parent / f"{path.name}.png" if arguments.report else None
            separate_file(separator, path, outputs, arguments.channels == "mix", picture)
            print(f"{path}: {', '.join(map(str, outputs))}")
        except UserError as error:
            _say(error)
            failed += 1
    return 1 if failed else 0


def _outputs(arguments: argparse.Namespace, slots: int) -> Iterator[tuple[Path, list[Path]]]:
    """Each input and the files to be made of it; none if they would overwrite others."""
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


def _say(error: UserError) -> None:
    print(f"error: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
