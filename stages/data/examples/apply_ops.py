"""Compares every operation with Pillow, torchvision and OpenCV on real images: `python apply_ops.py PROGRAM IMAGE...`.

PROGRAM is `apply_ops`, built by `cargo build -p ablate-data --example apply_ops`. Prints, for decoding and for each operation on
images that Pillow decoded, the largest and the mean absolute difference in units of 1/255, over all images.

    pip install pillow numpy opencv-python-headless
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "tests/fixtures"))
from make_pillow import operations  # noqa: E402

for sigma in (0.1, 0.7, 2.0):
    operations[f"KernelBlur(kernel: 23, sigma: ({sigma}, {sigma}))"] = lambda image, s=sigma: Image.fromarray(
        cv2.GaussianBlur(np.asarray(image), (23, 23), s)
    )

def differences(program, folder, operations, paths):
    """By operation: the absolute differences of each image."""
    listed = folder / "ops"
    listed.write_text("\n".join(operations))
    subprocess.run([program, folder, listed, *paths], check=True)
    for line, (op, operate) in enumerate(operations.items()):
        found = []
        for path in paths:
            expected = np.asarray(operate(Image.open(path).convert("RGB"))).astype(int)
            ours = np.asarray(Image.open(folder / f"{line}-{path.stem}.png").convert("RGB")).astype(int)
            found.append(np.abs(expected - ours))
        most, mean = max(one.max() for one in found), np.mean([one.mean() for one in found])
        print(f"{op}: at most {most}, {mean:.4f} on average")
        yield mean


program, *paths = sys.argv[1:]
paths = [Path(path) for path in paths]
with tempfile.TemporaryDirectory() as folder:
    folder = Path(folder)
    print("decoding", end=": ")
    decoding = max(differences(program, folder, {"RandomApply(p: 0.0, ops: [])": lambda image: image}, paths))
    plain = []
    for path in paths:
        plain.append(folder / f"{path.stem}.png")
        Image.open(path).convert("RGB").save(plain[-1])
    worst = max(differences(program, folder, operations, plain))
print(f"worst mean: decoding {decoding:.4f}, operations {worst:.4f}")
sys.exit(max(decoding, worst) > 1)
