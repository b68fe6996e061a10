"""What a training step must compute and move, layer by layer, and the time that takes at least.

    python experiments/step_speed/roofline.py

Counted, not measured. Useful work only: multiplications and additions of matrix products and
convolutions, forward and backward, nothing twice. Bytes are those of a step whose every kernel
reads its inputs from and writes its outputs to the device's memory once, where a compiler fuses
what works element by element into the kernel before or after.
"""

import argparse
import dataclasses
import itertools
import math
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from ml_collections import ConfigDict

from configs import paper

# NVIDIA's data sheet of the H200 (SXM): dense bfloat16, and memory.
PEAK_FLOPS, PEAK_BYTES = 989e12, 4.8e12
# What a large product of matrices and a large copy reach on one.
REACHED_FLOPS, REACHED_BYTES = 790e12, 4.3e12


@dataclasses.dataclass(frozen=True)
class Work:
    """What one layer takes in a training step.

    Attributes:
      group: the row of the table it belongs to.
      flops: floating-point operations of products and convolutions.
      bytes: moved between the device and its memory.
    """

    group: str
    flops: float
    bytes: float

    def seconds(self, flops_rate: float, bytes_rate: float) -> float:
        """The least time: computing and moving may overlap completely."""
        return max(self.flops / flops_rate, self.bytes / bytes_rate)


def main() -> None:
    """Prints the table for the paper's config."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=64)
    print(table(paper.get_config(), parser.parse_args().batch))


def table(config: ConfigDict, batch: int) -> str:
    """A row for each group, and their sum, as markdown."""
    works = list(count(config, batch))
    rows = [
        f"training step of the paper's config, batch {batch}, bfloat16, on an H200: predicted\n",
        "| | TFLOP | GB | ms at 989 TFLOP/s | ms at 4.8 TB/s | the greater "
        "| at 790 TFLOP/s, 4.3 TB/s |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    groups = [
        (name, list(members)) for name, members in itertools.groupby(works, lambda w: w.group)
    ]
    for name, members in [*groups, ("sum", works)]:
        flops, moved = sum(w.flops for w in members), sum(w.bytes for w in members)
        floor = sum(w.seconds(PEAK_FLOPS, PEAK_BYTES) for w in members)
        reached = sum(w.seconds(REACHED_FLOPS, REACHED_BYTES) for w in members)
        rows.append(
            f"| {name} | {flops / 1e12:.2f} | {moved / 1e9:.1f} | {1e3 * flops / PEAK_FLOPS:.2f} "
            f"| {1e3 * moved / PEAK_BYTES:.2f} | {1e3 * floor:.2f} | {1e3 * reached:.2f} |"
        )
    return "\n".join(rows)


def step_flops(config: ConfigDict, batch: int) -> float:
    """Useful floating-point operations of a training step."""
    return sum(work.flops for work in count(config, batch))


def count(config: ConfigDict, batch: int, size: int = 2) -> Iterator[Work]:
    """The work of each layer; ``size`` is that of a number in bytes."""
    model, samples = config.model, round(config.data.crop_seconds * config.data.sample_rate)
    items = batch * config.data.sources if model.slots == 1 else batch
    shape = (config.stft.window // 2, math.ceil(samples / config.stft.hop))
    parameters = 0

    def product(group: str, rows: int, inputs: int, outputs: int, passes: int = 3) -> Work:
        """A layer of ``rows`` outputs: forward, to its weights, and (passes 3) to its inputs."""
        nonlocal parameters
        weights = inputs * outputs
        parameters += weights
        moved = rows * (inputs + outputs) + weights
        return Work(group, passes * 2 * rows * weights, passes * size * moved)

    def convolution(
        group: str, before: tuple[int, int], kernel: int, channels: int, width: int, stride: int,
        passes: int = 3,
    ) -> Work:  # fmt: skip
        nonlocal parameters
        after = reduced(before, stride)
        weights = kernel**2 * channels * width
        parameters += weights
        flops = 2 * items * math.prod(after) * weights
        moved = items * (math.prod(before) * channels + math.prod(after) * width) + weights
        return Work(group, passes * flops, passes * size * moved)

    def norm(group: str, shape: tuple[int, int], width: int, *, joins: bool = False) -> Work:
        """Group norm and ReLU.

        Forward it reads twice (statistics, output) and writes once, backward it reads input and
        gradient twice and writes once. Where it joins the shortcut, it also reads that, and
        backward the output (for the ReLU) and the gradient that comes past the block, and writes
        the shortcut's gradient.
        """
        nonlocal parameters
        parameters += 2 * width
        return Work(group, 0, (8 + 4 * joins) * size * items * math.prod(shape) * width)

    encoder = model.encoder
    yield convolution("root", shape, 3, 1, encoder.root_width, encoder.root_stride, passes=2)
    shape, channels = reduced(shape, encoder.root_stride), encoder.root_width
    yield norm("root norm", shape, channels)
    stages = zip(encoder.blocks, encoder.widths, encoder.strides, strict=True)
    for stage, (blocks, width, first) in enumerate(stages, start=1):
        convolutions, norms = [], []
        name = f"stage {stage} convolutions"
        for block in range(blocks):
            stride = first if block == 0 else 1
            if channels != width or stride != 1:
                convolutions.append(convolution(name, shape, 1, channels, width, stride))
                norms.append(norm(f"stage {stage} norms", reduced(shape, stride), width))
            convolutions.append(convolution(name, shape, 3, channels, width, stride))
            shape, channels = reduced(shape, stride), width
            convolutions.append(convolution(name, shape, 3, width, width, 1))
            norms.append(norm(f"stage {stage} norms", shape, width))
            norms.append(norm(f"stage {stage} norms", shape, width, joins=True))
        yield from (*convolutions, *norms)

    module, cells = model.slot_module, math.prod(shape)
    name, slot_rows, grid_rows = "slot module", items * model.slots, items * cells
    code = 2 * (module.frequency_octaves + module.time_octaves)
    yield product(name, cells, code, channels, passes=2)
    for _ in range(module.layers):
        for memory, rows, keys in (
            (module.slot_size, slot_rows, model.slots),
            (channels, grid_rows, cells),
        ):
            yield product(name, slot_rows, module.slot_size, module.width)
            yield product(name, rows, memory, module.width)
            yield product(name, rows, memory, module.width)
            pairs = slot_rows * keys
            # Two products, queries by keys and weights by values, and four backward; keys and
            # values are read twice, and their gradients written.
            yield Work(name, 12 * pairs * module.width, 6 * size * rows * module.width)
            yield product(name, slot_rows, module.width, module.slot_size)
        yield product(name, slot_rows, module.slot_size, module.mlp)
        yield product(name, slot_rows, module.mlp, module.slot_size)

    decoder, pixels = model.decoder, config.stft.window // 2 * math.ceil(samples / config.stft.hop)
    name, rows = "decoder, first layer", slot_rows * pixels
    code = 2 * (decoder.frequency_octaves + decoder.time_octaves)
    yield product(name, slot_rows, module.slot_size, decoder.width)
    yield product(name, pixels, code, decoder.width, passes=2)
    # The sum of the two terms is written, and its gradient read.
    yield Work(name, 0, 2 * size * rows * decoder.width)
    for _ in range(decoder.layers - 1):
        name = "decoder, hidden layers"
        yield product(name, rows, decoder.width, decoder.width)
        # Backward the ReLU's output is read for its mask, and the gradient for the bias.
        yield Work(name, 0, 2 * size * rows * decoder.width)
    yield product("decoder, output", rows, decoder.width, 1)

    # Adam reads parameter, gradient and two moments and writes all but the gradient, in float32;
    # the gradient is read once more for its norm; the parameters are rounded for the next step.
    yield Work("parameters", 0, parameters * (7 * 4 + 4 + (6 if size == 2 else 0)))


def reduced(shape: tuple[int, int], stride: int) -> tuple[int, int]:
    """The size of a grid after a stride."""
    return math.ceil(shape[0] / stride), math.ceil(shape[1] / stride)


if __name__ == "__main__":
    main()
