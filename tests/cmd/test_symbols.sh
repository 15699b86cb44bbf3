#!/usr/bin/env bash
# libpare.so exports what src/pare.h declares and nothing else, under one version, and so does the archive to install. The
# declarations are taken from the compiler's own list (gcc -aux-info), not from the script that made the version script.
#   test_symbols.sh SHARED_LIBRARY ARCHIVE SOURCE_DIR C_COMPILER
set -euo pipefail
export LC_ALL=C
library=$1 archive=$2 source=$3 cc=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

printf '#include "pare.h"\n' >"$work/api.c"
flags=(-std=c11 -D_GNU_SOURCE -I"$source" -I"$source/src")
"$cc" "${flags[@]}" -fsyntax-only -aux-info "$work/aux" "$work/api.c" 2>/dev/null ||
    gcc "${flags[@]}" -fsyntax-only -aux-info "$work/aux" "$work/api.c" # clang has no such list
{
    # Functions: "/* file:line:NC */ extern type name (parameters);"
    grep -F " $source/" "$work/aux" | sed -nE 's|^/\*.*\*/ extern [^(]*[ *](pare_[A-Za-z0-9_]+) \(.*|\1|p'
    # Data: "extern const type a, b[3];", and no parenthesis
    "$cc" "${flags[@]}" -E -P "$work/api.c" | tr '\n' ' ' | tr ';{}' '\n\n\n' | grep -E '^ *extern [^(]*pare_' | grep -v '(' |
        grep -oP 'pare_\w+(?=\s*(\[[^]]*\])?\s*(,|$))'
} | sort -u >"$work/declared"

nm -D --defined-only "$library" | awk '$2 != "A" { print $3 }' >"$work/versioned"
if grep -vE '@@PARE_0$' "$work/versioned"; then
    echo "symbols: without the version PARE_0" >&2
    exit 1
fi
sed 's/@@PARE_0$//' "$work/versioned" | sort -u >"$work/exported"
nm --extern-only --defined-only "$archive" | awk 'NF == 3 { print $3 }' | sort -u >"$work/archived"
[ "$(wc -l <"$work/declared")" -gt 100 ] || { echo "symbols: src/pare.h declares next to nothing" >&2; exit 1; }
diff -u "$work/declared" "$work/exported"
diff -u "$work/declared" "$work/archived"
echo "symbols: $(wc -l <"$work/exported"), as src/pare.h declares"
