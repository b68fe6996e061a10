"""Slots that carry over from chunk to chunk: in training, and in separating."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import audioslots_jax
from audioslots_jax import Batch, UserError
from audioslots_jax.audio import blind_order, order_like, split
from audioslots_jax.audio.chunks import reorder
from audioslots_jax.inference.recordings import load
from audioslots_jax.inference.stitching import batch_size, stitch
from audioslots_jax.matching import assign
from audioslots_jax.sequences import Sequence, carry_over
from audioslots_jax.training.flops import training_flops
from audioslots_jax.training.settings import check, complete
from audioslots_jax.training.step import make_task, training_samples
from tests.runs import make_run, new_state

RATE, CHUNK = 8000, 960


def noise(*shape, seed=0):
    return 0.1 * jax.random.normal(jax.random.key(seed), shape)


@pytest.fixture(scope="module")
def config():
    from tests.tiny import get_config

    config = get_config()
    config.train.sequence = 3
    config.eval.overlap = 0.5
    return config


@pytest.fixture(scope="module")
def task(config):
    return make_task(complete(config))


@pytest.fixture(scope="module")
def params(config):
    """In which slots depend on what they start from."""
    params = new_state(complete(config)).params
    return jax.tree.map(lambda x: x + 0.3 * noise(*x.shape, seed=x.size), params)


def carried(task, params, chunks, queries=None, **options):
    """Compiled, which takes less time than an operation after the other."""
    separate = functools.partial(carry_over, task.separator, **options)
    return jax.jit(separate)(params, chunks, queries=queries)


def test_each_chunk_starts_from_the_slots_of_the_one_before(task, params):
    chunks = noise(3, 2, CHUNK)
    made = carried(task, params, chunks)
    apply = jax.jit(lambda x, q: task.separator(params, x, queries=q))
    queries = None
    for number, chunk in enumerate(chunks):
        expected = apply(chunk, queries)
        np.testing.assert_allclose(made.slots[number], expected.slots, atol=1e-4)
        np.testing.assert_allclose(made.waveforms[number], expected.waveforms, atol=1e-5)
        queries = expected.slots
    alone = apply(chunks[2], None)
    assert np.abs(made.slots[2] - alone.slots).max() > 1e-3


def test_a_crop_is_cut_as_a_recording_is(config, task):
    assert task.sequence == Sequence(3, CHUNK, CHUNK // 2)
    assert training_samples(complete(config)) == task.sequence.samples == 2 * CHUNK


def test_chunks_of_a_crop_are_rows_with_their_sources(task, params):
    sources = noise(2, 2, 2 * CHUNK)
    batch = Batch(sources.sum(axis=1), sources, jnp.array([[True, True], [True, False]]))
    separate = functools.partial(task.sequence.estimates, task.separator)
    estimates, rows = jax.jit(separate)(params, batch, jax.random.key(0))
    assert estimates.waveforms.shape == (6, 2, CHUNK)
    np.testing.assert_array_equal(rows.mixture[4], batch.mixture[1, CHUNK // 2 : 3 * CHUNK // 2])
    np.testing.assert_array_equal(rows.sources[4], sources[1, :, CHUNK // 2 : 3 * CHUNK // 2])
    np.testing.assert_allclose(rows.sources.sum(axis=1), rows.mixture, atol=1e-6)
    np.testing.assert_array_equal(rows.present[:, 1], [True] * 3 + [False] * 3)
    second = carried(task, params, split(batch.mixture, CHUNK, CHUNK // 2)[1][:, None])
    np.testing.assert_allclose(estimates.waveforms[3:], second.waveforms[:, 0], atol=1e-4)


def test_a_crop_has_one_assignment_the_best_on_average(task):
    """A single chunk would be cheaper the other way round; its crop is not."""
    straight, crossed = [[0.0, 1.0], [1.0, 0.0]], [[0.4, 0.0], [0.0, 0.4]]
    costs = jnp.array([straight, straight, crossed, crossed, crossed, straight])
    shared = task.sequence.shared(assign)(costs)
    np.testing.assert_array_equal(shared, [[0, 1]] * 6)
    alone = assign(costs)
    np.testing.assert_array_equal(alone[:, 0], [0, 0, 1, 1, 1, 0])


def test_a_sequence_that_goes_on_starts_from_its_slots(task, params):
    chunks = noise(4, 1, CHUNK)
    whole = carried(task, params, chunks)
    begun = carried(task, params, chunks[:1])
    later = carried(task, params, chunks[1:], queries=begun.slots[-1], unroll=True)
    np.testing.assert_allclose(later.slots, whole.slots[1:], atol=1e-4)
    np.testing.assert_allclose(begun.waveforms, whole.waveforms[:1], atol=1e-5)


def test_all_chunks_are_counted(config):
    """Three times the operations of one, give or take what is done once."""
    one, three = (config.copy_and_resolve_references() for _ in range(2))
    one.train.sequence = 1
    ratio = training_flops(complete(three)) / training_flops(complete(one))
    assert 2.5 < ratio < 3.5


def test_gradients_flow_through_the_chunks(task, params):
    """The last chunk's loss depends on the first chunk."""

    def last(first):
        chunks = jnp.concatenate([first[None], noise(2, 1, CHUNK)])
        return jnp.sum(jnp.square(carry_over(task.separator, params, chunks).waveforms[2]))

    assert np.abs(jax.jit(jax.grad(last))(noise(1, CHUNK, seed=3))).max() > 0


@pytest.fixture(scope="module")
def separator(config, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    make_run(workdir, config)
    return load(workdir)


def test_recordings_are_separated_as_in_the_training(separator):
    """Each channel's chunks in one row, however many batches they are processed in."""
    assert separator.carries
    recording = np.asarray(noise(2, 40 * CHUNK))
    slots = separator(recording, RATE)
    hop, stft = separator.hop, separator.separator.front_end.stft
    expected = []
    for channel in recording:
        chunks = split(jnp.asarray(channel), separator.chunk, hop)
        assert len(chunks) > 2 * batch_size(separator.chunk)
        made = carry_over(separator.separator, separator.params, chunks[:, None])
        estimates, embeddings = made.waveforms[:, 0], made.slots[:, 0]
        if expected:
            order = order_like(estimates, expected[0])
        else:
            order = blind_order(estimates, hop, embeddings, stft)
        expected.append(reorder(estimates, order))
    size = batch_size(separator.chunk)
    ordered = np.stack(expected, axis=2)
    padded = np.pad(ordered, [(0, -len(ordered) % size), *[(0, 0)] * 3])
    batches = iter(np.split(padded, len(padded) // size))
    joined = stitch(lambda _: next(batches), [recording], separator.chunk, hop)
    whole = np.concatenate(list(joined), axis=-1)
    # The order of the first chunk is arbitrary.
    best = min(np.abs(slots - whole[list(turn)]).max() for turn in ((0, 1), (1, 0)))
    assert best < 1e-3
    blocks = separator(iter(np.split(recording, [700, 9000], axis=1)), RATE)
    np.testing.assert_allclose(np.concatenate(list(blocks), axis=-1), slots, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [{"eval.chunk_seconds": 1.0}, {"train.with_sources": 0.5}, {"train.sequence": 0}],
)
def test_what_does_not_fit_is_told(config, change):
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(change)
    if "train.with_sources" in change:
        config.objectives.mixit = {"weight": 1.0}
    with pytest.raises(UserError, match=r"train\.sequence"):
        check(complete(config))


def test_the_package_says_so():
    assert not audioslots_jax.load().carries
