#!/usr/bin/env bash
# Checks that need an NVIDIA GPU.
#
#   tests/gpu.sh BINARY [PIPELINE]       BINARY from `cargo build --release --features cuda`
#   tests/gpu.sh BINARY --gcc EPOCHS [OPTION ...]
#
# The first runs one pipeline on the GPU and on the CPU, each from an empty store: they must agree.
#
# TOLERANCE is the largest difference allowed between two cells, in the table's own units. The two devices sum in different
# orders, so training takes slightly different ways; the default is three points of an accuracy in [0, 1].
#
# The second trains GCC on CIFAR-10 for EPOCHS of its 1000 epochs, 20 or more, with the schedule and the graph scaled to that, then the
# same in PyTorch where that is installed, and prints ACC, NMI, ARI and images a second of both beside the published figures.
# Images a second are of each phase without its first epoch; in those of the graph phase is the making of graphs.
#
#   CIFAR10        the folder of the images: CIFAR-10 as it is published, or Parquet files of the Hugging Face hub; else
#                  data/cifar-10-batches-py. PyTorch does not read the binary form.
#   ABLATE_STORE   the store, which stays, so that a second call goes on where the first was stopped; else .ablate-gpu
#   PYTHON         the Python of PyTorch; else python3. `PYTHON=false` leaves PyTorch out.
#   OPTION         goes to `ablate run` and `ablate table`: --set, --axis or --seeds; PyTorch is not told. Where it gives the axis
#                  `data set`, CIFAR10 is for PyTorch alone.
#
# Exit status: 0 agree or trained, 1 differ or a run failed, 2 this machine cannot run the check.
set -euo pipefail
shopt -s nullglob

usage() {
    echo 'usage: tests/gpu.sh BINARY [PIPELINE | --gcc EPOCHS [OPTION ...]]' >&2
    exit 2
}

epochs=
given=()
if (($# >= 3)) && [[ $2 == --gcc && $3 =~ ^[1-9][0-9]*$ && $3 -ge 20 ]]; then
    epochs=$3
    given=("${@:4}")
    set -- "$1" pipelines/gcc/end2end.ron
fi
if (($# < 1 || $# > 2)) || [[ ${2:-} == -* ]]; then
    usage
fi
binary=$(realpath -m -- "$1")
readonly binary epochs
readonly pipeline=${2:-pipelines/quickstart.ron}
readonly cifar10=${CIFAR10:-data/cifar-10-batches-py}
readonly tolerance=${TOLERANCE:-0.03}

cannot() {
    printf 'gpu.sh: %s\n' "$*" >&2
    exit 2
}

# Folders laid out as a CUDA toolkit: `include` and a folder of libraries. NVIDIA's Python wheels of CUDA 13 have that layout
# too; those of CUDA 12 spread it over a dozen folders and are left out.
toolkits() {
    local nvcc
    printf '%s\n' "${CUDA_PATH:-}" "${CUDA_HOME:-}"
    if nvcc=$(command -v nvcc); then
        dirname "$(dirname "$(realpath "$nvcc")")"
    fi
    printf '%s\n' /usr/local/cuda /opt/cuda
    python3 -c 'import nvidia; [print(path + "/cu13") for path in nvidia.__path__]' 2>/dev/null || true
}

# The toolkit whose headers NVRTC gets. `mma.h` includes `crt/mma.h`, which comes in a wheel of its own and is easily missing.
find_headers() {
    local root
    while read -r root; do
        if [[ -n $root && -e $root/include/cuda_fp16.h && -e $root/include/crt/mma.h ]]; then
            printf '%s\n' "$root"
            return
        fi
    done < <(toolkits)
    return 1
}

find_nvrtc() {
    local root folder found
    while read -r root; do
        [[ -n $root ]] || continue
        for folder in "$root"/{lib64,lib,targets/*/lib}; do
            found=("$folder"/libnvrtc.so*)
            if ((${#found[@]})); then
                printf '%s\n' "$folder"
                return
            fi
        done
    done < <(toolkits)
    return 1
}

# The folder of the driver's library, where the linker's cache does not have it (containers mount it aside).
find_driver() {
    local folder
    for folder in /usr/local/nvidia/lib64 /usr/lib/x86_64-linux-gnu /usr/lib64 /usr/lib/wsl/lib; do
        if [[ -e $folder/libcuda.so.1 ]]; then
            printf '%s\n' "$folder"
            return
        fi
    done
    return 1
}

# Runs the pipeline on device $1 from an empty store; the table goes to $2.csv, the seconds to $2.seconds.
run_on() {
    local start=$EPOCHREALTIME
    "$binary" run "$pipeline" --device "$1" --store "$2.store"
    awk -v from="$start" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.1f\n", to - from }' >"$2.seconds"
    "$binary" table "$pipeline" --store "$2.store" --format csv >"$2.csv"
}

# Compares two CSV tables cell by cell: numbers (`0.81` or `0.81 ± 0.02`, of which the mean counts) within the tolerance, any other
# text equal, and no cell without its whole value. Prints the figures; fails on a difference, or with no number to compare.
compare() {
    awk -v tolerance="$tolerance" '
        # Splits one CSV record into cells[1..]: quoted cells may hold commas and doubled quotes, not line breaks.
        function split_record(line, cells,    n, rest, cell) {
            n = 0
            rest = line
            while (1) {
                cell = ""
                if (substr(rest, 1, 1) == "\"") {
                    rest = substr(rest, 2)
                    while (match(rest, /^[^"]*""/)) {
                        cell = cell substr(rest, 1, RLENGTH - 1)
                        rest = substr(rest, RLENGTH + 1)
                    }
                    match(rest, /^[^"]*/)
                    cell = cell substr(rest, 1, RLENGTH)
                    rest = substr(rest, RLENGTH + 2)
                } else {
                    match(rest, /^[^,]*/)
                    cell = substr(rest, 1, RLENGTH)
                    rest = substr(rest, RLENGTH + 1)
                }
                cells[++n] = cell
                if (rest == "") return n
                rest = substr(rest, 2)
            }
        }
        function is_number(cell) { return cell ~ /^[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?( ± [0-9.]+)?$/ }
        function is_incomplete(cell) { return cell ~ /^([-+]?(NaN|inf).*|failed|missing|.* \([0-9]+ of [0-9]+\))$/ }
        function differ(place, a, b) { printf "  DIFFERS %s: cpu %s, gpu %s\n", place, a, b; failed = 1 }

        FNR == NR { cpu[FNR] = $0; rows = FNR; next }
        {
            gpu_rows = FNR
            cells_cpu = split_record(cpu[FNR], a)
            cells_gpu = split_record($0, b)
            if (FNR == 1) for (i = 1; i <= cells_gpu; i++) header[i] = b[i]
            if (cells_cpu != cells_gpu) { differ("line " FNR, cpu[FNR], $0); next }
            for (i = 1; i <= cells_gpu; i++) {
                place = b[1] ", " header[i]
                if (FNR > 1 && is_number(a[i]) && is_number(b[i])) {
                    gap = a[i] - b[i]
                    if (gap < 0) gap = -gap
                    if (gap > largest) largest = gap
                    compared++
                    if (gap > tolerance) differ(place, a[i], b[i])
                } else if (a[i] != b[i] || is_incomplete(a[i])) {
                    differ(place, a[i], b[i])
                }
            }
        }
        END {
            if (rows != gpu_rows) differ("line count", rows, gpu_rows + 0)
            if (!compared) { print "  the tables hold no number to compare"; failed = 1 }
            printf "  %d numbers compared, largest difference %g, allowed %g\n", compared, largest, tolerance
            exit failed
        }
    ' "$1.csv" "$2.csv"
}

# The images of GCC as a value of the axis `data set`; fails where there are none.
data_axis() {
    local source folder=${cifar10//\\/\\\\}
    folder=${folder//\"/\\\"}
    case $(find -L "$cifar10" -maxdepth 3 -name '*.parquet' -o -name data_batch_1 -o -name data_batch_1.bin 2>/dev/null) in
        '') return 1 ;;
        *.parquet) source="HuggingFace(folder: \"$folder\")" ;;
        *) source="Cifar10(folder: \"$folder\")" ;;
    esac
    printf 'data set={"CIFAR-10": Set({"images.source": %s, "encoder.normalise": Some((mean: [%s], std: [%s]))})}' \
        "$source" '0.4914, 0.4822, 0.4465' '0.2023, 0.1994, 0.2010'
}

# The members of a JSON object of numbers as words: `"loss":0.5,"samples/s":410` is `loss 0.5, samples/s 410`.
words() {
    local members=${1//\"/}
    members=${members//:/ }
    printf '%s' "${members//,/, }"
}

# Keeps the events of standard input in file $1, and prints how training goes, twenty times in all, and what stages say.
follow() {
    local line twentieth shown=
    local progress='"event":"progress".*"note":"(epoch ([0-9]+) of [^"]*)","values":\{([^}]*)\}'
    local text='"(([^"\\]|\\.)*)"'
    local said="\"event\":\"(failed|retried|output|resumed)\",\"instance\":$text.*\"(error|reason|line|from)\":$text"
    # Ctrl-C is for ablate, which then writes a checkpoint and says so.
    trap '' INT
    while IFS= read -r line; do
        printf '%s\n' "$line" >>"$1"
        if [[ $line =~ $progress ]]; then
            twentieth=$(((BASH_REMATCH[2] - 1) / ((epochs + 19) / 20)))
            [[ $twentieth == "$shown" ]] || printf '%s, %s\n' "${BASH_REMATCH[1]}" "$(words "${BASH_REMATCH[3]}")"
            shown=$twentieth
        elif [[ $line =~ $said ]]; then
            printf '%b: %s: %b\n' "${BASH_REMATCH[2]}" "${BASH_REMATCH[1]}" "${BASH_REMATCH[5]//\\\"/\"}"
        fi
    done
}

# The images a second of phase $1, `pretext` or `graph`, in the events in files $2..; `-` where they do not tell. From report to report
# of one phase, but for its first epoch and the first after a start, and without the first graph, with which the pretext phase ends.
rate() {
    awk -v phase="$1" -v start="$start" -v epochs="$epochs" '
        function number(name) {
            match($0, "\"" name "\":[0-9]+")
            return substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 3) + 0
        }
        !/"instance":"encoder[["]/ { next }
        /"event":"(started|resumed|retried)"/ { then = 0 }
        /"event":"progress"/ {
            now = number("unix_ms")
            done = number("done")
            steps = number("total") / epochs
            # The last of the 235 steps that see the 60,000 images of CIFAR-10 is not a whole one.
            images = steps == 235 ? 60000 / 235 : 256
            epoch = int((done - 1) / steps)
            if (!then) first = epoch
            counts = epoch != 0 && epoch != start + 1 && epoch != first
            counts = counts && (phase == "graph" ? epoch > start : done < (start + 1) * steps)
            if (then && counts && counted) {
                seen += (done - before) * images
                ms += now - then
            }
            then = now
            before = done
            counted = counts
        }
        END { if (ms) printf "%.0f\n", 1000 * seen / ms; else print "-" }
    ' "${@:2}"
}

[[ -x $binary ]] || cannot "$binary is no program; build it with: cargo build --release --features cuda"
[[ -f $pipeline ]] || cannot "$pipeline does not exist; run from the root of the repository"
if [[ -n $epochs && $'\n'$(printf '%s\n' "${given[@]#--axis=}") != *$'\n''data set='* ]]; then
    data=$(data_axis) ||
        cannot "$cifar10 holds neither CIFAR-10 nor Parquet files: unpack the Python archive of" \
            "https://www.cs.toronto.edu/~kriz/cifar.html there, or name another folder in CIFAR10"
    given=(--axis "$data" "${given[@]}")
fi
readonly given
gpu=$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null) ||
    cannot "nvidia-smi finds no NVIDIA GPU"
headers=$(find_headers) ||
    cannot "no CUDA headers with crt/mma.h: install the CUDA toolkit, or the wheels nvidia-cuda-runtime, nvidia-cuda-cccl and" \
        "nvidia-cuda-crt of CUDA 13; or set CUDA_PATH"
nvrtc=$(find_nvrtc) || cannot "no libnvrtc: install the CUDA toolkit or the wheel nvidia-cuda-nvrtc of CUDA 13, or set CUDA_PATH"
driver=$(find_driver || true)
export CUDA_PATH=$headers
export LD_LIBRARY_PATH=$nvrtc${driver:+:$driver}${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

printf 'gpu      %s\nheaders  %s\nnvrtc    %s\npipeline %s\n' "${gpu%%$'\n'*}" "$headers" "$nvrtc" "$pipeline"

# Metrics $2.. in the first row of the CSV table $1, in percent.
metrics() {
    awk -F, -v names="${*:2}" '
        NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i }
        NR == 2 {
            n = split(names, name, " ")
            for (i = 1; i <= n; i++) {
                cell = name[i] in column ? $column[name[i]] : ""
                print (cell ~ /^-?[0-9]/ ? sprintf("%.1f", 100 * cell) : "-")
            }
        }
    ' "$1"
}

# What gcc_torch.py printed to $1, in the order of the columns.
torch_results() {
    awk '
        /^(ACC|NMI|ARI) / { found[$1] = sprintf("%.1f", 100 * $2) }
        /^(pretext|graph) images\/s / { found[$1] = $3 }
        END { print found["ACC"] "\n" found["NMI"] "\n" found["ARI"] "\n" found["pretext"] "\n" found["graph"] }
    ' "$1"
}

row() {
    printf '%-10s %6s   %5s %5s %5s   %16s %14s\n' "$@"
}

# GCC on CIFAR-10, with ablate and with PyTorch.
train_gcc() {
    # Of 1000 epochs, counted from 0, the first graph is made after epoch 50, and one after every fifth from there.
    local start=$((epochs / 20)) every=$(((5 * epochs + 999) / 1000))
    local store=${ABLATE_STORE:-.ablate-gpu} python=${PYTHON:-python3}
    local options=(--store "$store" --set "encoder.epochs=$epochs" --set "encoder.method.graph.start=$start"
        --set "encoder.method.graph.every=$every" "${given[@]}")
    local former=("$store"/runs/*/journal.jsonl) runs=() journal overrides status=0 ours theirs=(- - - - -)

    printf 'store    %s\n\n' "$(realpath -m -- "$store")"
    "$binary" run "$pipeline" --device cuda:0 "${options[@]}" --json | follow "$work/events" || {
        printf 'gpu.sh: ablate failed or was stopped; another call goes on from what is in %s\n' "$store" >&2
        exit 1
    }
    "$binary" table "$pipeline" "${options[@]}" --format csv >"$work/table.csv"
    # What former calls trained is in the journals of their runs, which begin with the same overrides.
    overrides=$(grep -om 1 '"overrides":\[.*\],"cached"' "$work/events")
    for journal in "${former[@]}"; do
        [[ $(head -n 1 "$journal") != *"$overrides"* ]] || runs+=("$journal")
    done
    mapfile -t ours < <(
        metrics "$work/table.csv" ACC NMI ARI
        rate pretext "${runs[@]}" "$work/events"
        rate graph "${runs[@]}" "$work/events"
    )

    echo
    if "$python" -c 'import torch' 2>"$work/import"; then
        "$python" tests/gcc_torch.py "$cifar10" "$epochs" | tee "$work/torch" || status=$?
    else
        status=2
        tail -n 1 "$work/import"
    fi
    case $status in
        0) mapfile -t theirs < <(torch_results "$work/torch") ;;
        2) printf 'PyTorch: skipped\n' ;;
        *) printf 'PyTorch: failed with status %s\n' "$status" ;;
    esac

    echo
    row '' epochs ACC NMI ARI 'pretext images/s' 'graph images/s'
    row ablate "$epochs" "${ours[@]}"
    row PyTorch "$epochs" "${theirs[@]}"
    row published 1000 85.6 76.4 72.8 - -
    ((status == 0 || status == 2)) || exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [[ -n $epochs ]]; then
    train_gcc
    exit
fi
run_on cuda:0 "$work/gpu"
run_on cpu "$work/cpu"

printf '\ngpu table\n%s\n\ncpu table\n%s\n\n' "$(<"$work/gpu.csv")" "$(<"$work/cpu.csv")"
printf 'seconds, from an empty store: gpu %s, cpu %s (%s cores)\n' "$(<"$work/gpu.seconds")" "$(<"$work/cpu.seconds")" "$(nproc)"
printf 'parity\n'
compare "$work/cpu" "$work/gpu"
