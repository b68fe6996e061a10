import numpy as np
import pytest

from audioslots_jax import UserError
from audioslots_jax.data import Batch, Libri2Mix, OfficialMixing, Voices
from audioslots_jax.data.pipeline import STEPS, by_tf_data, by_threads, stream

VOICES = Voices(sample_rate=8000, samples=100)


def assert_equal(one, other):
    """Of batches: to the bit, with their types."""
    assert isinstance(one, Batch)
    for array, expected in zip(one, other, strict=True):
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("start", [0, 10_000_000])
def test_stream_is_the_rule_from_step_to_batch(workers, start):
    batches = stream(VOICES, seed=5, batch_size=4, start=start, stop=start + 8, workers=workers)
    for step, batch in enumerate(batches, start=start):
        assert_equal(batch, VOICES.batch(5, step, range(4), 4))
    assert step == start + 7


@pytest.mark.parametrize("data", ["voices", "libri2mix"])
def test_hosts_read_their_rows_of_the_same_batch(stored, data):
    mixtures = VOICES
    if data == "libri2mix":
        mixtures = OfficialMixing(Libri2Mix(stored, "train-100"), samples=4000, silence="redraw")

    def shares(hosts):
        rows = [range(i * 8 // hosts, (i + 1) * 8 // hosts) for i in range(hosts)]
        parts = [
            list(stream(mixtures, seed=5, batch_size=8, start=3, stop=6, rows=of_host))
            for of_host in rows
        ]
        steps = zip(*parts, strict=True)
        return [Batch(*map(np.concatenate, zip(*step, strict=True))) for step in steps]

    for hosts in (2, 4):
        for one, other in zip(shares(1), shares(hosts), strict=True):
            assert_equal(one, other)


@pytest.mark.parametrize("workers", [1, 3])
def test_threads_and_tf_data_give_the_same(workers):
    def load(step):
        return VOICES.batch(0, step, range(2), 2)

    for count in (1, STEPS, 3 * STEPS - 1):
        steps = range(10_000_000, 10_000_000 + count)
        batches = [list(way(load, steps, workers)) for way in (by_threads, by_tf_data)]
        for one, other in zip(*batches, strict=True):
            assert_equal(one, other)
        assert len(batches[0]) == count


@pytest.mark.parametrize("way", [by_threads, by_tf_data])
def test_a_batch_stays_as_it_is_while_others_are_made(stored, way):
    """Their memory is used again, but not before they are gone."""
    mixtures = OfficialMixing(Libri2Mix(stored, "train-100"), samples=4000)
    batches = list(way(lambda step: mixtures.batch(0, step, range(4), 4), range(40), 2))
    for step, batch in enumerate(batches):
        assert_equal(batch, mixtures.batch(0, step, range(4), 4))


@pytest.mark.parametrize("way", [by_threads, by_tf_data])
def test_only_what_is_asked_for_is_made_ahead_of_time(way):
    """A start at step 10 million makes no batch before it, and few after those taken."""
    made = []

    def load(step):
        made.append(step)
        return Batch.of(np.zeros((1, 2, 10), np.float32))

    batches = way(load, range(10_000_000, 20_000_000), 2)
    for _ in range(5):
        next(batches)
    batches.close()
    assert min(made) == 10_000_000
    assert 5 <= len(made) <= 5 + 4 * STEPS


@pytest.mark.parametrize("way", [by_threads, by_tf_data])
def test_what_goes_wrong_in_a_worker_arrives_as_it_was(way):
    def load(step):
        if step >= 6:
            raise UserError("the disk is gone.")
        return VOICES.batch(0, step, range(2), 2)

    batches = way(load, range(11), 1)
    for _ in range(6):
        next(batches)
    with pytest.raises(UserError, match=r"^the disk is gone\.$"):
        next(batches)
