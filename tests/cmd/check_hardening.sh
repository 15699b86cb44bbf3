#!/usr/bin/env bash
# Reads in programs and shared libraries what cmake/Hardening.cmake asks for, and that nothing in them speaks to a network.
# Prints what lacks, and fails.
#   check_hardening.sh [--sanitized] FILE...     --sanitized: such builds have no checked variants of libc's functions
set -euo pipefail
export LC_ALL=C
fortified=1 failed=0
if [ "${1:-}" = --sanitized ]; then
    fortified=0
    shift
fi
[ $# -gt 0 ] || { echo "usage: check_hardening.sh [--sanitized] FILE..." >&2; exit 2; }

complain() {
    echo "hardening: $*" >&2
    failed=1
}

# Functions of libc and of libraries that open a way out of the machine. NVIDIA's runtime, which pare-cuda.so holds, has sockets
# between processes of one machine; what names another machine may not be there either.
sockets='socket|socketpair|connect|bind|listen|accept|accept4|send|sendto|sendmsg|recv|recvfrom|recvmsg'
network='getaddrinfo|inet_[a-z]*|gethostbyname[a-z0-9_]*|getnameinfo|res_n?query|curl_[a-z_]*|SSL_[A-Za-z_]*|BIO_s_connect|BIO_new_connect|OSSL_HTTP_[a-z_]*'

check() {
    local file=$1 headers segments dynamic symbols undefined
    headers=$(readelf -hW "$file")
    segments=$(readelf -lW "$file")
    dynamic=$(readelf -dW "$file")
    symbols=$(readelf --dyn-syms -W "$file")
    undefined=$(awk '$7 == "UND" && NF >= 8 { sub(/@.*/, "", $8); print $8 }' <<<"$symbols" | sort -u)

    grep -q 'Type:.*DYN' <<<"$headers" || complain "$file has a fixed address (no PIE)"
    grep -q 'GNU_RELRO' <<<"$segments" || complain "$file has no GNU_RELRO segment"
    grep -qE 'BIND_NOW|\(FLAGS_1\).*NOW' <<<"$dynamic" || complain "$file binds lazily (no BIND_NOW)"
    grep -q 'GNU_STACK' <<<"$segments" || complain "$file does not say what its stack is"
    ! grep -E 'GNU_STACK' <<<"$segments" | grep -q ' RWE ' || complain "$file has a stack that can be executed"
    ! grep -E '^ *LOAD' <<<"$segments" | grep -qE ' RWE |  WE ' || complain "$file has a segment to write and execute"
    ! grep -qE '\((RPATH|RUNPATH)\)' <<<"$dynamic" || complain "$file has a search path of its own (RPATH)"
    ! grep -q '(TEXTREL)' <<<"$dynamic" || complain "$file has relocations in its code"
    grep -qx '__stack_chk_fail' <<<"$undefined" || complain "$file has no stack protector"
    [ "$fortified" = 0 ] || grep -qE '^__.*_chk$' <<<"$undefined" || complain "$file uses no checked function (_FORTIFY_SOURCE)"

    local bad
    local refused="$network|$sockets"
    [ "${file##*/}" != pare-cuda.so ] || refused=$network
    bad=$(grep -xE "$refused" <<<"$undefined" | tr '\n' ' ' || true)
    [ -z "$bad" ] || complain "$file uses the network: $bad"
    bad=$(awk '/\(NEEDED\)/ { print $NF }' <<<"$dynamic" | grep -E 'libcurl|libssl|libnghttp|libresolv|libnss' | tr '\n' ' ' || true)
    [ -z "$bad" ] || complain "$file needs a network library: $bad"
}

for file in "$@"; do
    [ -f "$file" ] || { complain "$file is not there"; continue; }
    check "$file"
done
[ "$failed" = 0 ] || exit 1
echo "hardening: $# files are as cmake/Hardening.cmake asks"
