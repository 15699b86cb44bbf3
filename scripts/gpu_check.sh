#!/usr/bin/env bash
# Everything there is to know of pare on a GPU, in one go of less than 8 minutes: operations, small models and the
# reference model against the CPU, compute-sanitizer, speed. Writes docs/benchmarks/gpu.md and prints a table last.
#   scripts/gpu_check.sh [--pack PATH] [--out FILE] [--logs FOLDER] [--work FOLDER] [--parts "LIST"] [--emulated [--build FOLDER]]
#   PATH      what scripts/gpu_pack.sh wrote, or the folder it unpacks to (default: build-portable/pare-gpu.tar.xz)
#   FOLDER    for the generated models, about 30 GB (default: one in /dev/shm or $TMPDIR)
#   LIST      compile operations memory sanitizer oracle reference cache speed model quantized streaming (default: all)
#   emulated  the small parts on the emulated device of a build (operations memory oracle reference), without a GPU
# Needs a GPU with its driver and, for `compile` and `sanitizer`, the CUDA toolkit; without a GPU it says so, compiles the
# plugin's sources if nvcc is there, and ends with 0. What fails is listed at the end, and the exit code is 1.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
pack=build-portable/pare-gpu.tar.xz out=docs/benchmarks/gpu.md work='' logs='' emulated=0 build=build
parts='compile operations memory sanitizer oracle reference cache speed model quantized streaming'
while [ $# -gt 0 ]; do
    case $1 in
    --pack) pack=$2 && shift ;;
    --out) out=$2 && shift ;;
    --logs) logs=$2 && shift ;;
    --work) work=$2 && shift ;;
    --parts) parts=$2 && shift ;;
    --emulated) emulated=1 ;;
    --build) build=$2 && shift ;;
    *) sed -n '4,11p' "$0" >&2 && exit 2 ;;
    esac
    shift
done
SECONDS=0
if [ -z "$work" ]; then
    base=${TMPDIR:-/tmp}
    [ "$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }')" -lt 36000000 ] 2>/dev/null || base=/dev/shm
    work=$(mktemp -d "$base/pare-gpu.XXXXXX")
    temporary=$work
fi
generator='' temporary=${temporary:-}
finish() {
    [ -z "$generator" ] || kill "$generator" 2>/dev/null
    [ -z "$logs" ] || { mkdir -p "$logs" && cp "$work"/*.log "$work"/*.tsv "$work"/*.txt "$logs/" 2>/dev/null; }
    [ -z "$temporary" ] || rm -rf "$temporary"
}
trap finish EXIT
mkdir -p "$work" && work=$(cd "$work" && pwd)
results=$work/results.tsv
: >"$results"

# --- what was measured

result() { # part, what, value, bar ("-": none), verdict
    printf '%s\t%s\t%s\t%s\t%s\n' "$@" >>"$results"
    printf '%4d s  %-11s %-52s %-26s %-14s %s\n' "$SECONDS" "$@"
}
compare() { # value, < | >, bar: ok, FAILED
    awk -v v="$1" -v o="$2" -v b="$3" 'BEGIN { print v != "" && (o == "<" ? v + 0 <= b + 0 : v + 0 >= b + 0) ? "ok" : "FAILED" }'
}
bar() { # part, what, value, unit, < | >, bar
    result "$1" "$2" "${3:-nothing}${4:+ $4}" "$5 $6" "$(compare "$3" "$5" "$6")"
}
json() { # file, key: the first number of that name, which is the document's own
    grep -o "\"$2\": *-\?[0-9][0-9.e+-]*" "$1" 2>/dev/null | head -1 | sed 's/.*: *//'
}
calculate() { # awk expression; nothing where a number is absent
    awk "BEGIN { v = ($1); if (v == v && v < 1e300) printf \"%.6g\", v }" 2>/dev/null
}
within() { # seconds, log, command...: stops it then, keeps its output
    local limit=$1 log=$2
    shift 2
    timeout -k 5 "$limit" "$@" >"$log" 2>&1
}
wanted() { # part: is it asked for, and is there time to begin it
    [[ " $parts " == *" $1 "* ]] || return 1
    [ "$SECONDS" -lt 440 ] || { result "$1" "not begun" "$SECONDS s have passed" "-" FAILED; return 1; }
}

# --- the parts

find_cublaslt() { # where pare does not look by itself: beside nvcc, in the packages of python3
    local places=() found
    ldconfig -p 2>/dev/null | grep -qE 'libcublasLt\.so\.1[23]' && return
    command -v nvcc >/dev/null && places+=("$(dirname "$(readlink -f "$(command -v nvcc)")")/..")
    places+=("$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))' 2>/dev/null)/nvidia")
    found=$(find "${places[@]}" -name 'libcublasLt.so.1[23]' 2>/dev/null | head -1)
    [ -z "$found" ] || export PARE_CUBLASLT=$found
}
compile_check() { # the plugin's sources by this machine's nvcc
    local arch=${1:-native} file failed=0
    command -v nvcc >/dev/null || { result compile "nvcc" "absent" "-" "-"; return; }
    for file in gpu/*.cu; do
        nvcc -std=c++17 -arch="$arch" --fmad=false -Xcompiler -Wall,-Wextra -I. -Isrc \
            '-DPARE_GPU_ARCHITECTURES="check"' -c "$file" -o "$work/$(basename "$file").o" >"$work/$(basename "$file").log" 2>&1 &
        while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n; done
    done
    wait
    for file in gpu/*.cu; do
        [ -s "$work/$(basename "$file").o" ] || { failed=$((failed + 1)); tail -3 "$work/$(basename "$file").log"; }
    done
    result compile "sources of the plugin by $(nvcc --version | grep -o 'release [0-9.]*'), $arch" "$(ls gpu/*.cu | wc -l) files" "-" "$([ "$failed" = 0 ] && echo ok || echo FAILED)"
}

check_operations() { # label, seconds, arguments...
    local label=$1 limit=$2 log=$work/operations.log summary
    shift 2
    within "$limit" "$log" "$check" "$@"
    local code=$?
    summary=$(grep -o '[0-9]* of [0-9]* as on the CPU' "$log" | tail -1)
    grep -E 'FAILED|pare-check-device:' "$log" | head -8
    result operations "$label" "${summary:-exit code $code}" "all" "$([ "$code" = 0 ] && echo ok || echo FAILED)"
    cat "$log" >>"$work/operations-all.log"
}

sanitize() { # tool: the small operations, own kernels
    local log=$work/$1.log
    within 110 "$log" compute-sanitizer --tool "$1" --error-exitcode 9 "$check" --small --no-blas
    local code=$? summary
    summary=$(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY' "$log" | tail -1 | sed 's/.*SUMMARY: *//')
    [ "$code" = 0 ] || grep '=========' "$log" | head -6
    result sanitizer "$1" "${summary:-exit code $code}" "0 errors" "$([ "$code" = 0 ] && echo ok || echo FAILED)"
}

check_memory() { # budget: the plan of the reference model, taken on the device
    local log=$work/memory.json rows name how predicted actual off free
    within 60 "$work/memory.log" "$pare" fit "$reference" --type q8_0 --vram "$1" --ctx 512 --measure --measure-log "$work/measured.jsonl" ||
        { result memory "fit --measure" "$(grep -m1 'error:' "$work/memory.log")" "-" FAILED; return; }
    tail -1 "$work/measured.jsonl" >"$log"
    # {"actual":..,"difference":..,"high":..,"how":"..","kind":"..","low":..,"name":"..","predicted":..}
    rows=$(grep -o '{[^{}]*"how":"[^{}]*}' "$log" | sed -nE 's/^\{"actual":(-?[0-9]+),"difference":(-?[0-9]+),.*"how":"([^"]*)".*"name":"([^"]*)","predicted":([0-9]+)\}$/\4\t\3\t\5\t\1\t\2/p')
    [ -n "$rows" ] || { result memory "fit --measure" "no parts in the log" "-" FAILED; return; }
    while IFS=$'\t' read -r name how predicted actual off; do
        name="$name ($how), predicted $(calculate "$predicted / 1048576") MiB, more"
        if [ "$how" = allocated ]; then
            bar memory "$name" "$(calculate "sqrt(($off / 1048576) ^ 2)")" MiB '<' 2
        else
            result memory "$name" "$(calculate "$off / 1048576") MiB" "-" "-"
        fi
    done <<<"$rows"
    free=$(calculate "($(json "$log" free_before) - $(json "$log" free_after)) / 1048576")
    bar memory "not given back" "$free" MiB '<' 0
}

check_oracle() { # expected logits of small models, float32
    local model fine=0 n=0 worst=0 line
    for model in "$oracle"/*/; do
        n=$((n + 1))
        within 60 "$work/oracle.log" "$pare" logits "$model" --tokens "$model/tokens.i32" --length 48 --device cuda \
            --compute f32 -o "$work/oracle.f32" --force --quiet
        line=$("$check" --compare "$work/oracle.f32" "$model/logits.f32" 2>&1)
        rm -f "$work/oracle.f32"
        if [ "$(compare "$line" '<' 5e-4)" = ok ]; then
            fine=$((fine + 1))
        else
            result oracle "$(basename "$model")" "${line:-nothing} $(tail -1 "$work/oracle.log")" "< 5e-4" FAILED
        fi
        worst=$(printf '%s\n%s\n' "$worst" "$line" | sort -g | tail -1)
    done
    result oracle "largest difference of logits, f32" "$worst, $fine of $n models" "< 5e-4" "$([ "$fine" = "$n" ] && [ "$n" -gt 0 ] && echo ok || echo FAILED)"
}

# Perplexity of windows, and distributions of some of them, on the CPU in float32 and on the device in both arithmetics.
against_cpu() { # name, model, text, n_ctx, windows, windows whose logits are compared
    local name=$1 model=$2 text=$3 n_ctx=$4 n=$5 few=$6 cpu=$work/cpu.json gpu=$work/gpu.json compute divergence n_vocab
    local ids=$work/ids.i32
    "$pare" tokenize "$model" -f "$text" | "$check" --ids $((few * n_ctx)) "$ids" &&
        "$pare" logits "$model" --tokens "$ids" --length "$n_ctx" --device cpu -o "$work/cpu.f32" --force --quiet >"$work/cpu.log" &&
        "$pare" eval "$model" -f "$text" -c "$n_ctx" --chunks "$n" --device cpu --json >"$cpu" 2>"$work/cpu.log" ||
        { result reference "$name on the CPU" "failed" "-" FAILED; return; }
    n_vocab=$(($(stat -c %s "$work/cpu.f32") / 4 / few / n_ctx))
    for compute in f32 bf16; do
        timeout -k 5 60 "$pare" eval "$model" -f "$text" -c "$n_ctx" --chunks "$n" --device cuda --compute "$compute" --json >"$gpu" 2>"$work/gpu.log" ||
            tail -1 "$work/gpu.log"
        bar reference "$name, $compute: perplexity beside the CPU's" \
            "$(calculate "100 * sqrt(($(json "$gpu" perplexity) / $(json "$cpu" perplexity) - 1)^2)")" % '<' 0.05
        timeout -k 5 60 "$pare" logits "$model" --tokens "$ids" --length "$n_ctx" --device cuda --compute "$compute" -o "$work/gpu.f32" --force --quiet >"$work/gpu.log"
        divergence=$("$check" --divergence "$work/cpu.f32" "$work/gpu.f32" "$n_vocab")
        bar reference "$name, $compute: mean KLD against the CPU" "$divergence" nat '<' 1e-5
        rm -f "$work/gpu.f32"
    done
    rm -f "$work/cpu.f32"
}

check_reference() {
    local type
    against_cpu "reference model, BF16" "$reference" "$text" 512 40 8
    for type in "$@"; do
        "$pare" quantize "$reference" -o "$work/ref-$type.gguf" --type "$type" --force --quiet >"$work/quantize.log" 2>&1 ||
            { result reference "quantize to $type" "$(tail -1 "$work/quantize.log")" "-" FAILED; continue; }
        against_cpu "reference model, $type" "$work/ref-$type.gguf" "$text" 512 10 4
        rm -f "$work/ref-$type.gguf"
    done
}

check_cache() { # keys and values in codecs, float32, beside the CPU's
    local form device
    for form in "--cache-k q4_0 --cache-v q4_0 --cache-rotate llama" "--cache-k turbo3p --cache-v turbo3 --cache-rotate full" \
        "--cache-k kivi2 --cache-v kivi2" "--cache-k midrise4 --cache-v midrise4 --cache-rotate full"; do
        for device in cpu cuda; do # shellcheck disable=SC2086
            timeout -k 5 60 "$pare" eval "$reference" -f "$text" -c 512 --chunks 4 --device "$device" --compute f32 $form --json \
                >"$work/cache-$device.json" 2>"$work/cache.log" || tail -1 "$work/cache.log"
        done
        bar cache "$form: perplexity beside the CPU's" \
            "$(calculate "100 * sqrt(($(json "$work/cache-cuda.json" perplexity) / $(json "$work/cache-cpu.json" perplexity) - 1)^2)")" % '<' 0.05
    done
}

peak_of() { # card: its dense BF16 rate by the maker's data sheet, TFLOP/s
    case $1 in
    *H100*PCIe*) echo 756 ;;
    *H100*NVL*) echo 835 ;;
    *H100* | *H200*) echo 989.4 ;;
    *B200*) echo 2250 ;;
    *A100* | *A800*) echo 311.9 ;;
    *L40S*) echo 362 ;;
    *L40*) echo 181 ;;
    *L4*) echo 121 ;;
    *A40* | *A6000*) echo 149.7 ;;
    *A10*) echo 125 ;;
    *4090*) echo 165.2 ;;
    *5090*) echo 209.5 ;;
    *3090*) echo 71 ;;
    esac
}

measure_speed() { # ceilings, and products, attention and scores by themselves
    local line name copy blas=-lcublasLt
    nvcc -O2 -arch=native tests/device/ceilings.cu $blas -o "$work/ceilings" >"$work/ceilings.log" 2>&1 ||
        nvcc -O2 -arch=native -DNO_BLAS tests/device/ceilings.cu -o "$work/ceilings" >>"$work/ceilings.log" 2>&1
    within 60 "$work/ceilings.txt" "$work/ceilings"
    while IFS= read -r line; do
        result speed "$(sed -E 's/^ceiling: //; s/ [0-9.]+ [A-Z].*//' <<<"$line")" "$(grep -oE '[0-9.]+ (GB|TFLOP)/s' <<<"$line")" "-" "-"
    done < <(grep '/s$' "$work/ceilings.txt")
    within 100 "$work/speed.log" "$check" --speed || { tail -2 "$work/speed.log"; result speed "pare-check-device --speed" "failed" "-" FAILED; }
    while IFS= read -r line; do
        name=$(sed -E 's/^speed: //; s/  +.*//' <<<"$line")
        result speed "$name" "$(awk '{ print $(NF - 1), $NF }' <<<"$(sed 's/ read and written//' <<<"$line")")" "-" "-"
    done < <(grep -E '^speed: .*/s' "$work/speed.log")
    copy=$(grep 'copy in device memory' "$work/speed.log" | grep -oE '[0-9.]+ GB/s' | sed 's/ .*//')
    while IFS= read -r line; do # keys and values: how near to moving their bytes
        name=$(sed -E 's/^speed: //; s/  +.*//' <<<"$line")
        result speed "$name: share of a copy" "$(calculate "100 * $(grep -oE '[0-9.]+ GB/s' <<<"$line" | sed 's/ .*//') / ${copy:-0}") %" "-" "-"
    done < <(grep -E '^speed: (kv_|turn).*/s' "$work/speed.log")
    line=$(grep 'matmul bf16, 4096 x 14336 x 4096' "$work/speed.log" | awk '{ print $(NF - 1) }')
    [ -z "$peak" ] || bar speed "GEMM of BF16, share of the data sheet's $peak" "$(calculate "100 * ${line:-0} / $peak")" % '>' 60
}

generate() { # in the background: models of the shape of 8B
    cc -O2 -o "$work/random_model" scripts/random_model.c -lm || return
    local type
    for type in "$@"; do
        "$work/random_model" "$work/8b-$type.part" - 32 8b "$type" && mv "$work/8b-$type.part" "$work/8b-$type.gguf"
    done
    head -c 100000 /dev/urandom | od -An -v -tx1 | tr -d ' \n' >"$work/bytes.part"
    mv "$work/bytes.part" "$work/bytes"
}

await() { # file of generate's
    while [ ! -e "$1" ] && kill -0 "$generator" 2>/dev/null; do sleep 0.5; done
    [ -e "$1" ]
}

# Tokens a second of windows that come on top: loading the model is in both runs.
rate() { # label, n_ctx, tokens of the short run, of the long run, pare's arguments...
    local label=$1 n_ctx=$2 short=$3 long=$4 n seconds=()
    shift 4
    for n in "$short" "$long"; do
        timeout -k 5 90 "$pare" eval "$@" -f "$work/bytes" -c "$n_ctx" --chunks "$((n / n_ctx))" --json --quiet >"$work/rate.json" 2>"$work/rate.log" ||
            { tail -1 "$work/rate.log" >&2; return; }
        seconds+=("$(json "$work/rate.json" seconds)")
    done
    calculate "($long - $short) / (${seconds[1]} - ${seconds[0]})" | tee "$work/rate-$label"
}

# Floating-point operations of a token of the 8B shape: matrices of the layers, half the positions through the head,
# attention to half a window.
operations_of() { calculate "2 * 32 * (2 * 4096^2 + 2 * 4096 * 1024 + 3 * 4096 * 14336) + 4096 * 128256 + 4 * 4096 * 32 * ($1 + 1) / 2"; }

measure_model() {
    local n_ctx tokens
    [ -e "$work/8b-bf16.gguf" ] || { result model "generated model" "absent" "-" FAILED; return; }
    for n_ctx in 512 2048; do
        tokens=$(rate "bf16-$n_ctx" "$n_ctx" 32768 163840 "$work/8b-bf16.gguf" --device cuda)
        result model "8B, BF16, n_ctx $n_ctx" "${tokens:-nothing} tokens/s" "-" "$([ -n "$tokens" ] && echo - || echo FAILED)"
        [ -z "$peak" ] || bar model "8B, BF16, n_ctx $n_ctx: share of the data sheet" "$(calculate "100 * ${tokens:-0} * $(operations_of $n_ctx) / 1e12 / $peak")" % '>' 45
    done
}

measure_quantized() { # types...
    local type tokens alone pair
    alone=$(cat "$work/rate-bf16-2048" 2>/dev/null)
    for type in "$@"; do
        [ -e "$work/8b-$type.gguf" ] || { result quantized "8B, $type" "absent" "-" FAILED; continue; }
        tokens=$(rate "$type" 2048 32768 163840 "$work/8b-$type.gguf" --device cuda)
        bar quantized "8B, $type, n_ctx 2048: loss against BF16" "$(calculate "100 * (1 - ${tokens:-0} / $alone)")" % '<' 15
    done
    pair=$(rate pair 2048 32768 98304 "$work/8b-$1.gguf" --reference "$work/8b-bf16.gguf" --device cuda)
    bar quantized "KLD of two models, times the cost of one" "$(calculate "$alone / ${pair:-0}")" "" '<' 2.1
}

measure_cache() { # codecs of keys...: what keeping keys and values costs of a pass
    local codec alone
    alone=$(cat "$work/rate-bf16-2048" 2>/dev/null)
    for codec in "$@"; do
        result model "8B, BF16, n_ctx 2048, cache in $codec, rotated: loss" "$(calculate "100 * (1 - $(rate "cache-$codec" 2048 16384 81920 \
            "$work/8b-bf16.gguf" --cache-k "$codec" --cache-v "${codec%p}" --cache-rotate full --device cuda) / $alone)") %" "-" "-"
    done
}

# By two lengths, as above; a batch is one window here, and each reads what does not stay.
measure_streaming() {
    local limit n remark pass seconds=()
    limit=$(grep -o 'host to device [0-9.]*' "$work/ceilings.txt" 2>/dev/null | grep -o '[0-9.]*$')
    for n in 4 16; do
        timeout -k 5 60 "$pare" eval "$work/8b-bf16.gguf" -f "$work/bytes" -c 2048 --chunks $n --device cuda \
            --device-memory 8GiB --batch 2048 --json --verbose >"$work/stream.json" 2>"$work/stream.log" || tail -1 "$work/stream.log"
        seconds+=("$(json "$work/stream.json" seconds)")
    done
    remark=$(grep -o '[0-9.]* of [0-9.]* [GM]iB of weights stay.*' "$work/stream.log" | head -1)
    pass=$(awk '{ print ($3 - $1) * ($4 == "MiB" ? 1.048576e-3 : 1.073741824) }' <<<"$remark") # GB
    result streaming "8B BF16 in 8 GiB" "${remark:-nothing is streamed}" "-" "$([ -n "$remark" ] && echo - || echo FAILED)"
    bar streaming "8B BF16 in 8 GiB: share of host to device" \
        "$(calculate "100 * (16 - 4) * ${pass:-0} / (${seconds[1]:-0} - ${seconds[0]:-0}) / ${limit:-0}")" % '>' 85
}

write_page() {
    {
        sed '/^<!-- results -->$/q' docs/benchmarks/gpu.md
        printf '\n%s, driver %s, %s; commit %s, %s. %s s in all.\n\n' "$card" "$driver" "$(nvcc --version 2>/dev/null | grep -o 'release [0-9.]*' || echo 'no toolkit')" \
            "$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)" "$(date -u +%F)" "$SECONDS"
        printf '| part | what | measured | bar | |\n| --- | --- | --- | --- | --- |\n'
        awk -F'\t' '{ printf "| %s | %s | %s | %s | %s |\n", $1, $2, $3, $4, $5 }' "$results"
    } >"$out.part" && mv "$out.part" "$out"
}

# --- without a device

if [ "$emulated" = 1 ]; then
    build=$(cd "$build" && pwd) || exit
    export PARE_CUDA_PLUGIN=$build/pare-cuda-emulated.so
    pare=$build/pare check=$build/pare-check-device oracle=${PARE_SHARED:-../shared}/oracle/models
    wanted operations && check_operations "small shapes, bf16" 300 --small
    reference=tests/data/demo
    wanted memory && check_memory 1500M
    mkdir -p "$work/oracle"
    for model in llama_rope gpt2 gemma2; do
        [ ! -d "$oracle/$model" ] || ln -s "$(cd "$oracle/$model" && pwd)" "$work/oracle/$model"
    done
    oracle=$work/oracle
    wanted oracle && [ -n "$(ls "$oracle")" ] && check_oracle
    if wanted reference; then
        cc -O2 -o "$work/random_model" scripts/random_model.c -lm && "$work/random_model" "$work/tiny.gguf" - 1 tiny q8_0
        against_cpu "tiny model, q8_0" "$work/tiny.gguf" LICENSE 64 2 2
    fi
    grep -q FAILED "$results" && exit 1
    [ -s "$results" ]
    exit
fi

card=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -1)
driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | head -1)
if [ -z "$card" ]; then
    wanted compile && compile_check sm_90
    echo "gpu_check: no GPU here (nvidia-smi shows none); nothing else was run"
    ! grep -q FAILED "$results"
    exit
fi

# --- on a device

[ -d "$pack" ] || { mkdir -p "$work/pack" && tar -C "$work/pack" -xf "$pack" && pack=$work/pack; } ||
    { echo "gpu_check: $pack: neither a folder nor what scripts/gpu_pack.sh writes" >&2; exit 2; }
pack=$(cd "$pack" && pwd)
unset PARE_CUDA_PLUGIN
pare=$pack/pare check=$pack/pare-check-device oracle=$pack/oracle reference=$pack/ref text=$pack/text.txt
peak=$(peak_of "$card")
quantized=(q8_0 q4_k)
if [[ $parts =~ model|quantized|streaming ]]; then
    generate bf16 "${quantized[@]}" >"$work/generate.log" 2>&1 &
    generator=$!
fi
[ -n "${PARE_CUBLASLT:-}" ] || find_cublaslt
echo "gpu_check: $card, driver $driver; cuBLASLt: ${PARE_CUBLASLT:-as the system has it}; work in $work"
wanted memory && check_memory "$(nvidia-smi --query-gpu=memory.free --format=csv,noheader,nounits | awk 'NR == 1 { print $1 - 1024 "MiB" }')"
sanitizers=()
if wanted sanitizer; then # beside the parts that are not timed
    if command -v compute-sanitizer >/dev/null; then
        for tool in memcheck racecheck synccheck initcheck; do
            sanitize "$tool" &
            sanitizers+=($!)
        done
    else
        result sanitizer "compute-sanitizer" "absent" "-" "-"
    fi
fi
if wanted operations; then
    check_operations "all shapes, bf16" 110
    check_operations "attention and products, f32, own kernels" 60 --f32 --no-blas --only at
fi
wanted oracle && check_oracle
wanted reference && check_reference q8_0 q4_k iq4_xs
for job in "${sanitizers[@]}"; do wait "$job"; done
[ -z "$generator" ] || await "$work/bytes" # speed is measured alone
wanted cache && check_cache
wanted speed && measure_speed
wanted model && measure_model
wanted model && wanted cache && measure_cache q4_0 turbo3p
wanted quantized && measure_quantized "${quantized[@]}"
wanted streaming && measure_streaming
wanted compile && compile_check
write_page
echo
awk -F'\t' '{ printf "%-11s %-52s %-30s %-12s %s\n", $1, $2, $3, $4, $5 }' "$results"
failed=$(grep -c FAILED "$results")
echo "gpu_check: $failed of $(wc -l <"$results") lines failed, $SECONDS s; $out"
[ "$failed" = 0 ]
