"""A sweep of trivial stages, in ablate and beside it in make, ninja, dvc and snakemake.

W points of five stages each, of which the first two are shared: 2 + 3 W actions, every one a `sh -c` that copies a
small file. For each size and tool:

  cold    the first run, per action
  no-op   a run with nothing to do
  plan    a dry run with nothing to do
  leaf    a run after one leaf changed
  memory  the most resident memory of any process of the no-op run

    python3 tests/peers.py --ablate target/release/ablate [--sizes 50,500,5000,50000] [--tools ablate,make,..]

A tool that is not installed is left out, and one that took longer than --patience seconds for its cold run is not asked
for larger sizes. Every figure is the median of --runs runs but the cold one, which is a single run.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def points_of(size):
    return max(1, (size - 2) // 3)


class Tool:
    """A tool in a folder of its own; `actions` is how many it has."""

    name = ""

    def __init__(self, folder, size, program):
        self.folder, self.points, self.program = Path(folder), points_of(size), program
        self.actions = 2 + 3 * self.points

    def write(self, changed=None):
        raise NotImplementedError

    def run(self):
        raise NotImplementedError

    def plan(self):
        raise NotImplementedError

    def change_leaf(self):
        self.write(changed=self.points // 2)


class Ablate(Tool):
    name = "ablate"
    options = []

    def write(self, changed=None):
        def stage(name, source):
            script = f'cat "$0" > o; echo {name} $K >> o' if source else f"echo {name} > o"
            argv = json.dumps(["sh", "-c", script] + ["{input:x}"] * bool(source))
            inputs, wire = (', inputs: {"x": File}', f', from: {{"x": "{source}"}}') if source else ("", "")
            return f'"{name}": (stage: Command(argv: {argv}{inputs}, outputs: {{"o": (kind: File, path: "o")}}){wire})'

        stages = [stage("a", None), stage("b", "a"), stage("c", "b"), stage("d", "c"), stage("e", "d")]
        leaf = [f'"e.env": {{"K": "{k}{"x" * (k == changed)}"}}' for k in range(self.points)]
        values = [f'"{k}": Set({{"c.env": {{"K": "{k}"}}, {leaf[k]}}})' for k in range(self.points)]
        axis = f'"k": {{{", ".join(values)}}}'
        (self.folder / "p.ron").write_text(f'Pipeline(name: "sweep", stages: {{{", ".join(stages)}}}, axes: {{{axis}}})')
        (self.folder / "Cargo.toml").touch()

    def run(self):
        return [self.program, "run", "p.ron", *self.options]

    def plan(self):
        return [self.program, "plan", "p.ron"]


class AblateWithoutSync(Ablate):
    name = "ablate, no fsync"
    options = ["--no-sync"]


class Make(Tool):
    name = "make"

    def write(self, changed=None):
        all_leaves = " ".join(f"e{k}" for k in range(self.points))
        lines = [f"all: {all_leaves}", "a:", "\techo a > a", "b: a", "\tcat a > b; echo b >> b"]
        for k in range(self.points):
            for source, target, also in (("b", f"c{k}", ""), (f"c{k}", f"d{k}", ""), (f"d{k}", f"e{k}", f" in{k}")):
                lines += [f"{target}: {source}{also}", f"\tcat {source} > {target}; echo {target} >> {target}"]
        (self.folder / "Makefile").write_text("\n".join(lines) + "\n")
        for k in range(self.points):
            if not (self.folder / f"in{k}").exists():
                (self.folder / f"in{k}").write_text("x\n")

    def run(self):
        return [self.program, "-j", str(os.cpu_count())]

    def plan(self):
        return [self.program, "-n"]

    def change_leaf(self):
        (self.folder / f"in{self.points // 2}").write_text("y\n")


class Ninja(Make):
    name = "ninja"

    def write(self, changed=None):
        super().write()
        (self.folder / "Makefile").unlink()
        lines = [
            "rule first\n  command = echo a > $out",
            "rule next\n  command = cat $source > $out; echo $out >> $out",
            "build a: first",
            "build b: next a\n  source = a",
        ]
        for k in range(self.points):
            for source, target, also in (("b", f"c{k}", ""), (f"c{k}", f"d{k}", ""), (f"d{k}", f"e{k}", f" in{k}")):
                lines.append(f"build {target}: next {source}{also}\n  source = {source}")
        (self.folder / "build.ninja").write_text("\n".join(lines) + "\n")

    def run(self):
        return [self.program, "-j", str(os.cpu_count())]


class Dvc(Make):
    name = "dvc"

    def write(self, changed=None):
        super().write()
        (self.folder / "Makefile").unlink()
        lines = ["stages:", "  a:", "    cmd: echo a > a", "    outs: [a]"]
        lines += ["  b:", "    cmd: cat a > b; echo b >> b", "    deps: [a]", "    outs: [b]"]
        for k in range(self.points):
            for source, target, also in (("b", f"c{k}", ""), (f"c{k}", f"d{k}", ""), (f"d{k}", f"e{k}", f", in{k}")):
                lines += [f"  {target}:", f"    cmd: cat {source} > {target}; echo {target} >> {target}"]
                lines += [f"    deps: [{source}{also}]", f"    outs: [{target}]"]
        (self.folder / "dvc.yaml").write_text("\n".join(lines) + "\n")
        if not (self.folder / ".dvc").exists():
            subprocess.run([self.program, "init", "--no-scm", "-q"], cwd=self.folder, check=True)

    def run(self):
        return [self.program, "repro", "-q"]

    def plan(self):
        return [self.program, "status", "-q"]


class Snakemake(Make):
    name = "snakemake"

    def write(self, changed=None):
        super().write()
        (self.folder / "Makefile").unlink()
        text = f"""
rule all:
    input: expand("e{{k}}", k=range({self.points}))
rule a:
    output: "a"
    shell: "echo a > a"
rule b:
    input: "a"
    output: "b"
    shell: "cat a > b; echo b >> b"
rule c:
    input: "b"
    output: "c{{k}}"
    wildcard_constraints: k="[0-9]+"
    shell: "cat {{input}} > {{output}}; echo c >> {{output}}"
rule d:
    input: "c{{k}}"
    output: "d{{k}}"
    wildcard_constraints: k="[0-9]+"
    shell: "cat {{input}} > {{output}}; echo d >> {{output}}"
rule e:
    input: "d{{k}}", "in{{k}}"
    output: "e{{k}}"
    wildcard_constraints: k="[0-9]+"
    shell: "cat {{input}} > {{output}}; echo e >> {{output}}"
"""
        (self.folder / "Snakefile").write_text(text)

    def run(self):
        return [self.program, "-q", "all", "-c", str(os.cpu_count())]

    def plan(self):
        return [self.program, "-n", "-q", "all"]


def timed(command, folder):
    """Wall seconds, and the peak resident memory in MiB of the largest process."""
    environment = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    error = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    seconds = time.perf_counter() - start
    if status != 0:
        raise RuntimeError(f"{command}: {error.decode()[-2000:]}")
    return seconds, usage.ru_maxrss / 1024


def median(command, folder, runs):
    results = [timed(command, folder) for _ in range(runs)]
    return statistics.median(seconds for seconds, _ in results), max(memory for _, memory in results)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ablate", required=True)
    parser.add_argument("--sizes", default="50,500,5000,50000")
    parser.add_argument("--tools", default="ablate,ablate, no fsync,make,ninja,dvc,snakemake")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--patience", type=float, default=60)
    args = parser.parse_args()
    wanted = args.tools.replace("ablate, no fsync", "ablate_no_fsync").split(",")
    tools = []
    for tool in (Ablate, AblateWithoutSync, Make, Ninja, Dvc, Snakemake):
        if tool.name.replace("ablate, no fsync", "ablate_no_fsync") not in wanted:
            continue
        program = os.path.abspath(args.ablate) if issubclass(tool, Ablate) else shutil.which(tool.name)
        if program:
            tools.append((tool, program))
        else:
            print(f"{tool.name} is not installed", file=sys.stderr)
    print(f"{'actions':>8}  {'tool':18}{'cold':>10}{'no-op':>10}{'plan':>10}{'leaf':>10}{'memory':>10}")
    impatient = set()
    for size in map(int, args.sizes.split(",")):
        for kind, program in tools:
            if kind in impatient:
                continue
            with tempfile.TemporaryDirectory() as folder:
                tool = kind(folder, size, program)
                tool.write()
                cold, _ = timed(tool.run(), folder)
                no_op, memory = median(tool.run(), folder, args.runs)
                plan, _ = median(tool.plan(), folder, args.runs)
                tool.change_leaf()
                leaf, _ = timed(tool.run(), folder)
                if cold > args.patience:
                    impatient.add(kind)
                cells = f"{1000 * cold / tool.actions:7.2f} ms{no_op:8.3f} s{plan:8.3f} s{leaf:8.3f} s{memory:6.0f} MiB"
                print(f"{tool.actions:>8}  {tool.name:18}{cells}", flush=True)


main()
