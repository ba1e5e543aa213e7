"""The search for a training's neighbours, beside faiss on the same rows and as many threads.

    pip install faiss-cpu numpy
    python stages/learn/benches/knn.py [--rows 60000] [--dim 128] [--k 5] [--runs 3]

The two take turns, and the fastest of the runs counts. Neighbours must be the same but where similarities are equal to the last bits.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

import faiss
import numpy as np

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
for name, value in {"rows": 60000, "dim": 128, "k": 5, "runs": 3}.items():
    parser.add_argument(f"--{name}", type=int, default=value)
of = parser.parse_args()

command = ["cargo", "bench", "--quiet", "--profile", "dev", "--workspace", "--bench", "knn", "--"]
ours, theirs = [], []
with tempfile.TemporaryDirectory() as folder:
    for _ in range(of.runs):
        sizes = [str(of.rows), str(of.dim), str(of.k)]
        ran = subprocess.run([*command, *sizes, folder], check=True, capture_output=True, text=True)
        ours.append(json.loads(ran.stdout.splitlines()[-1]))
        rows = np.fromfile(Path(folder, "rows.f32"), "<f4").reshape(of.rows, of.dim)
        lists = np.fromfile(Path(folder, "lists.u32"), "<u4").reshape(of.rows, of.k + 1)
        clock = time.perf_counter()
        index = faiss.IndexFlatIP(of.dim)
        index.add(rows)
        found = index.search(rows, of.k + 1)[1]
        theirs.append(time.perf_counter() - clock)

same = np.mean([len(np.intersect1d(a, b)) for a, b in zip(lists, found)]) / (of.k + 1)
search, graph, faiss_search = min(o["search"] for o in ours), min(o["graph"] for o in ours), min(theirs)
print(f"{of.rows} rows of {of.dim}, {of.k} + 1 neighbours, {faiss.omp_get_max_threads()} threads of faiss")
print(f"search {search:.2f} s, faiss {faiss_search:.2f} s, ratio {search / faiss_search:.2f}; with the graph {graph:.2f} s")
print(f"{100 * same:.4f} % of the neighbours are the same")
