import jax
import jax.numpy as jnp
import numpy as np

from audioslots_jax.training.checkpoints import Checkpoints
from audioslots_jax.training.state import TrainState


def on_one_device(state):
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.eval_shape(jax.jit(lambda: state, out_shardings=sharding))


def state(step):
    return TrainState(jnp.asarray(step, jnp.int32), {"w": jnp.full(3, step / 3)}, (jnp.ones(2),))


def test_the_last_and_the_best_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    scores = {1: 1.0, 2: 5.0, 3: None, 4: 2.0, 5: None, 6: 4.0}
    for step, score in scores.items():
        checkpoints.save(state(step), [{"loss": 0.1}] * step, score)
    checkpoints.close()
    assert {path.name for path in tmp_path.iterdir()} == {"2", "5", "6"}
    restored, window = Checkpoints(tmp_path, keep=2).restore(on_one_device(state(0)))
    assert window == [{"loss": 0.1}] * 6
    for found, saved in zip(jax.tree.leaves(restored), jax.tree.leaves(state(6)), strict=True):
        np.testing.assert_array_equal(found, saved)


def test_an_empty_folder_has_none(tmp_path):
    assert Checkpoints(tmp_path / "new", keep=1).restore(on_one_device(state(0))) is None


def test_what_is_saved_is_the_state_at_that_time(tmp_path):
    """Donating the state to the next step must not reach into a save that still runs."""
    step = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
    checkpoints = Checkpoints(tmp_path, keep=10)
    large = TrainState(jnp.zeros((), jnp.int32), {"w": jnp.zeros(1 << 20)}, ())
    window: list = []
    for _ in range(5):
        large = step(large)
        window.append({"loss": 1.0})
        checkpoints.save(large, window, None)
    large = step(large)
    window.clear()
    checkpoints.close()
    restored, loop = Checkpoints(tmp_path, keep=10).restore(on_one_device(large))
    assert len(loop) == 5
    np.testing.assert_array_equal(restored.params["w"], np.full(1 << 20, 5.0))
