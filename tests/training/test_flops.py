import pytest

from audioslots_jax.training.flops import training_flops


@pytest.fixture
def count(tiny):
    tiny.train.batch_size = 2
    tiny.model.decoder.width = 64

    def count(**fields):
        tiny.update_from_flattened_dict(fields)
        return training_flops(tiny)

    return count


def test_a_layer_is_counted_as_by_hand(count):
    """A product of cells and kernel, and two as large on the way back."""
    added = count(**{"model.decoder.layers": 4}) - count(**{"model.decoder.layers": 3})
    items, slots, cells, width = 2, 2, 128 * 8, 64
    products = 3 * 2 * items * slots * cells * width**2
    # Bias and ReLU are at most one operation each a number, both ways.
    assert products <= added <= products + 6 * items * slots * cells * width


def test_a_step_is_counted_once_however_it_is_computed(count):
    once = count()
    assert count(**{"train.remat_decoder": True, "train.micro_batches": 2}) == once
    assert count(**{"matching.solver": "scipy"}) == pytest.approx(once, rel=1e-4)
    # Of all rows, but for what belongs to the parameters alone.
    assert count(**{"train.batch_size": 8}) == pytest.approx(4 * once, rel=0.05)
