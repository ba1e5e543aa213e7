"""GCC on CIFAR-10 in PyTorch, as pipelines/gcc/end2end.ron has it: speed and result to compare with.

    python3 tests/gcc_torch.py FOLDER EPOCHS [--device cpu] [--limit N]

FOLDER holds CIFAR-10's Python batches, or Parquet files of the Hugging Face hub (these need pyarrow and Pillow). Train and test
images are taken together; graph and schedule are scaled to EPOCHS as tests/gpu.sh scales them.

Float32, not compiled. Images stay on the device, and the views of a step are drawn there at once, so that no loader limits the
speed; unlike Pillow's, their colours are not rounded to bytes. The loss is read at every step, as ablate does.

Images a second are of each phase without its first epoch; in those of the graph phase is the making of graphs.
Exit status: 0 done, 1 a failure, 2 this machine cannot run it.
"""

import argparse
import io
import math
import pickle
import sys
import time
from pathlib import Path


def cannot(reason):
    print(f"gcc_torch.py: {reason}", file=sys.stderr)
    sys.exit(2)


try:
    import numpy as np
    import torch
    import torch.nn.functional as F
    from torch import nn
except ImportError as error:
    cannot(f"cannot import {error.name}: {error}")

BATCH, CLUSTERS, TAU = 256, 10, 0.1
NEIGHBOURS, SHOWN, HISTORY = 5, 3, 4
LR, FINAL_LR = 0.4, 0.0004
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def read_images(folder):
    """Bytes [N, 3, 32, 32] and labels [N]."""
    names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
    for place in (folder, folder / "cifar-10-batches-py"):
        if all((place / name).is_file() for name in names):
            parts = [pickle.loads((place / name).read_bytes(), encoding="bytes") for name in names]
            parts = [(np.reshape(part[b"data"], (-1, 3, 32, 32)), part[b"labels"]) for part in parts]
            break
    else:
        parts = [read_parquet(path) for path in sorted(folder.rglob("*.parquet"))]
    if not parts:
        cannot(f"{folder} holds neither CIFAR-10's Python batches nor Parquet files")
    images, labels = map(np.concatenate, zip(*parts))
    return torch.from_numpy(images), torch.from_numpy(labels).long()


def read_parquet(path):
    try:
        import pyarrow.parquet as pq
        from PIL import Image
    except ImportError as error:
        cannot(f"cannot import {error.name}, which Parquet files need: {error}")
    table = pq.read_table(path)
    cells = table["img" if "img" in table.column_names else "image"].to_pylist()
    images = (Image.open(io.BytesIO(cell["bytes"])).convert("RGB") for cell in cells)
    return np.stack([np.asarray(image).transpose(2, 0, 1) for image in images]), table["label"].to_numpy()


def random_view(images):
    return normalise(change_colours(crop_and_flip(images / 255)))


def normalise(x):
    mean, std = (torch.tensor(values, device=x.device).view(3, 1, 1) for values in (MEAN, STD))
    return (x - mean) / std


def uniform(low, high, *shape, device):
    return low + (high - low) * torch.rand(shape, device=device)


def crop_and_flip(x):
    """0.2 to 1 of the area at a ratio of 3/4 to 4/3, the first of ten tries that fits, or all; resized; half of them mirrored."""
    n, side, device = len(x), x.shape[-1], x.device
    area = side**2 * uniform(0.2, 1, n, 10, device=device)
    ratio = uniform(math.log(3 / 4), math.log(4 / 3), n, 10, device=device).exp()
    width, height = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (width <= side) & (height <= side)
    first = (fits * torch.arange(10, 0, -1, device=device)).argmax(1, keepdim=True)

    def source(sizes):
        """For each pixel of a view, its place in the image from -1 to 1. Nothing outside the crop counts; nothing shrinks."""
        size = torch.where(fits.any(1, keepdim=True), sizes.gather(1, first), side)
        offset = (torch.rand_like(size) * (side - size + 1)).floor()
        place = (torch.arange(side, device=device) + 0.5) * size / side - 0.5
        return (2 * (offset + place.clamp_min(0).minimum(size - 1)) + 1) / side - 1

    columns, rows = source(width), source(height)
    columns = torch.where(torch.rand(n, 1, device=device) < 0.5, columns.flip(1), columns)
    grid = torch.stack([columns[:, None].expand(n, side, side), rows[:, :, None].expand(n, side, side)], -1)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def change_colours(x):
    """Jitter with probability 0.8, each image in an order of its own; then grey with probability 0.2."""
    # Drawn on the processor, so that the rows of a change are known without waiting for the device.
    chosen = (torch.rand(len(x)) < 0.8).nonzero().squeeze(1)
    for turn in torch.rand(len(chosen), len(JITTER)).argsort(1).T:
        for number, change in enumerate(JITTER):
            rows = chosen[turn == number].to(x.device)
            x[rows] = change(x[rows])
    return torch.where(torch.rand(len(x), 1, 1, 1, device=x.device) < 0.2, luma(x), x)


def luma(x):
    return 0.299 * x[:, :1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:]


def blend(other, x):
    return (other + uniform(0.6, 1.4, len(x), 1, 1, 1, device=x.device) * (x - other)).clamp(0, 1)


def turn_hue(x):
    """By up to 0.1 of the circle of HSV."""
    high, which = x.max(1, keepdim=True)
    span = high - x.min(1, keepdim=True).values
    red, green, blue = ((high - x) / span.clamp_min(1e-8)).split(1, 1)
    sixths = torch.where(which == 0, blue - green, torch.where(which == 1, 2 + red - blue, 4 + green - red))
    sixths = sixths + 6 * uniform(-0.1, 0.1, len(x), 1, 1, 1, device=x.device)
    sector = (torch.tensor([5, 3, 1], device=x.device).view(3, 1, 1) + sixths) % 6
    return high - span * sector.minimum(4 - sector).clamp(0, 1)


# Brightness, contrast, saturation, hue.
JITTER = (
    lambda x: blend(torch.zeros_like(x), x),
    lambda x: blend(luma(x).mean((2, 3), keepdim=True), x),
    lambda x: blend(luma(x), x),
    turn_hue,
)


def conv(channels, width, kernel, stride):
    layer = nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(layer, nn.BatchNorm2d(width))


class Block(nn.Module):
    def __init__(self, channels, width, stride):
        super().__init__()
        self.one, self.two = conv(channels, width, 3, stride), conv(width, width, 3, 1)
        self.shortcut = conv(channels, width, 1, stride) if channels != width else nn.Identity()

    def forward(self, x):
        return F.relu(self.two(F.relu(self.one(x))) + self.shortcut(x))


class Network(nn.Module):
    """A ResNet-18 for images of 32 pixels, with a head for the contrast and one for the clusters."""

    def __init__(self):
        super().__init__()
        blocks = [conv(3, 64, 3, 1), nn.ReLU()]
        for channels, width, stride in ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)):
            blocks += [Block(channels, width, stride), Block(width, width, 1)]
        self.features = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.contrast = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 128))
        self.cluster = nn.Linear(512, CLUSTERS)

    def project(self, h):
        return F.normalize(self.contrast(h))


def pretext_loss(network, images, rows):
    """Of images before there is a graph; also z of their second views."""
    z, z_prime = network.project(network.features(random_view(images[rows.repeat(2)]))).chunk(2)
    logits = z @ torch.cat([z, z_prime]).T / TAU
    return 2 * F.cross_entropy(logits, torch.arange(len(z), 2 * len(z), device=z.device)), z_prime


def graph_loss(network, images, rows, lists, weight):
    """Of images over the graph; also z of their second views. Each group of neighbours is a batch of its own to the batch norms."""
    listed = lists[rows, :SHOWN].T
    drawn = lists[rows, torch.randint(lists.shape[1], rows.shape, device=rows.device)]
    *shown, random, first, second = random_view(images[torch.cat([*listed, drawn, rows, rows])]).split(len(rows))
    neighbours = [network.project(network.features(view)) for view in shown]
    h = network.features(torch.cat([first, second]))
    z, z_prime = network.project(h).chunk(2)
    o = network.cluster(h[: len(rows)]).softmax(1)
    r = network.cluster(network.features(random)).softmax(1)
    agc = F.cross_entropy(F.normalize(o.T) @ F.normalize(r.T).T, torch.arange(CLUSTERS, device=o.device))
    pi = o.mean(0)
    entropy = math.log(CLUSTERS) + (pi * pi.clamp_min(1e-38).log()).sum()
    return 2 * rgc(z, z_prime, neighbours, weight[listed]) + agc + 2 * entropy, z_prime


def rgc(z, z_prime, neighbours, weights):
    """Of z of two views [B, D] and of the neighbours shown, whose weights [T, B] count in the exponent and outside it."""
    columns = torch.cat([z, z_prime, *(w[:, None] * n for w, n in zip(weights, neighbours))])
    logits = (z @ columns.T / TAU).view(len(z), -1, len(z))
    omega = torch.cat([torch.ones_like(weights[:1]), weights])
    pull = (logits.diagonal(dim1=0, dim2=2)[1:] + omega.log()).logsumexp(0)
    positive = torch.eye(len(z), dtype=torch.bool, device=z.device)[:, None].repeat(1, logits.shape[1], 1)
    positive[:, 0] = False
    return (logits.masked_fill(positive, -math.inf).flatten(1).logsumexp(1) - pull).mean()


def make_graph(means):
    """Of mean features [N, D]: whom each image lists [N, k + 1], itself as a rule, and its weight as a neighbour [N]."""
    n = len(means)
    lists = torch.cat([(block @ means.T).topk(NEIGHBOURS + 1).indices for block in means.split(2048)])
    lister, listed = torch.arange(n, device=means.device).repeat_interleave(NEIGHBOURS + 1), lists.flatten()
    joined = torch.cat([lister * n + listed, listed * n + lister]).unique()
    return lists, (3 / torch.bincount(joined // n, minlength=n)).sqrt()


def train(network, images, epochs):
    """The seconds of the epochs of each phase."""
    n, device = len(images), images.device
    # Of 1000 epochs, counted from 0, the first graph is made after epoch 50, and one after every fifth from there.
    start, every = epochs // 20, math.ceil(5 * epochs / 1000)
    optimiser = torch.optim.SGD(network.parameters(), lr=LR, momentum=0.9, weight_decay=1e-4)
    history = torch.zeros(HISTORY, n, 128, device=device)
    seconds, graph = {"pretext": [], "graph": []}, None
    for epoch in range(epochs):
        began = time.perf_counter()
        if epoch > start and (epoch - 1 - start) % every == 0:
            graph = make_graph(history[:epoch].mean(0))
        optimiser.param_groups[0]["lr"] = FINAL_LR + (LR - FINAL_LR) * (1 + math.cos(math.pi * epoch / epochs)) / 2
        for rows in torch.randperm(n, device=device).split(BATCH):
            loss, z_prime = graph_loss(network, images, rows, *graph) if graph else pretext_loss(network, images, rows)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            history[epoch % HISTORY, rows] = z_prime.detach()
            value = loss.item()
            if not math.isfinite(value):
                sys.exit(f"gcc_torch.py: the loss became {value} in epoch {epoch + 1}")
        spent = time.perf_counter() - began
        seconds["graph" if graph else "pretext"].append(spent)
        if epoch % math.ceil(epochs / 20) == 0:
            print(f"epoch {epoch + 1} of {epochs}, loss {value:.4f}, {n / spent:.0f} images/s", flush=True)
    return seconds


@torch.no_grad()
def assign(network, images):
    """The cluster of each image, resized to 40 pixels of which the central 32 are shown."""
    network.eval()
    resized = (F.interpolate(part / 255, size=40, mode="bilinear") for part in images.split(1000))
    views = (normalise(part[..., 4:36, 4:36]) for part in resized)
    return torch.cat([network.cluster(network.features(view)).argmax(1) for view in views]).cpu()


def agreement(clusters, labels):
    """ACC by the best matching of clusters and classes, NMI by the arithmetic mean of entropies, ARI."""
    k = CLUSTERS
    counts = torch.bincount(clusters * k + labels, minlength=k * k).view(k, k).double()
    # The most images that the first clusters have in common with a set of as many classes, one each; sets are bits.
    best = [0.0] * 2**k
    for taken in range(1, 2**k):
        row = counts[taken.bit_count() - 1].tolist()
        best[taken] = max(best[taken ^ 1 << c] + row[c] for c in range(k) if taken >> c & 1)
    n, by_cluster, by_class = counts.sum(), counts.sum(1), counts.sum(0)
    joint, a, b = (-torch.xlogy(sizes / n, sizes / n).sum() for sizes in (counts, by_cluster, by_class))
    pairs, of_a, of_b = ((sizes * (sizes - 1) / 2).sum() for sizes in (counts, by_cluster, by_class))
    expected = of_a * of_b / (n * (n - 1) / 2)
    ari = (pairs - expected) / ((of_a + of_b) / 2 - expected)
    return {"ACC": best[-1] / n, "NMI": (a + b - joint) / ((a + b) / 2), "ARI": ari}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("epochs", type=int)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--limit", type=int, help="take only so many images, drawn at random")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        cannot("PyTorch finds no CUDA device; --device cpu does without one, slowly")
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    images, labels = read_images(options.folder)
    rows = torch.randperm(len(images))[: options.limit]
    images, labels = images[rows].to(options.device), labels[rows]
    place = torch.cuda.get_device_name() if options.device == "cuda" else "the processor"
    tf32 = {"products": torch.backends.cuda.matmul.allow_tf32, "convolutions": torch.backends.cudnn.allow_tf32}
    tf32 = ", ".join(f"{what} {'yes' if allowed else 'no'}" for what, allowed in tf32.items())
    print(f"PyTorch {torch.__version__} on {place}, {len(images)} images; TF32 allowed: {tf32}", flush=True)
    network = Network().to(options.device)
    for phase, seconds in train(network, images, options.epochs).items():
        rest = seconds[1:]
        print(f"{phase} images/s {len(images) * len(rest) / sum(rest):.0f}" if rest else f"{phase} images/s -")
    for name, value in agreement(assign(network, images), labels).items():
        print(f"{name} {value:.4f}")


if __name__ == "__main__":
    main()
