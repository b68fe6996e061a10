"""The sexes of speakers, as LibriSpeech's ``SPEAKERS.TXT`` says them.

    ; whatever follows a semicolon is a comment
    14   | F | train-clean-360  | 25.03 | NAME

Of a line only its first two fields are read, the speaker and the sex, so that a list of one's own
speakers needs no more.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from audioslots_jax.errors import UserError

SPEAKERS = "SPEAKERS.TXT"
SEXES = ("F", "M")


def nearest(path: Path) -> Path | None:
    """Returns the list of speakers in a folder, or in the nearest one above it that has one."""
    above = Path(os.path.abspath(path))  # no "..", but links as they are
    lists = (folder / SPEAKERS for folder in (above, *above.parents))
    return next(filter(Path.is_file, lists), None)


def nearest_lists(places: Mapping[str, Path]) -> dict[str, Path]:
    """Returns the list nearest above each speaker's recordings; those without one are left out."""
    lists = {speaker: nearest(place) for speaker, place in places.items()}
    return {speaker: path for speaker, path in lists.items() if path is not None}


def read_sexes(lists: Mapping[str, Path]) -> dict[str, str]:
    """Returns the sexes of speakers, F or M; those whom their list does not have are left out.

    Raises:
      UserError: if a list cannot be read, or a line of it is not like LibriSpeech's.
    """
    of_lists = {path: _read(path) for path in sorted(set(lists.values()))}
    return {
        speaker: of_lists[path][speaker]
        for speaker, path in lists.items()
        if speaker in of_lists[path]
    }


def _read(path: Path) -> dict[str, str]:
    sexes: dict[str, str] = {}
    try:
        # Names of people, which nobody reads here, may be of any encoding.
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            for number, line in enumerate(file, 1):
                if not line.strip() or line.lstrip().startswith(";"):
                    continue
                speaker, _, rest = line.partition("|")
                sex = rest.partition("|")[0].strip()
                if sex not in SEXES:
                    raise UserError(
                        f"{path}, line {number}: the second field is {sex!r}, and a line must be "
                        "`ID | F or M | ...`; put LibriSpeech's own file there, or mend the line."
                    )
                if sexes.setdefault(speaker.strip(), sex) != sex:
                    raise UserError(
                        f"{path}, line {number}: speaker {speaker.strip()} has another sex in a "
                        "line before; remove one of the two."
                    )
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from None
    return sexes
