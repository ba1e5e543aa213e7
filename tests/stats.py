"""Makes tests/stats.json: statistics of shared numbers by SciPy and NumPy.

    pip install numpy scipy
    python tests/stats.py
"""

import json
from itertools import product
from pathlib import Path

import numpy as np
from scipy import stats


def wilcoxon(differences):
    """Exact by counting, ties and all, where SciPy has no exact answer; SciPy's own elsewhere."""
    kept = differences[differences != 0]
    tied = len(np.unique(np.abs(kept))) < len(kept)
    if len(kept) > 60:
        return stats.wilcoxon(kept, correction=False, method="approx").pvalue
    if not tied:
        return stats.wilcoxon(kept, method="exact").pvalue
    ranks = stats.rankdata(np.abs(kept))
    smaller = min(ranks[kept > 0].sum(), ranks[kept < 0].sum())
    sums = [np.dot(signs, ranks) for signs in product((0, 1), repeat=len(ranks))]
    return min(1.0, 2 * np.mean(np.array(sums) <= smaller + 1e-9))


def holm(p):
    order = np.argsort(p, kind="stable")
    corrected = np.minimum(1, np.maximum.accumulate(np.array(p)[order] * np.arange(len(p), 0, -1)))
    return corrected[np.argsort(order)].tolist()


rng = np.random.default_rng(7)
samples = [
    [0.849, 0.853, 0.841],
    [0.5, 0.5],
    [1.25],
    [-3.0, 4.5, 1e-3, 2.0, 2.0, 7.25],
    rng.normal(0.3, 1.0, 5).round(4).tolist(),
    rng.normal(-0.4, 1.0, 12).round(4).tolist(),
    rng.normal(0.2, 1.0, 40).round(5).tolist(),
    rng.normal(0.1, 1.0, 100).round(1).tolist(),
    [0.1, -0.1, 0.2, 0.2, 0.3, 0.0, -0.4, 0.4],
    [1e-7, 3e-7, 2e-7],
    [100.0, 101.0],
]
cases = []
for sample in samples:
    values = np.array(sample)
    n = len(values)
    spread = n > 1 and values.std(ddof=1) > 0
    cases.append(
        {
            "values": sample,
            "mean": values.mean(),
            "std": values.std(ddof=1) if n > 1 else None,
            "median": float(np.median(values)),
            "ci95": stats.t.ppf(0.975, n - 1) * stats.sem(values) if n > 1 else None,
            "paired_t": stats.ttest_1samp(values, 0).pvalue if spread else None,
            "wilcoxon": wilcoxon(values),
        }
    )
p = [0.01, 0.04, 0.03, 0.005, 0.5, 0.04]
path = Path(__file__).with_name("stats.json")
path.write_text(json.dumps({"cases": cases, "p": p, "holm": holm(p)}, indent=1) + "\n")
