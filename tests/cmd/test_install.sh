#!/bin/sh
# Install into an empty folder, look for what must be there, and build the examples against it: with pkg-config and with
# find_package, with the shared library and with the archive.
#   test_install.sh CMAKE BUILD_DIR SOURCE_DIR C_COMPILER LIBRARY_FOLDER
set -eu
cmake=$1 build=$2 source=$3 cc=$4 libdir=$5
prefix=$(mktemp -d)
trap 'rm -rf "$prefix"' EXIT
"$cmake" --install "$build" --prefix "$prefix" >/dev/null

verbs=$("$prefix/bin/pare" help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p')
for verb in $verbs; do
    grep -q "^.TH PARE" "$prefix/share/man/man1/pare-$verb.1"
    grep -q "$verb" "$prefix/share/bash-completion/completions/pare"
    grep -q "$verb" "$prefix/share/zsh/site-functions/_pare"
    grep -q "$verb" "$prefix/share/fish/vendor_completions.d/pare.fish"
done
test -s "$prefix/share/man/man1/pare.1"
test "$(readlink "$prefix/$libdir/libpare.so")" = libpare.so.0
(cd "$prefix/include/pare" && find . -name '*.h' | sed 's|^\./||' | LC_ALL=C sort) >"$prefix/headers"
cmp "$prefix/headers" "$build/generated/api/pare.headers"

examples() { # folder, shared or static
    cd "$prefix"
    case $2:$(readelf -dW "$1/inspect_model") in
    shared:*"[libpare.so.0]"* | static:*) ;;
    *) echo "$1 does not need libpare.so.0" >&2; exit 1 ;;
    esac
    if [ "$2" = static ] && readelf -dW "$1/inspect_model" | grep -q libpare; then
        echo "$1 needs libpare.so" >&2
        exit 1
    fi
    "$1/inspect_model" "$source/tests/data/demo" | grep -q "^21 tensors, .* libpare "
    "$1/quantize_model" "$source/tests/data/demo" q8_0 "$1/q.gguf" "$1/pare.lock" | grep -q ": 21 tensors, "
    "$1/verify_lock" "$1/pare.lock" | grep -qx "bytes: ok, structure: ok (21 tensors)"
    "$prefix/bin/pare" verify "$1/pare.lock" >/dev/null
    printf x | dd of="$1/q.gguf" bs=1 seek=1000000 conv=notrunc 2>/dev/null
    status=0
    "$1/verify_lock" "$1/pare.lock" >"$1/said" || status=$?
    test "$status" = 1
    grep -q "bytes: different" "$1/said"
}

export PKG_CONFIG_PATH="$prefix/$libdir/pkgconfig" LD_LIBRARY_PATH="$prefix/$libdir"
mkdir "$prefix/make" "$prefix/make_static"
make -s -C "$source/examples" CC="$cc" CFLAGS="-O2 -Wall -Wextra -Werror" OUT="$prefix/make"
make -s -C "$source/examples" CC="$cc" CFLAGS="-O2 -Wall -Wextra -Werror" OUT="$prefix/make_static" STATIC=1
for static in OFF ON; do
    "$cmake" -S "$source/examples" -B "$prefix/cmake$static" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$cc" \
        -DSTATIC=$static -DCMAKE_BUILD_TYPE=Release >/dev/null
    "$cmake" --build "$prefix/cmake$static" >/dev/null
done
examples "$prefix/make" shared
examples "$prefix/make_static" static
examples "$prefix/cmakeOFF" shared
examples "$prefix/cmakeON" static
