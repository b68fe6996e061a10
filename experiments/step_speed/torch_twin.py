"""The same network, loss and optimiser in PyTorch, written for speed.

Convolutions in channels-last memory, attention by ``scaled_dot_product_attention``, forward and
backward through ``torch.compile``, Adam in one fused kernel, and bfloat16 by autocast where the
config asks for it. Modules bear the names of ours, so our parameters load into it and both compute
the same loss.

As a program it is the other side of ``run.py``: it takes a folder with a task, prints the loss and
gradient norm of its first step, and then times as many steps as each line of its input asks for.
"""

import argparse
import itertools
import json
import math
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

EPSILON = 1e-6  # of Flax's norms


class Conv(nn.Conv2d):
    """A convolution without bias that pads as Flax's SAME does: for an even size and stride 2, one
    row more at the end than at the beginning.
    """

    def __init__(self, channels: int, width: int, kernel: int, stride: int):
        super().__init__(channels, width, kernel, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, frequency, time) at the stride."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        (top, bottom), (left, right) = (same(size, kernel, stride) for size in x.shape[2:])
        if (top, left) == (bottom, right):
            return F.conv2d(x, self.weight, stride=self.stride, padding=(top, left))
        return F.conv2d(F.pad(x, (left, right, top, bottom)), self.weight, stride=self.stride)


def same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Padding before and after an axis."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class GroupNorm(nn.GroupNorm):
    """Group norm whose output is as precise as its input; autocast would make it float32."""

    def __init__(self, groups: int, channels: int):
        super().__init__(groups, channels, eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return super().forward(x).type_as(x)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut."""

    def __init__(self, channels: int, width: int, stride: int, groups: int):
        super().__init__()
        self.projects = channels != width or stride != 1
        if self.projects:
            self.shortcut = Conv(channels, width, 1, stride)
            self.shortcut_norm = GroupNorm(groups, width)
        self.conv1 = Conv(channels, width, 3, stride)
        self.norm1 = GroupNorm(groups, width)
        self.conv2 = Conv(width, width, 3, 1)
        self.norm2 = GroupNorm(groups, width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, width, frequency, time) at the stride."""
        shortcut = self.shortcut_norm(self.shortcut(x)) if self.projects else x
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(shortcut + self.norm2(self.conv2(y)))


class ResNet(nn.Module):
    """The encoder."""

    def __init__(self, config: SimpleNamespace):
        super().__init__()
        self.root = Conv(1, config.root_width, 3, config.root_stride)
        self.root_norm = GroupNorm(config.groups, config.root_width)
        self.blocks = []
        channels = config.root_width
        stages = zip(config.blocks, config.widths, config.strides, strict=True)
        for stage, (blocks, width, stride) in enumerate(stages, start=1):
            for block in range(blocks):
                name = f"stage{stage}_block{block + 1}"
                first = stride if block == 0 else 1
                self.add_module(name, BasicBlock(channels, width, first, config.groups))
                self.blocks.append(name)
                channels = width
        self.channels = channels

    def forward(self, spectrogram: Tensor) -> Tensor:
        """(batch, frequency, time) to (batch, channel, frequency, time)."""
        x = spectrogram[:, None].contiguous(memory_format=torch.channels_last)
        x = F.relu(self.root_norm(self.root(x)))
        for name in self.blocks:
            x = self.get_submodule(name)(x)
        return x


def fourier_features(size: tuple[int, int], octaves: tuple[int, int]) -> Tensor:
    """(frequency, time, feature) sines and cosines of octaves on each axis."""
    codes = []
    for axis in (0, 1):
        centres = (torch.arange(size[axis]) + 0.5) / size[axis]
        phases = math.pi * centres[:, None] * 2.0 ** torch.arange(octaves[axis])
        code = torch.cat([phases.sin(), phases.cos()], -1).unsqueeze(1 - axis)
        codes.append(code.expand(*size, -1))
    return torch.cat(codes, -1)


class Attention(nn.Module):
    """Multi-head attention with one variable as keys and values."""

    def __init__(self, features: int, memory_features: int, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(features, width)
        self.key = nn.Linear(memory_features, width)
        self.value = nn.Linear(memory_features, width)
        self.out = nn.Linear(width, features)

    def forward(self, queries: Tensor, memory: Tensor) -> Tensor:
        """(batch, query, features)."""
        q, k, v = (
            linear(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for linear, x in ((self.query, queries), (self.key, memory), (self.value, memory))
        )
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class QueryTransformer(nn.Module):
    """The slot module."""

    def __init__(self, config: SimpleNamespace, slots: int, channels: int, grid: tuple[int, int]):
        super().__init__()
        self.layers, size = config.layers, config.slot_size
        code = fourier_features(grid, (config.frequency_octaves, config.time_octaves))
        self.register_buffer("code", code)
        self.position = nn.Linear(code.shape[-1], channels)
        self.memory_norm = nn.LayerNorm(channels, eps=EPSILON)
        self.queries = nn.Parameter(torch.randn(slots, size))
        for layer in range(1, self.layers + 1):
            heads = (config.width, config.heads)
            parts = {
                "self_norm": nn.LayerNorm(size, eps=EPSILON),
                "self": Attention(size, size, *heads),
                "cross_norm": nn.LayerNorm(size, eps=EPSILON),
                "cross": Attention(size, channels, *heads),
                "mlp_norm": nn.LayerNorm(size, eps=EPSILON),
                "mlp_in": nn.Linear(size, config.mlp),
                "mlp_out": nn.Linear(config.mlp, size),
            }
            for name, part in parts.items():
                self.add_module(f"layer{layer}_{name}", part)
        self.norm = nn.LayerNorm(size, eps=EPSILON)

    def forward(self, grid: Tensor) -> Tensor:
        """(batch, channel, frequency, time) to (batch, slot, embedding)."""
        grid = grid.permute(0, 2, 3, 1) + self.position(self.code)
        memory = self.memory_norm(grid.flatten(1, 2))
        x = self.queries.expand(len(memory), -1, -1)
        for layer in range(1, self.layers + 1):

            def part(name: str, *inputs: Tensor, layer: int = layer) -> Tensor:
                return self.get_submodule(f"layer{layer}_{name}")(*inputs)

            normed = part("self_norm", x)
            x = x + part("self", normed, normed)
            x = x + part("cross", part("cross_norm", x), memory)
            x = x + part("mlp_out", F.relu(part("mlp_in", part("mlp_norm", x))))
        return self.norm(x)


class SpatialBroadcastDecoder(nn.Module):
    """The decoder, factorised as ours is."""

    def __init__(self, config: SimpleNamespace, slot_size: int, size: tuple[int, int]):
        super().__init__()
        self.layers = config.layers
        code = fourier_features(size, (config.frequency_octaves, config.time_octaves))
        self.register_buffer("code", code)
        self.slot = nn.Linear(slot_size, config.width, bias=False)
        self.position = nn.Linear(code.shape[-1], config.width)
        for layer in range(2, self.layers + 1):
            self.add_module(f"layer{layer}", nn.Linear(config.width, config.width))
        self.output = nn.Linear(config.width, 1)

    def forward(self, slots: Tensor) -> Tensor:
        """(batch, slot, embedding) to (batch, slot, frequency, time)."""
        x = F.relu(self.slot(slots)[:, :, None, None] + self.position(self.code))
        for layer in range(2, self.layers + 1):
            x = F.relu(self.get_submodule(f"layer{layer}")(x))
        return self.output(x)[..., 0]


class Twin(nn.Module):
    """Front end, network and loss of a config, for crops of one length."""

    def __init__(self, config: SimpleNamespace, samples: int):
        super().__init__()
        self.stft, self.slots, model = config.stft, config.model.slots, config.model
        self.frames = math.ceil(samples / self.stft.hop)
        size = (self.stft.window // 2, self.frames)
        strides = (model.encoder.root_stride, *model.encoder.strides)
        grid = size
        for stride in strides:
            grid = (math.ceil(grid[0] / stride), math.ceil(grid[1] / stride))
        self.register_buffer("window", torch.hann_window(self.stft.window))
        self.encoder = ResNet(model.encoder)
        self.slot_module = QueryTransformer(
            model.slot_module, self.slots, self.encoder.channels, grid
        )
        self.decoder = SpatialBroadcastDecoder(model.decoder, model.slot_module.slot_size, size)

    @torch.no_grad()
    def spectrograms(self, sources: Tensor) -> tuple[Tensor, Tensor]:
        """Waveforms (batch, source, sample) to compressed magnitudes: the mixture's and theirs.

        It has no parameters to learn, and the compiler leaves complex numbers alone: it stays out.
        """
        if self.slots == 1:
            sources = sources.reshape(-1, 1, sources.shape[-1])
        window, hop = self.stft.window, self.stft.hop
        front = window // 2 if self.stft.edges == "centred" else 0
        length = (self.frames - 1) * hop + window
        padded = F.pad(sources, (front, max(length - front - sources.shape[-1], 0)))[..., :length]
        found = torch.stft(
            padded.flatten(0, 1), window, hop, window=self.window, center=False, return_complex=True
        )
        found = found[:, :-1].unflatten(0, sources.shape[:2])
        return found.sum(1).abs() ** self.stft.power, found.abs() ** self.stft.power

    def forward(self, mixture: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error of the best permutation."""
        estimates = self.decoder(self.slot_module(self.encoder(mixture))).float()
        costs = (targets[:, :, None] - estimates[:, None]).square().mean((-1, -2))
        n = self.slots
        permutations = torch.tensor(list(itertools.permutations(range(n))), device=costs.device)
        totals = costs[:, torch.arange(n, device=costs.device), permutations].sum(-1)
        return totals.min(-1).values.mean() / n

    def load(self, parameters: dict[str, np.ndarray]) -> None:
        """Takes over our parameters, by names such as ``encoder/root/kernel``."""
        named = dict(self.named_parameters())
        for name, array in parameters.items():
            key, value = as_ours(self, name, array)
            named.pop(key).data.copy_(value)
        if named:
            raise ValueError(f"nothing was given for {', '.join(named)}.")


def as_ours(twin: Twin, name: str, array: np.ndarray) -> tuple[str, Tensor]:
    """The name and value here of a parameter, or gradient, of the Flax model."""
    path, _, leaf = name.rpartition("/")
    path = path.replace("/", ".")
    if leaf == "queries":
        return f"{path}.{leaf}", torch.tensor(array)
    module = twin.get_submodule(path)
    if isinstance(module, nn.Conv2d):
        array = array.transpose(3, 2, 0, 1)
    elif leaf == "kernel":
        array = array.reshape(module.in_features, module.out_features).T
    here = "bias" if leaf == "bias" else "weight"
    return f"{path}.{here}", torch.tensor(array).reshape(getattr(module, here).shape)


class Training:
    """A compiled training step of the twin."""

    def __init__(self, config: SimpleNamespace, twin: Twin, device: str):
        self.precision, self.device = getattr(config, "precision", "float32"), device
        self.twin = twin.to(device, memory_format=torch.channels_last)
        self.loss = torch.compile(self.twin)
        self.optimizer = torch.optim.Adam(
            twin.parameters(), lr=config.train.learning_rate, fused=True
        )
        warmup = config.train.warmup_steps
        decay = max(config.train.steps, warmup + 1) - warmup

        def schedule(step: int) -> float:
            if step < warmup:
                return step / warmup
            return 0.5 * (1 + math.cos(math.pi * min((step - warmup) / decay, 1)))

        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, schedule)

    def step(self, sources: Tensor) -> tuple[Tensor, Tensor]:
        """One step: the loss and the global norm of its gradient."""
        mixture, targets = self.twin.spectrograms(sources)
        reduced = self.precision == "bfloat16"
        with torch.autocast(self.device, torch.bfloat16, enabled=reduced):
            loss = self.loss(mixture, targets)
        loss.backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.twin.parameters()])
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach(), norm


def main() -> None:
    """Answers ``run.py``."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="config.json, parameters.npz, sources.npy")
    parser.add_argument("device", choices=["cpu", "cuda"])
    flags = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")  # as JAX multiplies float32 by default
    text = (flags.folder / "config.json").read_text()
    config = json.loads(text, object_hook=lambda fields: SimpleNamespace(**fields))
    sources = torch.from_numpy(np.load(flags.folder / "sources.npy")).to(flags.device)
    twin = Twin(config, sources.shape[-1])
    twin.load(dict(np.load(flags.folder / "parameters.npz")))
    training = Training(config, twin, flags.device)

    started = time.perf_counter()
    loss, norm = (value.item() for value in training.step(sources))
    print(loss, norm, time.perf_counter() - started, flush=True)
    while steps := int(input()):
        started = time.perf_counter()
        for _ in range(steps):
            loss, _ = training.step(sources)
        loss.item()  # waits for the device
        print((time.perf_counter() - started) / steps, flush=True)


if __name__ == "__main__":
    main()
