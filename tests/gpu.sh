#!/usr/bin/env bash
# Checks that need an NVIDIA GPU.
#
#   tests/gpu.sh BINARY [PIPELINE]       BINARY from `cargo build --release --features cuda`
#   tests/gpu.sh BINARY --gcc EPOCHS
#
# The first runs one pipeline on the GPU and on the CPU, each from an empty store: they must agree.
#
# The second trains GCC on CIFAR-10 (`data/cifar-10-batches-py`, see pipelines/gcc/README.md) for EPOCHS of its 1000 epochs, 20 or more, with
# the schedule and the graph scaled to that, and prints ACC, NMI, ARI and images a second beside the published figures. Where
# PyTorch is installed, the speed of the same steps there follows.
#
# TOLERANCE is the largest difference allowed between two cells, in the table's own units. The two devices sum in different
# orders, so training takes slightly different ways; the default is three points of an accuracy in [0, 1].
# Exit status: 0 agree, 1 differ or a run failed, 2 this machine cannot run the check.
set -euo pipefail
shopt -s nullglob

usage() {
    echo 'usage: tests/gpu.sh BINARY [PIPELINE | --gcc EPOCHS]' >&2
    exit 2
}

epochs=
if (($# == 3)) && [[ $2 == --gcc && $3 =~ ^[0-9]+$ && $3 -ge 20 ]]; then
    epochs=$3
    set -- "$1" pipelines/gcc/end2end.ron
fi
if (($# < 1 || $# > 2)) || [[ ${2:-} == -* ]]; then
    usage
fi
binary=$(realpath -m -- "$1")
readonly binary epochs
readonly pipeline=${2:-pipelines/quickstart.ron}
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

[[ -x $binary ]] || cannot "$binary is no program; build it with: cargo build --release --features cuda"
[[ -f $pipeline ]] || cannot "$pipeline does not exist; run from the root of the repository"
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

# GCC on CIFAR-10 for $epochs epochs, from an empty store. An epoch is 60,000 images.
train_gcc() {
    local start=$EPOCHREALTIME every=$(((5 * epochs + 999) / 1000)) rate
    local options=(--store "$work/gcc.store" --axis 'data set=CIFAR-10' --set "encoder.epochs=$epochs"
        --set "encoder.method.graph.start=$((epochs / 20))" --set "encoder.method.graph.every=$every")
    "$binary" run "$pipeline" --device cuda:0 "${options[@]}"
    rate=$(awk -v from="$start" -v to="$EPOCHREALTIME" -v n="$((60000 * epochs))" 'BEGIN { printf "%.0f", n / (to - from) }')
    printf '\n%s epochs, %s images/s with everything around them\n' "$epochs" "$rate"
    "$binary" table "$pipeline" "${options[@]}"
    printf 'published, 1000 epochs: NMI 0.764, ACC 0.856, ARI 0.728\n\n'
    python3 tests/gcc_torch.py || printf 'PyTorch: skipped\n'
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
