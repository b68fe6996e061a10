"""Other ways to compute the same training step, each with what was expected of it beforehand.

A variant takes our parameters and returns our loss and gradients. It replaces the call of a Flax
module by a function of that module and its inputs, or changes how a step is compiled.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from audioslots_jax.models import (
    QueryTransformer,
    ResNet,
    SlotOutputs,
    SpatialBroadcastDecoder,
    fourier_features,
)
from audioslots_jax.models.attention import Attention
from experiments.decoder_speed import naive

# Where a prediction was made for: device and config.
PLACES = ("cpu paper", "cpu voices", "gpu paper", "gpu voices")


def same(value: Any) -> Any:
    """What it is given."""
    return value


@dataclasses.dataclass(frozen=True)
class Variant:
    """One change.

    Attributes:
      name: what it is called in the table.
      why: the reason of the prediction.
      predicted: its time over ours, in each of `PLACES`; written before anything was measured.
      replaced: by class of module, the function called in place of it.
      config: fields that differ, by their full name.
      where: fields on which it depends: without these values it would be no change.
      pack: the parameters in the order in which the variant keeps them.
      optimizer: ours, changed.
      donates: whether a step may write the new state where the old one was.
      steps: training steps in one dispatch.
      too_slow: places where it takes too long to be measured.
    """

    name: str
    why: str
    predicted: tuple[float, float, float, float]
    replaced: Mapping[type[nn.Module], Callable[..., Any]] = dataclasses.field(default_factory=dict)
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    where: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    pack: Callable[[Any], Any] = same
    optimizer: Callable[[optax.GradientTransformation], optax.GradientTransformation] = same
    donates: bool = True
    steps: int = 1
    too_slow: tuple[str, ...] = ()


OURS = Variant("ours", "", (1, 1, 1, 1))
TWIN = Variant(
    "the same in PyTorch",
    "the same algorithm, so on a GPU nearly the same kernels, but more work for the host where "
    "steps are short; on a CPU its convolutions (oneDNN) are better than those of XLA (Eigen)",
    (0.50, 0.60, 1.10, 1.50),
)


def of(config: ConfigDict, place: str) -> Sequence[Variant]:
    """The variants that change something in a config, and can be measured in a place."""
    fields = {".".join(path): value for path, value in flatten_dict(config.to_dict()).items()}

    def changes(variant: Variant) -> bool:
        differ = all(fields.get(name, value) != value for name, value in variant.config.items())
        return differ and all(fields.get(name) == value for name, value in variant.where.items())

    return [v for v in VARIANTS if changes(v) and place not in v.too_slow]


@contextlib.contextmanager
def replacing(replaced: Mapping[type[nn.Module], Callable[..., Any]]) -> Iterator[None]:
    """Within it, modules of these very classes are called as the given functions."""

    def intercept(
        call: Callable[..., Any], inputs: Any, names: Any, context: nn.module.InterceptorContext
    ) -> Any:
        function = replaced.get(type(context.module))
        if function is None or context.method_name != "__call__":
            return call(*inputs, **names)
        return function(context.module, *inputs, **names)

    with nn.intercept_methods(intercept):
        yield


def dtype_of(module: nn.Module) -> jax.typing.DTypeLike:
    """What a part computes in."""
    return getattr(module, "dtype", jnp.float32)


def naive_decoder(
    module: SpatialBroadcastDecoder, slots: jax.Array, size: tuple[int, int], features: Any = None
) -> jax.Array:
    """Every slot copied to every cell."""
    del features
    return naive.decode(module, {"params": module.variables["params"]}, slots, size)


class FlaxNorm(nn.GroupNorm):
    """Flax's own, under a name that is not replaced."""


def two_pass_norm(module: nn.GroupNorm, x: jax.Array) -> jax.Array:
    """The variance from the differences to the mean, not from E[x^2] - E[x]^2."""
    other = FlaxNorm(module.num_groups, use_fast_variance=False, dtype=module.dtype, parent=None)
    return other.apply({"params": module.variables["params"]}, x)


def float32_norm(module: nn.GroupNorm, x: jax.Array) -> jax.Array:
    """An output in float32, whatever the input."""
    other = FlaxNorm(module.num_groups, dtype=jnp.float32, parent=None)
    return other.apply({"params": module.variables["params"]}, x)


def norm_by_hand(module: nn.GroupNorm, x: jax.Array) -> jax.Array:
    """One factor and one summand for each channel, and a backward pass of one formula."""
    params = module.variables["params"]
    return _norm(module.num_groups, module.epsilon, x, params["scale"], params["bias"])


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _norm(
    groups: int,
    epsilon: float,
    x: Float[Array, "batch frequency time channel"],
    scale: Float[Array, " channel"],
    bias: Float[Array, " channel"],
) -> Float[Array, "batch frequency time channel"]:
    return _norm_forward(groups, epsilon, x, scale, bias)[0]


def _norm_forward(
    groups: int, epsilon: float, x: jax.Array, scale: jax.Array, bias: jax.Array
) -> tuple[jax.Array, Any]:
    wide = x.astype(jnp.float32)
    mean, square = _by_group(wide, groups), _by_group(jnp.square(wide), groups)
    inverse = jax.lax.rsqrt(square - jnp.square(mean) + epsilon)
    factor = inverse * scale[None]
    summand = bias[None] - mean * factor
    y = wide * _spread(factor) + _spread(summand)
    return y.astype(x.dtype), (x, scale, mean, inverse)


def _norm_backward(
    groups: int, epsilon: float, saved: Any, gradient: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    del epsilon
    x, scale, mean, inverse = saved
    wide, gradient = x.astype(jnp.float32), gradient.astype(jnp.float32)
    # Of each channel first: the scale's and the bias's gradients need them as well.
    total = jnp.sum(gradient, axis=(1, 2))
    product = jnp.sum(gradient * wide, axis=(1, 2))
    product = (product - mean * total) * inverse
    cells = x.shape[1] * x.shape[2]
    shift = _over_group(total * scale[None], groups) / cells
    slope = _over_group(product * scale[None], groups) / cells
    factor = inverse * scale[None]
    by_x = -slope * jnp.square(inverse)
    summand = -shift * inverse - by_x * mean
    dx = gradient * _spread(factor) + wide * _spread(by_x) + _spread(summand)
    return dx.astype(x.dtype), jnp.sum(product, axis=0), jnp.sum(total, axis=0)


_norm.defvjp(_norm_forward, _norm_backward)


def _by_group(x: jax.Array, groups: int) -> jax.Array:
    """Mean over cells and the channels of each group, repeated for each channel."""
    return _over_group(jnp.mean(x, axis=(1, 2)), groups)


def _over_group(x: Float[Array, "batch channel"], groups: int) -> Float[Array, "batch channel"]:
    """Mean over the channels of each group, repeated for each channel."""
    grouped = x.reshape(len(x), groups, -1)
    mean = jnp.mean(grouped, axis=-1, keepdims=True)
    return jnp.broadcast_to(mean, grouped.shape).reshape(x.shape)


def _spread(x: Float[Array, "batch channel"]) -> Float[Array, "batch 1 1 channel"]:
    return x[:, None, None]


def channels_first(module: ResNet, spectrogram: jax.Array) -> dict[str, jax.Array]:
    """The encoder on (batch, channel, frequency, time); only its last features are given."""
    params = module.variables["params"]

    def convolve(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
        layout = ("NCHW", "HWIO", "NCHW")
        kernel = kernel.astype(x.dtype)
        return jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), "SAME", dimension_numbers=layout
        )

    def norm(x: jax.Array, params: Any) -> jax.Array:
        grouped = x.reshape(len(x), module.groups, -1).astype(jnp.float32)
        mean = jnp.mean(grouped, axis=-1, keepdims=True)
        square = jnp.mean(jnp.square(grouped), axis=-1, keepdims=True)
        scaled = (grouped - mean) * jax.lax.rsqrt(square - jnp.square(mean) + 1e-6)
        scale, bias = (params[name][None, :, None, None] for name in ("scale", "bias"))
        return (scaled.reshape(x.shape) * scale + bias).astype(x.dtype)

    x = spectrogram[:, None].astype(dtype_of(module))
    x = convolve(x, params["root"]["kernel"], module.root_stride)
    x = nn.relu(norm(x, params["root_norm"]))
    for stage, (blocks, first) in enumerate(zip(module.blocks, module.strides, strict=True), 1):
        for block in range(blocks):
            stride = first if block == 0 else 1
            p = params[f"stage{stage}_block{block + 1}"]
            shortcut = x
            if "shortcut" in p:
                shortcut = norm(convolve(x, p["shortcut"]["kernel"], stride), p["shortcut_norm"])
            y = nn.relu(norm(convolve(x, p["conv1"]["kernel"], stride), p["norm1"]))
            x = nn.relu(shortcut + norm(convolve(y, p["conv2"]["kernel"], 1), p["norm2"]))
    return {"last": x.transpose(0, 2, 3, 1)}


def library_attention(
    module: Attention, queries: jax.Array, memory: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """`jax.nn.dot_product_attention`; the weights, which it does not give, are zeros."""
    params = module.variables["params"]

    def project(name: str, x: jax.Array) -> jax.Array:
        kernel, bias = (params[name][leaf].astype(x.dtype) for leaf in ("kernel", "bias"))
        return jnp.einsum("bkf,fhd->bkhd", x, kernel) + bias[None, None]

    mixed = jax.nn.dot_product_attention(
        project("query", queries), project("key", memory), project("value", memory)
    )
    kernel, bias = (params["out"][leaf].astype(mixed.dtype) for leaf in ("kernel", "bias"))
    weights = jnp.zeros((len(queries), module.heads, queries.shape[1], memory.shape[1]))
    return jnp.einsum("bqhd,hdf->bqf", mixed, kernel) + bias[None, None], weights


def stacked(params: Any) -> Any:
    """The parameters with those of all transformer layers in one array each."""
    tree = dict(params["params"])
    transformer = dict(tree["slot_module"])
    names = [name for name in transformer if name.startswith("layer")]
    layers = sorted({name.split("_", 1)[0] for name in names}, key=lambda name: int(name[5:]))
    parts = sorted({name.split("_", 1)[1] for name in names})
    each = [{part: transformer.pop(f"{layer}_{part}") for part in parts} for layer in layers]
    transformer["layers"] = jax.tree.map(lambda *values: jnp.stack(values), *each)
    return {"params": {**tree, "slot_module": transformer}}


def scanned(
    module: QueryTransformer, features: Mapping[str, Array], queries: None = None
) -> SlotOutputs:
    """One compiled layer that runs once for each layer's parameters."""
    del queries
    params = module.variables["params"]

    def part(kind: type[nn.Module], params: Any, *inputs: jax.Array, **fields: Any) -> Any:
        if fields.setdefault("dtype", dtype_of(module)) == jnp.float32:
            del fields["dtype"]
        return kind(**fields, parent=None).apply({"params": params}, *inputs)

    def dense(params: Any, x: jax.Array, **fields: Any) -> jax.Array:
        return part(nn.Dense, params, x, features=params["kernel"].shape[-1], **fields)

    def attend(params: Any, *inputs: jax.Array) -> Any:
        return part(Attention, params, *inputs, width=module.width, heads=module.heads)

    grid = list(features.values())[-1].astype(jnp.float32)
    batch, frequencies, times, channels = grid.shape
    octaves = (module.frequency_octaves, module.time_octaves)
    position = fourier_features(frequencies, times, *octaves)
    grid = grid + dense(params["position"], position, dtype=jnp.float32)[None]
    memory = part(nn.LayerNorm, params["memory_norm"], grid.reshape(batch, -1, channels))

    def layer(x: jax.Array, p: Any) -> tuple[jax.Array, jax.Array]:
        normed = part(nn.LayerNorm, p["self_norm"], x)
        x = x + attend(p["self"], normed, normed)[0].astype(x.dtype)
        y, weights = attend(p["cross"], part(nn.LayerNorm, p["cross_norm"], x), memory)
        x = x + y.astype(x.dtype)
        y = nn.relu(dense(p["mlp_in"], part(nn.LayerNorm, p["mlp_norm"], x)))
        x = x + dense(p["mlp_out"], y).astype(x.dtype)
        return x, weights.reshape(*weights.shape[:-1], frequencies, times)

    x = jnp.broadcast_to(params["queries"][None], (batch, *params["queries"].shape))
    x, attention = jax.lax.scan(layer, x, params["layers"])
    return SlotOutputs(part(nn.LayerNorm, params["norm"], x, dtype=jnp.float32), attention)


def after_all_gradients(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """No update begins before the last gradient is there."""

    def update(gradients: Any, state: Any, params: Any = None) -> Any:
        return optimizer.update(jax.lax.optimization_barrier(gradients), state, params)

    return optax.GradientTransformation(optimizer.init, update)


VARIANTS = [
    Variant(
        "naive broadcast decoder",
        "the first layer on d + e numbers for each cell makes 2.2 x the products of a whole paper "
        "step, 1.5 x those of voices, and on a GPU moves the copies as well",
        (2.2, 1.5, 2.6, 1.5),
        replaced={SpatialBroadcastDecoder: naive_decoder},
    ),
    Variant(
        "group norm, variance in two passes",
        "one more reading of every norm's input, of nine",
        (1.02, 1.03, 1.02, 1.02),
        replaced={nn.GroupNorm: two_pass_norm},
    ),
    Variant(
        "group norm by hand, with its own backward pass",
        "one multiplication and addition a number in place of four, and fewer sums backward; a GPU "
        "only saves what XLA did not fuse by itself",
        (0.97, 0.97, 0.98, 0.97),
        replaced={nn.GroupNorm: norm_by_hand},
    ),
    Variant(
        "channels first (NCHW)",
        "XLA lays arrays out itself; what is left are transpositions where it cannot",
        (1.05, 1.05, 1.00, 1.00),
        replaced={ResNet: channels_first},
    ),
    Variant(
        "jax.nn.dot_product_attention",
        "two queries: attention proper is below 1 % of the work",
        (1.00, 1.00, 1.00, 1.00),
        replaced={Attention: library_attention},
    ),
    Variant(
        "scan over transformer layers",
        "each layer's 21 M parameters are copied out of the stack and its gradients into it; the "
        "ResNet, which stays, is most of what is compiled",
        (1.03, 1.01, 1.01, 1.00),
        replaced={QueryTransformer: scanned},
        pack=stacked,
    ),
    Variant(
        "no donated buffers",
        "the new state takes memory of its own: fresh pages on a CPU, a pool on a GPU",
        (1.03, 1.01, 1.00, 1.00),
        donates=False,
    ),
    Variant(
        "4 steps in a dispatch",
        "saves what Python and the runtime do between steps, which the device does not wait for "
        "unless its own work is shorter",
        (1.00, 1.00, 1.00, 0.90),
        steps=4,
        too_slow=("cpu paper",),
    ),
    Variant(
        "all gradients before the optimiser",
        "found after the first measurements: a barrier, after which XLA need not keep a copy of "
        "parameters that it also updates in place",
        (0.95, 1.00, 0.99, 1.00),
        optimizer=after_all_gradients,
    ),
    Variant(
        "matching by scipy",
        "a call from the device to the host in every step",
        (1.00, 1.00, 1.02, 1.05),
        config={"matching.solver": "scipy"},
    ),
    Variant(
        "matching by optax",
        "a loop of small operations on the device",
        (1.00, 1.00, 1.00, 1.05),
        config={"matching.solver": "optax"},
    ),
    Variant(
        "matching by exhaustive search",
        "two sums and a comparison, without a call to the host",
        (1.00, 1.00, 0.98, 1.00),
        config={"matching.solver": "exhaustive"},
    ),
    Variant(
        "float32",
        "twice the bytes, and products at half the rate (TF32)",
        (0.60, 0.60, 2.00, 1.30),
        config={"precision": "float32"},
    ),
    Variant(
        "group norms that write float32",
        "their outputs are read and written in twice the bytes",
        (1.10, 1.10, 1.10, 1.05),
        replaced={nn.GroupNorm: float32_norm},
        where={"precision": "bfloat16"},
    ),
    Variant(
        "the decoder's activations computed twice",
        "its forward pass, a tenth of the step, once more",
        (1.10, 1.10, 1.10, 1.05),
        config={"train.remat_decoder": True},
    ),
    Variant(
        "the decoder's activations kept",
        "the opposite of the one above",
        (0.91, 0.91, 0.91, 0.95),
        config={"train.remat_decoder": False},
    ),
]
