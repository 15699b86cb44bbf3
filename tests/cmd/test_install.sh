#!/bin/sh
# Install into an empty folder, look for what must be there, and build a program against it.
#   test_install.sh CMAKE BUILD_DIR SOURCE_DIR C_COMPILER LIBRARY_FOLDER
set -eu
prefix=$(mktemp -d)
trap 'rm -rf "$prefix"' EXIT
"$1" --install "$2" --prefix "$prefix" >/dev/null

verbs=$("$prefix/bin/pare" help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p')
for verb in $verbs; do
    grep -q "^.TH PARE" "$prefix/share/man/man1/pare-$verb.1"
    grep -q "$verb" "$prefix/share/bash-completion/completions/pare"
    grep -q "$verb" "$prefix/share/zsh/site-functions/_pare"
    grep -q "$verb" "$prefix/share/fish/vendor_completions.d/pare.fish"
done
test -s "$prefix/share/man/man1/pare.1"

export PKG_CONFIG_PATH="$prefix/$5/pkgconfig"
# The flags are words on purpose.
# shellcheck disable=SC2046
"$4" -std=c11 "$3/tests/cmd/use_library.c" -o "$prefix/use_library" $(pkg-config --cflags --libs pare)
test "$("$prefix/use_library" "$3/tests/data/demo")" = "21 tensors"
