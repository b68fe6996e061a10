"""The ``audioslots`` command."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from audioslots_jax.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; mistakes end as one sentence.

    Returns:
      The exit code: 0, 2 after a mistake, 130 after Ctrl-C.
    """
    arguments = _parser().parse_args(argv)
    try:
        print(arguments.run(arguments))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: interrupted; the same command continues.", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("audioslots", description="Slot-based separation of sounds.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
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
    command.set_defaults(run=_prepare)
    return parser


def _prepare(arguments: argparse.Namespace) -> str:
    from audioslots_jax.data.prepare import prepare

    root, output = arguments.root.expanduser(), arguments.output.expanduser()
    return prepare(root, output, arguments.sample_rate)


def _hertz(text: str) -> int:
    if not text.isdecimal() or not 1000 <= int(text) <= 384_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of Hz from 1000 to 384000")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
