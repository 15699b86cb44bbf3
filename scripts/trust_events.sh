#!/usr/bin/env bash
# What happens to a pinned folder, and what pare and other programs make of it: exit code and first telling line of each,
# as the table of docs/benchmarks/trust_events.md.
#   scripts/trust_events.sh [-p PARE] [-o MODEL_SIGNING] [-c HF] [-g GGUF_HASH]
#   -o  a model_signing binary (package model-signing): verify key
#   -c  an hf binary (package huggingface_hub): cache verify --local-dir, against a listing that a server on this machine
#       serves in the Hub's place (HF_ENDPOINT)
#   -g  a gguf-hash binary (of llama.cpp's examples): --sha256 --check
# A program that is not given is left out, with a line. Needs python3, which makes the events and is that server.
set -euo pipefail
cd "$(dirname "$0")/.."
pare=$PWD/build/pare model_signing='' hf='' gguf_hash=''
while getopts p:o:c:g: option; do
    case $option in
        p) pare=$(realpath "$OPTARG") ;; o) model_signing=$(realpath -s "$OPTARG") ;; c) hf=$(realpath -s "$OPTARG") ;;
        g) gguf_hash=$(realpath "$OPTARG") ;; *) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
done
work=$(mktemp -d "${TMPDIR:-/tmp}/pare-trust.XXXXXX")
server=''
trap '[ -z "$server" ] || kill "$server"; rm -rf "$work"' EXIT
demo=$PWD/tests/data/demo
events=$PWD/scripts/trust_events.py
mkdir "$work/base"
"$pare" convert "$demo" -o "$work/base/m.gguf" -q >/dev/null
"$pare" convert "$demo" -o "$work/base/hub" -q >/dev/null
echo 'a licence' >"$work/base/LICENSE"
cd "$work"
"$pare" pin base -o base/pare.lock -q >/dev/null
if [ -n "$gguf_hash" ]; then (cd base && "$gguf_hash" --sha256 m.gguf >../manifest 2>/dev/null); fi
if [ -n "$model_signing" ]; then
    openssl ecparam -name prime256v1 -genkey -noout -out key.pem
    openssl ec -in key.pem -pubout -out key.pub 2>/dev/null
    "$model_signing" sign key base --private_key key.pem --signature sig >/dev/null
fi
if [ -n "$hf" ]; then
    python3 "$events" serve base >port &
    server=$!
    for _ in $(seq 1000); do [ -s port ] && break; read -rt 0.01 <> <(:) || true; done
fi

# The exit code and the first line of the output that says something, for a table.
told() { # pattern of lines that say nothing, command
    local quiet=$1 code=0
    shift
    { timeout 60 "$@" >"$work/out" 2>"$work/err" </dev/null || code=$?; } 2>/dev/null
    local line
    line=$(cat "$work/out" "$work/err" | sed 's/\x1b\[[0-9;]*m//g' | grep -vE "$quiet|^[[:space:]]*$" | head -n 1 | cut -c 1-110 | sed "s#$work/##g; s/|/\\\\|/g") || true
    printf ' %s%s |' "$code" "${line:+: $line}"
}

tools() { # the folder d is what the event made of it
    (cd d && told ': OK$' sha256sum -c --strict SHA256SUMS)
    [ -z "$model_signing" ] || told 'xxxx' "$model_signing" verify key d --public_key key.pub --signature sig
    [ -z "$hf" ] || HF_ENDPOINT=http://127.0.0.1:$(cat port) HF_HUB_DISABLE_TELEMETRY=1 HF_HOME=$work/home told '^Hint' "$hf" cache verify org/m --local-dir d
    [ -z "$gguf_hash" ] || (cd d && told '  Ok$|^manifest|^Verification results' "$gguf_hash" --sha256 --check ../manifest m.gguf)
    told 'xxxx' "$pare" verify d/pare.lock
    told 'xxxx' "$pare" verify d/pare.lock --fast
    told 'xxxx' "$pare" verify d/SHA256SUMS
    echo
}

for peer in "model_signing=$model_signing" "hf=$hf" "gguf-hash=$gguf_hash"; do
    [ -n "${peer#*=}" ] || echo "SKIP ${peer%%=*}: not given"
done
printf '| event | sha256sum -c --strict |%s%s%s pare verify | pare verify --fast | pare verify SHA256SUMS |\n' \
    "${model_signing:+ model_signing verify key |}" "${hf:+ hf cache verify |}" "${gguf_hash:+ gguf-hash --check |}"
printf '| --- |'
for column in 1 "$model_signing" "$hf" "$gguf_hash" 1 1 1; do [ -z "$column" ] || printf ' --- |'; done
echo
python3 "$events" list | while IFS= read -r event; do
    rm -rf d aside
    cp -r base d
    python3 "$events" apply d "$event"
    printf '| %s |' "$event"
    tools
done
