"""The same step in PyTorch, written for speed; parameters bear the names of ours.

Channels-last convolutions, ``scaled_dot_product_attention``, ``torch.compile``, Adam in one fused
kernel, bfloat16 by autocast. As a program it is the other side of ``run.py``: it prints loss and
gradient norm of its first step, and then the time of as many as each line of its input asks for.
"""

import functools
import itertools
import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

Params = Mapping[str, Tensor]


def read_config(text: str) -> SimpleNamespace:
    """Returns the config in a JSON text."""
    return json.loads(text, object_hook=lambda fields: SimpleNamespace(**fields))


def layout(name: str, array: np.ndarray) -> np.ndarray:
    """Returns a parameter of the Flax model, or its gradient, with PyTorch's order of axes."""
    *_, module, leaf = name.split("/")
    if leaf != "kernel":
        return array.ravel() if leaf == "bias" else array
    if array.ndim == 4:
        return array.transpose(3, 2, 0, 1)
    return array.reshape((-1, array.shape[-1]) if module == "out" else (len(array), -1)).T


def load(arrays: Mapping[str, np.ndarray], device: str = "cpu") -> dict[str, Tensor]:
    """Returns parameters to train from those of the Flax model, by the same names."""
    params = {}
    for name, array in arrays.items():
        form = torch.channels_last if array.ndim == 4 else torch.contiguous_format
        value = torch.tensor(layout(name, array), device=device)
        params[name] = value.contiguous(memory_format=form).requires_grad_()
    return params


def conv(p: Params, name: str, x: Tensor, stride: int = 1) -> Tensor:
    """Returns a convolution that pads as Flax's SAME does: the odd row of padding at the end."""
    kernel, sides = p[f"{name}/kernel"], []
    if stride == 1:
        return F.conv2d(x, kernel, padding="same")
    for size in reversed(x.shape[2:]):
        total = max((math.ceil(size / stride) - 1) * stride + kernel.shape[-1] - size, 0)
        sides += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, sides) if any(sides) else x, kernel, stride=stride)


def dense(p: Params, name: str, x: Tensor) -> Tensor:
    """Returns a linear layer's output."""
    return F.linear(x, p[f"{name}/kernel"], p.get(f"{name}/bias"))


def norm(p: Params, name: str, x: Tensor, groups: int = 0) -> Tensor:
    """Returns a layer norm, or a group norm in its input's type, with Flax's epsilon."""
    scale, bias = p[f"{name}/scale"], p[f"{name}/bias"]
    if groups:  # which autocast would make float32
        return F.group_norm(x, groups, scale, bias, 1e-6).type_as(x)
    return F.layer_norm(x, x.shape[-1:], scale, bias, 1e-6)


def attend(p: Params, name: str, queries: Tensor, memory: Tensor, heads: int) -> Tensor:
    """Returns multi-head attention with one variable as keys and values."""
    q, k, v = (
        dense(p, f"{name}/{part}", x).unflatten(-1, (heads, -1)).transpose(1, 2)
        for part, x in (("query", queries), ("key", memory), ("value", memory))
    )
    mixed = F.scaled_dot_product_attention(q, k, v)
    return dense(p, f"{name}/out", mixed.transpose(1, 2).flatten(2))


def fourier_features(like: Tensor, unit: float, config: SimpleNamespace) -> Tensor:
    """Returns codes of the cells of (..., frequency, time), whose columns are ``unit`` wide."""
    (rows, columns), codes = like.shape[-2:], []
    octaves = (config.frequency_octaves, config.time_octaves)
    for cells, width, n in zip((rows, columns), (1 / rows, unit), octaves, strict=True):
        centres = (torch.arange(cells, device=like.device) + 0.5) * width
        phases = math.pi * centres[:, None] * 2.0 ** torch.arange(n, device=like.device)
        codes.append(torch.cat([phases.sin(), phases.cos()], -1))
    by_row, by_column = codes[0][:, None], codes[1][None]
    return torch.cat([by_row.expand(-1, columns, -1), by_column.expand(rows, -1, -1)], -1)


def encode(p: Params, config: SimpleNamespace, x: Tensor) -> Tensor:
    """Returns the ResNet's (batch, channel, frequency, time) of (batch, frequency, time)."""
    group_norm = functools.partial(norm, p, groups=config.groups)
    x = x[:, None].contiguous(memory_format=torch.channels_last)
    x = F.relu(group_norm("encoder/root_norm", conv(p, "encoder/root", x, config.root_stride)))
    for stage, (blocks, first) in enumerate(zip(config.blocks, config.strides, strict=True), 1):
        for block in range(1, blocks + 1):
            name, stride = f"encoder/stage{stage}_block{block}", first if block == 1 else 1
            y = F.relu(group_norm(f"{name}/norm1", conv(p, f"{name}/conv1", x, stride)))
            y = group_norm(f"{name}/norm2", conv(p, f"{name}/conv2", y))
            if f"{name}/shortcut/kernel" in p:
                x = group_norm(f"{name}/shortcut_norm", conv(p, f"{name}/shortcut", x, stride))
            x = F.relu(x + y)
    return x


def make_slots(p: Params, config: SimpleNamespace, grid: Tensor, unit: float) -> Tensor:
    """Returns the transformer's (batch, slot, embedding) of (batch, channel, frequency, time)."""
    position = dense(p, "slot_module/position", fourier_features(grid, unit, config))
    memory = (grid.permute(0, 2, 3, 1) + position).flatten(1, 2)
    memory = norm(p, "slot_module/memory_norm", memory)
    x = p["slot_module/queries"].expand(len(memory), -1, -1)
    for layer in range(1, config.layers + 1):
        name = f"slot_module/layer{layer}"
        y = norm(p, f"{name}_self_norm", x)
        x = x + attend(p, f"{name}_self", y, y, config.heads)
        y = norm(p, f"{name}_cross_norm", x)
        x = x + attend(p, f"{name}_cross", y, memory, config.heads)
        y = F.relu(dense(p, f"{name}_mlp_in", norm(p, f"{name}_mlp_norm", x)))
        x = x + dense(p, f"{name}_mlp_out", y)
    return norm(p, "slot_module/norm", x)


def decode(p: Params, config: SimpleNamespace, slots: Tensor, like: Tensor) -> Tensor:
    """Returns (batch, slot, frequency, time), with a factorised first layer as ours."""
    position = fourier_features(like, 1 / like.shape[-1], config)
    x = dense(p, "decoder/slot", slots)[:, :, None, None] + dense(p, "decoder/position", position)
    x = F.relu(x)
    for layer in range(2, config.layers + 1):
        x = F.relu(dense(p, f"decoder/layer{layer}", x))
    return dense(p, "decoder/output", x)[..., 0]


@torch.no_grad()
def magnitudes(stft: SimpleNamespace, sources: Tensor) -> tuple[Tensor, Tensor]:
    """Returns compressed magnitudes of mixtures and of their (batch, source, sample)."""
    frames = math.ceil(sources.shape[-1] / stft.hop)
    front = stft.window // 2 if stft.edges == "centred" else 0
    length = (frames - 1) * stft.hop + stft.window
    padded = F.pad(sources, (front, max(length - front - sources.shape[-1], 0)))[..., :length]
    window = torch.hann_window(stft.window, device=sources.device)
    spectrograms = torch.stft(
        padded.flatten(0, 1),
        stft.window,
        stft.hop,
        window=window,
        center=False,
        return_complex=True,
    )[:, :-1].unflatten(0, sources.shape[:2])
    return spectrograms.sum(1).abs() ** stft.power, spectrograms.abs() ** stft.power


def loss(p: Params, config: SimpleNamespace, mixture: Tensor, targets: Tensor) -> Tensor:
    """Returns the mean squared error of the best permutations."""
    model, n = config.model, config.model.slots
    grid = encode(p, model.encoder, mixture)
    stride = model.encoder.root_stride * math.prod(model.encoder.strides)
    slots = make_slots(p, model.slot_module, grid, stride / mixture.shape[-1])
    estimates = decode(p, model.decoder, slots, mixture).float()
    costs = (targets[:, :, None] - estimates[:, None]).square().mean((-1, -2))
    orders = torch.tensor(list(itertools.permutations(range(n))), device=costs.device)
    totals = costs[:, torch.arange(n, device=costs.device), orders].sum(-1)
    return totals.min(-1).values.mean() / n


def main() -> None:
    """Answers ``run.py``."""
    folder, device = Path(sys.argv[1]), sys.argv[2]
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")  # as JAX multiplies float32 by default
    config = read_config((folder / "config.json").read_text())
    sources = torch.from_numpy(np.load(folder / "sources.npy")).to(device)
    params = load(dict(np.load(folder / "parameters.npz")), device)
    compiled = torch.compile(functools.partial(loss, config=config))
    optimizer = torch.optim.Adam(params.values(), lr=1e-6, fused=True)  # ours is as slow at first

    def step() -> tuple[Tensor, Tensor]:
        mixture, targets = magnitudes(config.stft, sources)  # complex numbers stay uncompiled
        with torch.autocast(device, torch.bfloat16, enabled=config.precision == "bfloat16"):
            value = compiled(params, mixture=mixture, targets=targets)
        value.backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in params.values()])
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return value.detach(), norm

    print(*(value.item() for value in step()), flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        for _ in range(int(line)):
            value, _ = step()
        value.item()  # waits for the device
        print((time.perf_counter() - started) / int(line), flush=True)


if __name__ == "__main__":
    main()
