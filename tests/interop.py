"""Opens exported artifacts the way a Python user would, and compares networks with PyTorch's.

Usage: interop.py FOLDER, where FOLDER holds what `tests/python.rs` exported. Parts that need torch and torchvision are
skipped, in words, where those are not installed.
"""

import json
import pathlib
import sys

import numpy as np
import pyarrow.parquet as pq
from safetensors import safe_open
from safetensors.numpy import load_file

folder = pathlib.Path(sys.argv[1])


def metadata(name):
    with safe_open(folder / name, framework="np") as file:
        return file.metadata() or {}


def check_open_formats():
    images = load_file(folder / "images.safetensors")
    n = len(images["images"])
    assert images["images"].dtype == np.uint8 and images["images"].ndim == 4
    assert images["labels"].shape == images["split"].shape == (n,)
    assert len(json.loads(metadata("images.safetensors")["classes"])) == 10

    features = load_file(folder / "features.safetensors")
    assert features["embeddings"].shape == (n, 512) and features["embeddings"].dtype == np.float32

    graph = load_file(folder / "graph.safetensors")
    source, target = graph["edge_index"]
    assert graph["edge_weight"].shape == source.shape == target.shape
    assert 0 <= graph["edge_index"].min() and graph["edge_index"].max() < n

    curve = pq.read_table(folder / "curve.parquet").to_pydict()
    assert len(curve["loss"]) >= 1 and np.isfinite(curve["loss"]).all()

    trials = pq.read_table(folder / "trials.parquet").to_pydict()
    assert set(trials["probe:state"]) == {"done"} and all(0 <= a <= 1 for a in trials["probe.accuracy"])

    predictions = pq.read_table(folder / "predictions.parquet").to_pydict()
    assert set(predictions["label"]) <= set(range(10)) and len(predictions["prediction"]) == n

    metrics = json.loads((folder / "metrics.json").read_text())
    assert 0 <= metrics["accuracy"] <= 1
    print("open formats: ok")
    return images, features


def check_torch(images, features):
    try:
        import torch
        import torchvision
    except ImportError as error:
        print(f"torch: skipped ({error})")
        return
    weights = load_file(folder / "encoder.safetensors")
    backbone = {k.removeprefix("backbone."): torch.from_numpy(v) for k, v in weights.items() if k.startswith("backbone.")}

    network = torchvision.models.resnet18(weights=None)
    network.fc = torch.nn.Identity()
    if images["images"].shape[3] == 1:
        network.conv1 = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    network.load_state_dict(backbone, strict=True)
    network.eval()

    preprocess = json.loads(metadata("encoder.safetensors")["preprocess"])
    mean, std = (torch.tensor(preprocess[key]).view(1, -1, 1, 1) for key in ("mean", "std"))
    pixels = torch.from_numpy(images["images"]).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        ours = torch.from_numpy(features["embeddings"])
        theirs = network((pixels - mean) / std)
    difference = (ours - theirs).abs().max().item() / theirs.abs().max().item()
    assert difference < 1e-4, f"embeddings differ from torchvision's by {difference}"
    print(f"torchvision resnet18: state dict loads strictly, embeddings agree to {difference:.1e}")


check_torch(*check_open_formats())
