"""How a run ends early; `main.py` prints each as a sentence, without a traceback."""


class UserError(Exception):
    """What is wrong, where, and what to do, in one sentence."""


class Preempted(Exception):  # noqa: N818 (nothing went wrong)
    """A training that was told to stop did so, and saved what it had."""

    def __init__(self, step: int):
        """After ``step``, which is saved."""
        said = f"stopped by SIGTERM; step {step} is saved, and the same command continues."
        super().__init__(said)
