"""What takes long says so."""

import time

from audioslots_jax import progress


def test_what_takes_long_is_told_and_what_does_not_is_not(monkeypatch, capsys):
    monkeypatch.setattr(progress, "PATIENCE", 0.05)
    with progress.waiting("compiling the step"):
        pass
    assert "compiling" not in capsys.readouterr().err
    with progress.waiting("compiling the step"):
        time.sleep(0.2)
    assert "compiling the step (00:00)" in capsys.readouterr().err
