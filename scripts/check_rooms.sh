#!/usr/bin/env bash
# Does every #include go down the table of rooms in docs/ARCHITECTURE.md? Prints each one that turns back, and fails.
#   scripts/check_rooms.sh [SOURCE_FOLDER]
set -euo pipefail
cd "${1:-$(dirname "$0")/..}"

# room: the rooms that it may use besides itself, as they are named in an #include
check() {
    local folder=$1 allowed=$2 bad
    bad=$(grep -nE '^#include "' "$folder"/*.[ch] /dev/null | grep -vE "^[^\"]*\"($allowed)/" || true)
    [ -z "$bad" ] || { printf 'rooms: %s may use %s only:\n%s\n' "$folder" "${allowed//|/, }" "$bad" >&2; return 1; }
}

failed=0
check src/core "core" || failed=1
check quant "quant|core" || failed=1
check src/model "model|quant|core" || failed=1
check formats "formats|model|quant|core" || failed=1
check recipe "recipe|model|quant|core" || failed=1
check memory "memory|model|quant|core" || failed=1
check tasks "tasks|core" || failed=1
check eval "eval|tasks|formats|model|quant|core" || failed=1
check report "report|eval|tasks|formats|model|quant|core" || failed=1
check fit "fit|recipe|memory|eval|formats|model|quant|core" || failed=1
check gpu "gpu|eval|model|quant|core" || failed=1
check src/cmd "cmd|fit|gpu|report|recipe|memory|eval|tasks|formats|model|quant|core" || failed=1
[ "$failed" = 0 ] || exit 1
echo "rooms: every include goes down the table"
