"""Measures torchvision's DataLoader with 2 workers on the views of `loader_speed SimClr()`: `python loader_speed.py FOLDER`.

FOLDER has the Parquet files of CIFAR-10 as on the Hugging Face hub; the images are decoded before, as they are there.

    pip install torch torchvision pyarrow
"""

import io
import resource
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import torch
import torchvision.transforms as T
from PIL import Image

torch.set_num_threads(1)
file = next(Path(sys.argv[1]).rglob("train*.parquet"))
rows = pq.read_table(file).slice(0, 20_000).to_pylist()
images = [Image.open(io.BytesIO(row["img"]["bytes"])).convert("RGB") for row in rows]
view = T.Compose([
    T.RandomResizedCrop(32, (0.2, 1.0)),
    T.RandomHorizontalFlip(),
    T.RandomApply([T.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8),
    T.RandomGrayscale(0.2),
    T.ToTensor(),
    T.Normalize([0.49, 0.48, 0.45], [0.25, 0.24, 0.26]),
])


class TwoViews(torch.utils.data.Dataset):
    def __len__(self):
        return len(images)

    def __getitem__(self, row):
        return view(images[row]), view(images[row])


loader = torch.utils.data.DataLoader(TwoViews(), batch_size=256, shuffle=True, drop_last=True, num_workers=2)
start = time.time()
seen = sum(len(first) for first, _ in loader)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
rate = seen / (time.time() - start)
print(f"{rate:.0f} images/s in two views, 2 workers, {1e6 * (used.ru_utime + used.ru_stime) / seen:.0f} us of CPU an image")
