"""Progress on stderr."""

import contextlib
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from tqdm import tqdm

PATIENCE = 2.0  # seconds that nobody wonders about


def progress(items: Iterable[Any] | None = None, **options: Any) -> tqdm:
    """A progress bar with tqdm's options, which a log file gets a line of only now and then."""
    return tqdm(items, mininterval=0.1 if sys.stderr.isatty() else 10, **options)


@contextlib.contextmanager
def waiting(what: str) -> Iterator[None]:
    """Tells what takes longer than two seconds, and for how long it has, where no end is known."""
    over = threading.Event()

    def tell() -> None:
        with progress(
            desc=what, bar_format="{desc} ({elapsed})", leave=False, delay=PATIENCE
        ) as line:
            over.wait(PATIENCE)
            while not (over.is_set() or line.disable):
                line.refresh()
                over.wait(1 if sys.stderr.isatty() else 60)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()
