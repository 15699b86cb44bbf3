#!/usr/bin/env bash
# Does the portable build need glibc alone, and no newer one than it says, and is it hardened (tests/cmd/check_hardening.sh)?
# Fails with what is wrong.
#   scripts/check_portable.sh FOLDER [CEILING]    FOLDER: holds pare and pare-cuda.so (if it was built); CEILING: 2.28
set -euo pipefail
folder=${1:?usage: scripts/check_portable.sh FOLDER [CEILING]} ceiling=${2:-2.28}
failed=0 total=0

complain() {
    echo "check_portable: $*" >&2
    failed=1
}

check() { # file
    local dynamic libraries newest
    dynamic=$(objdump -p "$1")
    libraries=$(awk '$1 == "NEEDED" { print $2 }' <<<"$dynamic" | sort | tr '\n' ' ')
    newest=$(grep -o 'GLIBC_[0-9.]*' <<<"$dynamic" | sed 's/GLIBC_//' | sort -Vu | tail -1)
    bytes=$(stat -c %s "$1")
    for library in $libraries; do
        case $library in
        libc.so.6 | libm.so.6 | libpthread.so.0 | libdl.so.2 | librt.so.1 | ld-linux-x86-64.so.2) ;;
        *) complain "$1 needs $library" ;;
        esac
    done
    [ "$(printf '%s\n' "$newest" "$ceiling" | sort -V | tail -1)" = "$ceiling" ] ||
        complain "$1 needs glibc $newest: $(objdump -T "$1" | grep "GLIBC_$newest" | awk '{ print $NF }' | tr '\n' ' ')"
    ! grep -qE 'GLIBC_PRIVATE|RPATH|RUNPATH|GLIBCXX|CXXABI' <<<"$dynamic" || complain "$1: private symbols, a search path or a C++ library"
    printf '%-16s %9d bytes, glibc %s, %s\n' "$(basename "$1")" "$bytes" "$newest" "$libraries"
}

for file in pare pare-cuda.so pare-check-device; do
    [ -e "$folder/$file" ] || [ "$file" = pare ] || continue
    check "$folder/$file"
    "$(dirname "$0")/../tests/cmd/check_hardening.sh" "$folder/$file" >/dev/null || failed=1
    [ "$file" = pare-check-device ] || total=$((total + bytes)) # that one is for scripts/gpu_check.sh
done
[ "$total" -lt 60000000 ] || complain "$total bytes are more than 60 MB"
"$folder/pare" env >/dev/null || complain "$folder/pare does not run here"
exit "$failed"
