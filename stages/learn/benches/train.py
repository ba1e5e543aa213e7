"""Training steps on the processor, beside PyTorch from the same weights, on the same images, with as many threads.

    pip install torch numpy safetensors
    python stages/learn/benches/train.py [--side 32] [--steps 6] [--runs 3] [BACKBONE:BATCH ...]

BACKBONE is `SmallCnn` or `ResNet18`; by default SmallCnn:256, SmallCnn:64, ResNet18:64. A step is forward, backward and SGD. The two take turns, and
the median of all steps but the first of each run counts. PyTorch's is the quicker of its two layouts of images. Losses of the steps
must be the same but for rounding, or it fails.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

RON = {"SmallCnn": "SmallCnn()", "ResNet18": "ResNet18(stem: Cifar)"}


def pair(net, conv, bn, shape, kernel, stride):
    """Convolution and batch norm under these names."""
    net.add_module(conv, nn.Conv2d(*shape, kernel, stride, kernel // 2, bias=False))
    net.add_module(bn, nn.BatchNorm2d(shape[1]))


class SmallCnn(nn.Module):
    def __init__(self):
        super().__init__()
        for at, shape in enumerate([(3, 32), (32, 64), (64, 128)], 1):
            pair(self, f"conv{at}", f"bn{at}", shape, 3, 2)

    def forward(self, x):
        for at in "123":
            x = F.relu(getattr(self, f"bn{at}")(getattr(self, f"conv{at}")(x)))
        return x.mean((2, 3))


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        pair(self, "conv1", "bn1", (inputs, outputs), 3, stride)
        pair(self, "conv2", "bn2", (outputs, outputs), 3, 1)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (self.downsample(x) if self.downsample else x))


class ResNet18(nn.Module):
    def __init__(self):
        super().__init__()
        pair(self, "conv1", "bn1", (3, 64), 3, 1)
        inputs = 64
        for layer, outputs in enumerate([64, 128, 256, 512], 1):
            first = Block(inputs, outputs, 1 if layer == 1 else 2)
            self.add_module(f"layer{layer}", nn.Sequential(first, Block(outputs, outputs, 1)))
            inputs = outputs

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        for layer in "1234":
            x = getattr(self, f"layer{layer}")(x)
        return x.mean((2, 3))


def of_torch(name, images, weights, layout):
    net = {"SmallCnn": SmallCnn, "ResNet18": ResNet18}[name]()
    net.load_state_dict(weights)
    net, images = net.to(memory_format=layout).train(), images.to(memory_format=layout)
    sgd = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    seconds, losses = [], []
    for _ in range(of.steps):
        clock = time.perf_counter()
        loss = net(images).square().mean()
        losses.append(loss.item())
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        seconds.append(time.perf_counter() - clock)
    return seconds, losses


def compare(name, batch):
    command = ["cargo", "bench", "--quiet", "--profile", "dev", "--workspace", "--bench", "train", "--"]
    steps = {"ablate": [], "torch": [], "torch, channels last": []}
    with tempfile.TemporaryDirectory() as folder:
        arguments = [RON[name], str(batch), str(of.side), str(of.steps), folder]
        for _ in range(of.runs):
            ran = subprocess.run([*command, *arguments], check=True, capture_output=True, text=True)
            ours = json.loads(ran.stdout.splitlines()[-1])
            steps["ablate"] += ours["seconds"][1:]
            values = np.fromfile(Path(folder, "images.f32"), "<f4").reshape(batch, 3, of.side, of.side)
            weights = load_file(Path(folder, "weights.safetensors"))
            for key, layout in {"torch": torch.contiguous_format, "torch, channels last": torch.channels_last}.items():
                seconds, losses = of_torch(name, torch.from_numpy(values), weights, layout)
                np.testing.assert_allclose(ours["losses"], losses, rtol=1e-3)
                steps[key] += seconds[1:]
    rates = {key: batch / statistics.median(seconds) for key, seconds in steps.items()}
    ratio = max(rates["torch"], rates["torch, channels last"]) / rates["ablate"]
    shown = ", ".join(f"{key} {rate:.0f}" for key, rate in rates.items())
    print(f"{name}, {of.side} pixels, batch {batch}: images/s {shown}; PyTorch is {ratio:.2f} times as fast", flush=True)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
for option, value in {"side": 32, "steps": 6, "runs": 3}.items():
    parser.add_argument(f"--{option}", type=int, default=value)
parser.add_argument("which", nargs="*", default=["SmallCnn:256", "SmallCnn:64", "ResNet18:64"])
of = parser.parse_args()
torch.set_num_threads(len(os.sched_getaffinity(0)))
print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
for which in of.which:
    compare(which.split(":")[0], int(which.split(":")[1]))
