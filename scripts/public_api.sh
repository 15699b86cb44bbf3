#!/usr/bin/env bash
# What libpare offers: everything that src/pare.h and the headers behind it declare and the library defines. Writes
#   OUT/pare.symbols  the names, sorted
#   OUT/pare.map      the same as a version script for the linker: these are exported, nothing else is
#   OUT/pare.headers  the headers that declare them, as they are named in an #include: those that are installed
#   scripts/public_api.sh SOURCE_FOLDER ARCHIVE OUT C_COMPILER [FLAG...]
set -euo pipefail
export LC_ALL=C
source=${1:?usage: scripts/public_api.sh SOURCE_FOLDER ARCHIVE OUT C_COMPILER [FLAG...]} archive=$2 out=$3
shift 3
compiler=("$@" -std=c11 -D_GNU_SOURCE -I"$source" -I"$source/src")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

printf '#include "pare.h"\n' >"$work/api.c"
"${compiler[@]}" -E -P "$work/api.c" | grep -ow 'pare_[A-Za-z0-9_]*' | sort -u >"$work/words"
nm --defined-only --extern-only "$archive" 2>/dev/null | awk 'NF == 3 { print $3 }' | sort -u >"$work/defined"
comm -12 "$work/words" "$work/defined" >"$work/symbols"
[ -s "$work/symbols" ] || { echo "public_api: $archive defines nothing that src/pare.h declares" >&2; exit 1; }

"${compiler[@]}" -MM "$work/api.c" | tr ' \\' '\n\n' | grep '\.h$' | while read -r header; do
    header=$(realpath --relative-to="$source" "$header")
    echo "${header#src/}"
done | sort -u >"$work/headers"

{
    printf '/* Made by scripts/public_api.sh from src/pare.h. */\nPARE_0 {\nglobal:\n'
    sed 's/.*/    &;/' "$work/symbols"
    printf 'local:\n    *;\n};\n'
} >"$work/map"

mkdir -p "$out"
for name in symbols map headers; do
    cmp -s "$work/$name" "$out/pare.$name" || cp "$work/$name" "$out/pare.$name"
done
