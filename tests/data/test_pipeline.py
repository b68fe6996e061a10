import numpy as np
import pytest

from audioslots_jax import UserError
from audioslots_jax.data import Voices, batch
from audioslots_jax.data.pipeline import stream

MIXTURES = Voices(sample_rate=8000, samples=100)


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("start", [0, 10_000_000])
def test_stream_is_the_rule_from_step_to_batch(workers, start):
    batches = stream(MIXTURES, seed=5, batch_size=4, start=start, stop=start + 8, workers=workers)
    for step, found in enumerate(batches, start=start):
        np.testing.assert_array_equal(found, batch(MIXTURES, 5, step, range(4)))
    assert step == start + 7


def test_hosts_read_their_rows_of_the_same_batch():
    def shares(hosts):
        rows = np.split(np.arange(8), hosts)
        parts = [
            list(
                stream(MIXTURES, seed=5, batch_size=8, start=3, stop=6, rows=range(r[0], r[-1] + 1))
            )
            for r in rows
        ]
        return np.concatenate(parts, axis=1)

    np.testing.assert_array_equal(shares(1), shares(2))
    np.testing.assert_array_equal(shares(1), shares(4))


def test_what_goes_wrong_in_a_worker_arrives_as_it_was():
    class Broken(Voices):
        def example(self, seed, step, row):
            if step == 2:
                raise UserError("the disk is gone.")
            return super().example(seed, step, row)

    batches = stream(
        Broken(sample_rate=8000, samples=100), seed=0, batch_size=2, start=0, stop=5, workers=1
    )
    next(batches), next(batches)
    with pytest.raises(UserError, match=r"^the disk is gone\.$"):
        next(batches)
