import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

from audioslots_jax.models.attention import Attention
from audioslots_jax.models.resnet import ResNet
from audioslots_jax.training.flops import count, training_flops
from audioslots_jax.training.shapes import shapes
from configs import paper


def floats(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def forward(module, *inputs):
    params = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    return count(module.apply, params, *inputs)


def by_xla(function, *arguments):
    """What XLA counts in the same function, elementwise operations included."""
    return jax.jit(function).lower(*arguments).cost_analysis()["flops"]


def test_dense_and_attention_by_hand():
    queries, memory = floats(2, 3, 10), floats(2, 7, 6)
    assert forward(Attention(width=8, heads=4), queries, memory) == {
        "Attention/query": 2 * (2 * 3) * 10 * 8,
        "Attention/key": 2 * (2 * 7) * 6 * 8,
        "Attention/value": 2 * (2 * 7) * 6 * 8,
        # Logits and mixture: every query, key and feature of a head, twice.
        "Attention": 2 * 2 * (2 * 3 * 7 * 8),
        "Attention/out": 2 * (2 * 3) * 8 * 10,
    }


def test_the_convolutions_of_a_resnet_by_hand():
    encoder = ResNet(
        blocks=(1, 1), widths=(4, 8), strides=(1, 2), root_width=4, root_stride=1, groups=2
    )
    found = forward(encoder, floats(2, 16, 10))

    def meet(size):  # pairs of positions and taps on an axis: a padded tap at either end is no work
        return 3 * size - 2

    def meet_at_stride(size):  # with stride 2, only the last of size / 2 positions meets padding
        return 3 * size // 2 - 1

    whole, half = meet(16) * meet(10), meet(8) * meet(5)
    assert found == {
        "ResNet/root": 2 * 2 * whole * 1 * 4,
        "ResNet/stage1_block1/conv1": 2 * 2 * whole * 4 * 4,
        "ResNet/stage1_block1/conv2": 2 * 2 * whole * 4 * 4,
        "ResNet/stage2_block1/shortcut": 2 * 2 * (8 * 5) * 4 * 8,
        "ResNet/stage2_block1/conv1": 2 * 2 * meet_at_stride(16) * meet_at_stride(10) * 4 * 8,
        "ResNet/stage2_block1/conv2": 2 * 2 * half * 8 * 8,
    }


@pytest.mark.parametrize(
    "options",
    [
        {"padding": "VALID"},
        {"padding": "SAME"},
        {"padding": "SAME", "window_strides": (2, 3)},
        {"padding": "VALID", "window_strides": (3, 2)},
        {"padding": "SAME", "rhs_dilation": (2, 1)},
        {"padding": [(2, 0), (-1, 3)], "lhs_dilation": (2, 3)},
        {"padding": "SAME", "window_strides": (2, 2), "feature_group_count": 2},
        {"padding": "VALID", "batch_group_count": 2},
    ],
    ids=str,
)
def test_convolutions_and_their_gradients_are_as_xla_counts_them(options):
    options = {"window_strides": (1, 1), **options}
    inputs = floats(4, 9, 12, 6)
    kernel = floats(3, 2, 6 // options.get("feature_group_count", 1), 4)
    convolve = functools.partial(
        jax.lax.conv_general_dilated, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options
    )
    result = jax.eval_shape(convolve, inputs, kernel)

    def with_gradients(inputs, kernel, cotangents):
        result, backward = jax.vjp(convolve, inputs, kernel)
        return result, backward(cotangents)

    assert count(convolve, inputs, kernel) == {"": by_xla(convolve, inputs, kernel)}
    training = count(with_gradients, inputs, kernel, result)
    assert training == {"": by_xla(with_gradients, inputs, kernel, result)}
    assert training == {"": 3 * by_xla(convolve, inputs, kernel)}


def test_dense_layers_are_as_xla_counts_them():
    network = nn.Sequential([nn.Dense(n, use_bias=False) for n in (5, 6, 7)])
    inputs = floats(3, 4)
    params = jax.eval_shape(network.init, jax.random.key(0), inputs)

    def gradients(params, inputs, cotangents):
        result, backward = jax.vjp(network.apply, params, inputs)
        return result, backward(cotangents)

    arguments = (params, inputs, floats(3, 7))
    assert sum(count(gradients, *arguments).values()) == by_xla(gradients, *arguments)


def test_forward_and_backward_of_a_module_go_to_it(tiny):
    """A gradient costs as much as the operation; what reads no parameters has one fewer."""
    task, state, sources = shapes(tiny)
    spectrograms = jax.eval_shape(task.spectrograms, sources)
    ahead = count(task.apply, state.params, spectrograms)
    training = count(jax.value_and_grad(task.loss), state.params, sources)
    assert list(ahead) == list(training)
    assert all(path.startswith("AudioSlots/") for path in ahead)
    first = {"encoder/root", "slot_module/position", "decoder/position"}
    for path, operations in ahead.items():
        times = 2 if path.removeprefix("AudioSlots/") in first else 3
        assert training[path] == times * operations, path
    assert training_flops(tiny) == sum(training.values())


class Pair(nn.Module):
    """Two layers, in a method of their own."""

    inside: type[nn.Module]

    @nn.compact
    def __call__(self, x):
        return self.twice(self.inside(4, name="first")(x))

    def twice(self, x):
        return self.inside(4, name="second")(x)


def test_transformations_change_neither_places_nor_counts():
    x = floats(8, 4)
    plain = Pair(nn.Dense)
    params = jax.eval_shape(plain.init, jax.random.key(0), x)

    def loss(model, params, x):
        return jnp.sum(jnp.square(model.apply(params, x)))

    expected = count(jax.grad(functools.partial(loss, plain)), params, x)
    assert expected == {"Pair/first": 2 * 256, "Pair/second": 3 * 256}
    kept, again = (functools.partial(loss, Pair(kind)) for kind in (nn.Dense, nn.remat(nn.Dense)))
    mesh = AbstractMesh((2,), ("data",), axis_types=(AxisType.Auto,))
    divided = jax.shard_map(
        lambda params, x: jax.lax.psum(kept(params, x), "data"),
        mesh=mesh, in_specs=(PartitionSpec(), PartitionSpec("data")), out_specs=PartitionSpec(),
    )  # fmt: skip
    for transformed in (
        jax.jit(jax.grad(jax.jit(kept))),
        jax.grad(jax.checkpoint(kept)),
        jax.grad(again),
        jax.grad(jax.checkpoint(again)),
        jax.grad(divided),
    ):
        assert count(transformed, params, x) == expected
    by_row = jax.vmap(jax.grad(kept), (None, 0))
    assert count(by_row, params, floats(8, 1, 4)) == expected

    def in_parts(params, parts):
        return jax.lax.scan(lambda total, x: (total + kept(params, x), None), 0.0, parts)[0]

    assert count(jax.grad(in_parts), params, floats(4, 2, 4)) == expected


def test_a_cond_is_its_largest_branch_and_a_while_runs_once():
    def chosen(x):
        return jax.lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x)

    def repeated(x):
        return jax.lax.while_loop(lambda x: x[0, 0] > 0, lambda x: x @ x, x)

    assert count(chosen, floats(5, 5)) == {"": 2 * 2 * 125}
    assert count(repeated, floats(5, 5)) == {"": 2 * 125}


def test_nothing_else_is_counted():
    assert count(lambda x: jnp.fft.rfft(jnp.exp(x)) + jnp.sum(x), floats(8)) == {}


def test_a_step_of_the_paper():
    """At full size: XLA finds the same and a hundredth more, which is elementwise."""
    config = paper.get_config()
    config.matching.solver = "exhaustive"
    task, state, sources = shapes(config)
    found = training_flops(config)
    assert found <= by_xla(jax.grad(task.loss), state.params, sources) <= 1.02 * found
