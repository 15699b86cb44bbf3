#!/usr/bin/env bash
# Does an evaluation give the same items and figures for any number of ranks? Builds with -DPARE_MPI=ON (libopenmpi-dev,
# openmpi-bin) and compares records of 1, 2 and 3 ranks. Without mpirun it says so and succeeds.
#   scripts/test_mpi.sh [BUILD_FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build-mpi}
command -v mpirun >/dev/null || { echo "mpi: no mpirun, nothing tested"; exit 0; }
cmake -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DPARE_MPI=ON -DBUILD_TESTING=OFF >/dev/null
cmake --build "$build" --target pare >/dev/null
pare=$PWD/$build/pare demo=$PWD/tests/data/demo
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export OMP_NUM_THREADS=1
"$pare" quantize "$demo" -t q4_k_m -o q.gguf -q >/dev/null
for n in 1 2 3; do
    mpirun --allow-run-as-root --oversubscribe -n "$n" "$pare" eval q.gguf -f "$demo/text.txt" -c 64 --chunks 7 \
        --reference "$demo" --record "r$n.json" -q >/dev/null
    "$pare" verify "r$n.json" >/dev/null
    cmp "r1.jsonl" "r$n.jsonl"
done
# what an unfinished run left is taken over by several ranks: the second text is too short at first
two=(eval q.gguf -f "$demo/text.txt" -f second.txt -c 64 --chunks 3 --reference "$demo" -q)
cp "$demo/text.txt" second.txt
"$pare" "${two[@]}" --record whole.json >/dev/null
echo "too short" >second.txt
"$pare" "${two[@]}" --record rest.json >/dev/null 2>&1 && exit 1
cp "$demo/text.txt" second.txt
mpirun --allow-run-as-root --oversubscribe -n 2 "$pare" "${two[@]}" --record rest.json --resume >/dev/null
"$pare" verify rest.json >/dev/null
cmp whole.jsonl rest.jsonl
# one rank that fails ends all of them, with its exit code
code=0
mpirun --allow-run-as-root --oversubscribe -n 2 "$pare" eval q.gguf -f absent.txt >/dev/null 2>&1 || code=$?
[ "$code" = 3 ] || { echo "mpi: exit code $code of an absent text, expected 3" >&2; exit 1; }
echo "mpi: the same record from 1, 2 and 3 ranks"
