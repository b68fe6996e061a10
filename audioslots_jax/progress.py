"""Progress on stderr."""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tqdm import tqdm

PATIENCE = 2.0  # seconds that nobody wonders about


def progress(items: Iterable[Any] | None = None, **options: Any) -> tqdm:
    """A progress bar with tqdm's options, which a log file gets a line of only now and then."""
    return tqdm(items, mininterval=0.1 if sys.stderr.isatty() else 10, **options)


@contextlib.contextmanager
def waiting(what: str) -> Iterator[Callable[[float | None], None]]:
    """Tells what takes longer than two seconds, for how long it has, and of how long, if known.

    Yields:
      A function to say how many seconds the whole takes, about; None is not known.
    """
    over, news = threading.Event(), threading.Event()  # the end is news, too
    seconds: float | None = None

    def expect(about: float | None) -> None:
        nonlocal seconds
        seconds = about
        news.set()

    def tell() -> None:
        with progress(desc=what, bar_format="{desc} ({elapsed}{postfix})", leave=False,
                      delay=PATIENCE) as line:  # fmt: skip
            over.wait(PATIENCE)
            while True:
                news.clear()  # before looking, so that no news is missed
                if over.is_set() or line.disable:
                    return
                if seconds is not None:
                    line.postfix = f"of about {line.format_interval(seconds)}"
                line.refresh()
                news.wait(1 if sys.stderr.isatty() else 60)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield expect
    finally:
        over.set()
        news.set()
        teller.join()
