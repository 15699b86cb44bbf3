#!/usr/bin/env bash
# Libraries to link against in the place of glibc's own, so that what is linked runs with an older glibc: each function
# has the newest version that is not above the ceiling, and what came later is not there at all.
#   cmake/portable/glibc_stubs.sh CC FOLDER [CEILING]    CEILING: 2.28 unless told
# glibc keeps the old versions of its functions for programs linked long ago; libc.so.6 of today lists them. They are
# copied into empty shared objects of the same names, which are seen by the linker alone.
set -euo pipefail
cc=$1 out=$2 ceiling=${3:-2.28}
mkdir -p "$out"

# Assembler source on standard output, the version script to $2: variables that share an address still do, so that a
# program's copy of `environ` is also the library's `__environ`.
symbols() { # library, version script
    objdump -T "$1" | awk -F'\t' -v ceiling="$ceiling" -v script="$2" '
        function rank(version,    part, n) {
            n = split(substr(version, 7), part, ".")
            return part[1] * 1000000 + part[2] * 1000 + (n > 2 ? part[3] : 0)
        }
        NF == 2 && $1 !~ /\*UND\*|\*ABS\*|\.tbss|\.tdata/ {
            n = split($2, word, " ")
            version = word[2]
            gsub(/[()]/, "", version)
            if (n != 3 || version !~ /^GLIBC_[0-9.]+$/ || rank(version) > rank("GLIBC_" ceiling))
                next
            name = word[3]
            if (name in best && rank(best[name]) > rank(version))
                next
            best[name] = version
            address[name] = substr($1, 1, 16)
            weak[name] = substr($1, 18, 7) ~ /w/
            object[name] = substr($1, 18, 7) ~ /O/
            size[name] = word[1]
        }
        END {
            for (name in best) {
                names[best[name]] = names[best[name]] " " name ";"
                print (weak[name] ? ".weak " : ".globl ") name
                print ".type " name (object[name] ? ",@object" : ",@function")
                if (object[name]) {
                    at[address[name]] = at[address[name]] name ":\n.size " name ", 0x" size[name] "\n"
                    if (size[name] > room[address[name]])
                        room[address[name]] = size[name]
                } else
                    functions = functions name ":\n.byte 0\n"
            }
            print ".text\n" functions ".data"
            for (a in at)
                print ".balign 32\n" at[a] ".zero 0x" room[a]
            print ".section .note.GNU-stack,\"\",@progbits"
            for (version in names)
                print version " {" names[version] " };" >script
        }'
}

stub() { # soname
    local library
    library=$("$cc" -print-file-name="$1")
    [ -e "$library" ] || { echo "glibc_stubs: no $1" >&2; exit 1; }
    symbols "$library" "$out/$1.map" >"$out/$1.s"
    "$cc" -c "$out/$1.s" -o "$out/$1.o"
    "$cc" -shared -nostdlib -Wl,-soname,"$1" -Wl,--version-script,"$out/$1.map" "$out/$1.o" -o "$out/$1"
    rm "$out/$1.o" "$out/$1.s" "$out/$1.map"
}
stub libc.so.6
stub libm.so.6
stub ld-linux-x86-64.so.2
# Their functions are in libc.so.6 since glibc 2.34, and before that in these, which therefore must be loaded.
for library in libpthread.so.0 libdl.so.2 librt.so.1; do
    "$cc" -shared -nostdlib -Wl,-soname,$library -x assembler /dev/null -o "$out/$library"
done
ln -sf libm.so.6 "$out/libm.so"
ln -sf libpthread.so.0 "$out/libpthread.so"
ln -sf libdl.so.2 "$out/libdl.so"
ln -sf librt.so.1 "$out/librt.so"

# Found by every link as -lc: first what is missing in the old library, each file of which is taken where it is needed.
here=$(dirname "$0")
for part in network start stat threads unwind; do
    "$cc" -std=c11 -O2 -fPIC -Wall -Wextra -c "$here/compat_$part.c" -o "$out/compat_$part.o"
done
rm -f "$out/libcompat.a"
ar rcsD "$out/libcompat.a" "$out"/compat_*.o
nonshared=$("$cc" -print-file-name=libc_nonshared.a)
echo "GROUP ( $out/libcompat.a $out/libc.so.6 $nonshared AS_NEEDED ( $out/ld-linux-x86-64.so.2 ) )" >"$out/libc.so"
