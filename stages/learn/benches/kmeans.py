"""k-means on the pixels of real images, beside scikit-learn on the same rows and as many threads.

    pip install scikit-learn
    python stages/learn/benches/kmeans.py [--images 'Images(…)'] [--clusters 10] [--starts 10] [--runs 3]

The two take turns, and the fastest of the runs counts. Starts are drawn from different generators, so the inertias differ as those
of two seeds do; how many points one more iteration of scikit-learn leaves where they are is printed as well.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.cluster import KMeans

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--images", default="Images(source: FashionMnistMini, merge: true, train: 12000)")
for name, value in {"clusters": 10, "starts": 10, "runs": 3}.items():
    parser.add_argument(f"--{name}", type=int, default=value)
of = parser.parse_args()

command = ["cargo", "bench", "--quiet", "--profile", "dev", "--workspace", "--bench", "kmeans", "--"]
ours, theirs = [], []
with tempfile.TemporaryDirectory() as folder:
    for run in range(of.runs):
        arguments = [of.images, str(of.clusters), str(of.starts), folder]
        ran = subprocess.run([*command, *arguments], check=True, capture_output=True, text=True)
        n, dim, seconds, inertia = json.loads(ran.stdout.splitlines()[-1])
        ours.append(seconds)
        rows = np.fromfile(Path(folder, "rows.f32"), "<f4").reshape(n, dim)
        cluster = np.fromfile(Path(folder, "cluster.u32"), "<u4")
        clock = time.perf_counter()
        found = KMeans(of.clusters, n_init=of.starts, random_state=run).fit(rows)
        theirs.append(time.perf_counter() - clock)

centres = np.stack([rows[cluster == c].mean(0) for c in range(of.clusters)])
nearest = KMeans(of.clusters, init=centres, n_init=1, max_iter=1).fit(rows)
print(f"{n} images of {dim} numbers, {of.clusters} clusters, {of.starts} starts")
print(f"{min(ours):.1f} s, scikit-learn {min(theirs):.1f} s, ratio {min(ours) / min(theirs):.2f}")
print(f"inertia {inertia:.2f}, scikit-learn {found.inertia_:.2f}; {100 * np.mean(nearest.labels_ == cluster):.2f} % stay where they are in one more iteration")
