"""Who waits for XLA is told how long."""

import time

import jax
import jax.numpy as jnp

from audioslots_jax import compilation, progress


def slow(x):
    def wait(x):
        time.sleep(0.3)
        return x

    return jax.pure_callback(wait, jax.ShapeDtypeStruct((), jnp.float32), x + 1)


def test_the_first_call_says_what_it_does_and_of_how_long_and_later_ones_say_nothing(
    monkeypatch, capsys
):
    monkeypatch.setattr(progress, "PATIENCE", 0.05)
    monkeypatch.setattr(compilation, "expected_seconds", lambda program, assignment: 75.0)
    step = compilation.announced(jax.jit(slow), "compiling the step")
    assert float(step(jnp.float32(1))) == 2
    assert "compiling the step (00:00, of about 01:15)" in capsys.readouterr().err
    assert float(step(jnp.float32(2))) == 3
    assert "compiling" not in capsys.readouterr().err


def test_a_program_takes_longer_the_more_operations_it_has(monkeypatch):
    def sines(count):
        def function(x):
            for _ in range(count):
                x = jnp.sin(x)
            return x

        return compilation.expected_seconds(jax.jit(function).lower(1.0), 1.0)

    assert sines(12) - sines(5) == 7
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert sines(12) is None
