#!/usr/bin/env bash
# How fast a model is verified and pinned, beside what the CPU hashes in its cache (`openssl speed`) and beside other
# programs, in turn: medians of processor seconds and of wall clock, as GB/s, and what --pin adds to `pare quantize`.
# Processor time tells the cost where other programs run, too; wall clock how threads scale, on an idle machine alone.
#   scripts/bench_verify.sh [-s GIGABYTES | -m MODEL.gguf] [-q QUANTIZED.gguf] [-n RUNS] [-p PARE] [-g GGUF_HASH] [-o MODEL_SIGNING]
#   -s  size of the model that is made when none is given (scripts/random_model.c); 8 GB, in the page cache
#   -q  what is quantized; else a model of 1 GB is made
#   -g  a gguf-hash binary: gguf-hash --check --sha256
#   -o  a model_signing binary: model_signing verify key
set -euo pipefail
cd "$(dirname "$0")/.."
gigabytes=8 model='' small='' runs=5 pare=$PWD/build/pare gguf_hash='' model_signing=''
while getopts s:m:q:n:p:g:o: option; do
    case $option in
        s) gigabytes=$OPTARG ;; m) model=$(realpath "$OPTARG") ;; q) small=$(realpath "$OPTARG") ;; n) runs=$OPTARG ;;
        p) pare=$(realpath "$OPTARG") ;; g) gguf_hash=$(realpath "$OPTARG") ;; o) model_signing=$(realpath "$OPTARG") ;;
        *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
done
work=$(mktemp -d "${TMPDIR:-/tmp}/pare-verify.XXXXXX")
trap 'rm -rf "$work"' EXIT
layers() { awk -v g="$1" 'BEGIN { n = int((g * 1e9 - 262144000) / 88096768 + 0.5); print n < 1 ? 1 : n }'; }
[ -n "$model" ] && [ -n "$small" ] || cc -O2 -o "$work/random_model" scripts/random_model.c -lm
mkdir "$work/m" "$work/s" "$work/out"
if [ -n "$model" ]; then ln "$model" "$work/m/m.gguf"; else "$work/random_model" "$work/m/m.gguf" - "$(layers "$gigabytes")"; fi
[ -n "$small" ] || "$work/random_model" "${small:=$work/small.gguf}" - "$(layers 1)"
cd "$work/m"
bytes=$(stat -c %s m.gguf)
"$pare" pin m.gguf -o pare.lock -q >/dev/null
cat m.gguf >/dev/null
if [ -n "$gguf_hash" ]; then "$gguf_hash" --sha256 m.gguf >"$work/manifest"; fi
if [ -n "$model_signing" ]; then # it signs a folder
    openssl ecparam -name prime256v1 -genkey -noout -out "$work/key.pem"
    openssl ec -in "$work/key.pem" -pubout -out "$work/key.pub" 2>/dev/null
    ln m.gguf "$work/s/m.gguf"
    "$model_signing" sign key "$work/s" --private_key "$work/key.pem" --signature "$work/sig" >/dev/null
fi

TIMEFORMAT='%R %U %S'
timed() { # name, command: adds "wall CPU" in seconds to the file of that name
    local name=$1
    shift
    { time "$@" >"$work/log" 2>&1; } 2>"$work/time" || { tail -5 "$work/log" >&2; exit 1; }
    awk '{ print $1, $2 + $3 }' "$work/time" >>"$work/out/$name"
}
median() { awk -v c="$2" '{ print $c }' "$1" | sort -n | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
quantize() { # name, further options
    local name=$1
    shift
    rm -rf "$work/q"
    mkdir "$work/q"
    timed "$name" "$pare" quantize "$small" -t q4_k_m -j1 -q -o "$work/q/q.gguf" "$@"
}
for _ in $(seq "$runs"); do
    openssl speed -evp sha256 -bytes 1048576 -seconds 1 2>/dev/null | awk '/^sha256/ { print 1, 1 / ($2 * 1e-6) }' >>"$work/openssl"
    timed 'sha256sum -c' sha256sum -c SHA256SUMS
    timed 'pare verify SHA256SUMS -j1' "$pare" verify SHA256SUMS -j1 -q
    for j in 1 2; do
        timed "pare verify pare.lock -j$j" "$pare" verify pare.lock -j$j -q
        timed "pare verify pare.lock --fast -j$j" "$pare" verify pare.lock --fast -j$j -q
    done
    timed 'pare pin -j1' "$pare" pin m.gguf -o pare.lock --force -j1 -q
    [ -z "$gguf_hash" ] || timed 'gguf-hash --check --sha256' "$gguf_hash" --check "$work/manifest" --sha256 m.gguf
    [ -z "$model_signing" ] || timed 'model_signing verify key' "$model_signing" verify key "$work/s" --public_key "$work/key.pub" --signature "$work/sig"
    quantize none
    quantize pin --pin
done
cpu=$(median "$work/openssl" 2)
echo "$(awk -v b="$bytes" 'BEGIN { printf "%.2f", b / 1e9 }') GB, $runs runs, medians"
echo
echo '| what | GB/s of processor time | of `openssl speed` | wall clock, GB/s |'
echo '| --- | --- | --- | --- |'
awk -v c="$cpu" 'BEGIN { printf "| openssl speed -evp sha256 -bytes 1048576 | %.2f | 1.00 | |\n", 1 / c }'
for name in 'sha256sum -c' 'pare verify SHA256SUMS -j1' 'pare verify pare.lock -j1' 'pare verify pare.lock -j2' \
    'pare verify pare.lock --fast -j1' 'pare verify pare.lock --fast -j2' 'pare pin -j1' 'gguf-hash --check --sha256' 'model_signing verify key'; do
    [ ! -f "$work/out/$name" ] || awk -v n="$name" -v b="$bytes" -v w="$(median "$work/out/$name" 1)" -v c="$(median "$work/out/$name" 2)" \
        -v o="$cpu" 'BEGIN { printf "| %s | %.2f | %.2f | %.2f |\n", n, b / 1e9 / c, b / 1e9 / c * o, b / 1e9 / w }'
done
awk -v a="$(median "$work/out/none" 1)" -v b="$(median "$work/out/pin" 1)" -v c="$(median "$work/out/none" 2)" -v d="$(median "$work/out/pin" 2)" \
    'BEGIN { printf "\nquantize -t q4_k_m -j1: %.2f s, with --pin %.2f s: %+.1f %% (processor time %.2f s and %.2f s)\n", a, b, 100 * (b / a - 1), c, d }'
