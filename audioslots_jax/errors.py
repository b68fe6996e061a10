"""The one error a user can cause; `main.py` prints it as a sentence, without a traceback."""


class UserError(Exception):
    """What is wrong, where, and what to do, in one sentence."""
