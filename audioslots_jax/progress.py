"""Progress on stderr."""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress(items: Iterable[Any] | None = None, **options: Any) -> tqdm:
    """A progress bar with tqdm's options, which a log file gets a line of only now and then."""
    return tqdm(items, mininterval=0.1 if sys.stderr.isatty() else 10, **options)
