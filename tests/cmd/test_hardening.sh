#!/usr/bin/env bash
# The files of this build are hardened, and check_hardening.sh, which says so, sees each flag that is taken away.
#   test_hardening.sh CHECK C_COMPILER [--sanitized] FILE...
set -euo pipefail
check=$1 cc=$2
shift 2
"$check" "$@"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/a.c" <<'END'
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
int main(int argc, char **argv)
{
    char text[64];
    strcpy(text, argv[argc - 1]);
#ifdef NETWORK
    return socket(AF_INET, SOCK_STREAM, 0);
#endif
    return printf("%s", text) < 0;
}
END
flags=(-O2 -fPIE -pie -fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -Wl,-z,relro,-z,now,-z,noexecstack)
"$cc" "${flags[@]}" "$work/a.c" -o "$work/good"
"$check" "$work/good" >/dev/null

without() { # what the complaint says, flags that undo one
    local wanted=$1 said
    shift
    "$cc" "${flags[@]}" "$@" "$work/a.c" -o "$work/bad" 2>/dev/null
    if said=$("$check" "$work/bad" 2>&1); then
        echo "not seen: $*" >&2
        exit 1
    fi
    grep -q "$wanted" <<<"$said" || { echo "$*: says $said" >&2; exit 1; }
}
without 'no PIE' -fno-pie -no-pie
without 'no GNU_RELRO' -Wl,-z,norelro
without 'no BIND_NOW' -Wl,-z,lazy
without 'stack that can be executed' -Wl,-z,execstack
without 'no stack protector' -fno-stack-protector
without 'no checked function' -U_FORTIFY_SOURCE
without 'search path' -Wl,-rpath,/opt/lib
without 'uses the network: socket' -DNETWORK
