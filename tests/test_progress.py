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


def test_what_is_expected_is_told_at_once_however_late_it_is_known(monkeypatch, capsys):
    """A log is written to once in a minute, and not only then."""
    monkeypatch.setattr(progress, "PATIENCE", 0.05)
    with progress.waiting("compiling the step") as expect:
        time.sleep(0.2)
        expect(75.0)
        time.sleep(0.2)
        said = capsys.readouterr().err
    assert said.index("compiling the step (00:00)") < said.index("(00:00, of about 01:15)")
