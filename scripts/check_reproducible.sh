#!/usr/bin/env bash
# Does one commit give the same bytes twice? Builds the packages of HEAD (what is not committed is left out) in two folders
# whose paths differ in length (with CUDA: one after the other in the same, since nvcc names what is internal to a source by
# a hash of its path), with another number of jobs, another umask, time zone and language, and without a compiler
# cache the second time; then compares the program, the libraries, the CUDA plugin if it was built, and the packages.
#   scripts/check_reproducible.sh [CMAKE_ARGUMENT...]    e.g. -DPARE_CUDA=OFF; REPRODUCE_FOLDER: where, a temporary folder
set -euo pipefail
source=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d "${REPRODUCE_FOLDER:-${TMPDIR:-/tmp}}/pare-twice.XXXXXX")
trap 'rm -rf "$work"' EXIT
commit=$(git -C "$source" rev-parse HEAD)
SOURCE_DATE_EPOCH=$(git -C "$source" log -1 --format=%ct)
export SOURCE_DATE_EPOCH

first=$work/a second=$work/another/folder/with/a/longer/path
build() { # folder, number of jobs, CMake's arguments
    local folder=$1 jobs=$2
    shift 2
    mkdir -p "$(dirname "$folder")"
    git clone -q --no-checkout "$source" "$folder"
    git -C "$folder" checkout -q --detach "$commit"
    echo "reproducible: building in $folder ($SECONDS s)"
    PARE_JOBS=$jobs "$folder/scripts/package.sh" --no-check "$@" >"$work/log" 2>&1 || { tail -60 "$work/log" >&2; exit 1; }
}
hashes() { # of what was built; the links libpare.so and libpare.so.0 are left out
    (cd "$1/build-package" && find . -maxdepth 2 -type f \( -path ./pare -o -name 'libpare.so.*' -o -name libpare.a -o -name pare-cuda.so \
        -o -name '*.deb' \) | sort | xargs sha256sum)
}

case " $* " in
*" -DPARE_CUDA=OFF "*) ;;
*) second=$first ;;
esac

build "$first" "$(nproc)" "$@"
hashes "$first" >"$work/first"
if [ "$second" = "$first" ]; then rm -rf "$first"; fi
(
    umask 077
    export TZ=Asia/Tokyo LANG=tr_TR.UTF-8 CCACHE_DISABLE=1
    build "$second" $(($(nproc) + 1)) "$@"
)
hashes "$second" >"$work/second"
cat "$work/first"
for file in pare libpare.a dev/libpare.a 'libpare.so.[0-9.]*'; do
    grep -q "  \./$file\$" "$work/first" || { echo "reproducible: $file was not built" >&2; exit 1; }
done
[ "$(grep -c '\.deb$' "$work/first")" -ge 3 ] || { echo "reproducible: packages are missing" >&2; exit 1; }
if ! diff "$work/first" "$work/second"; then
    echo "reproducible: $commit does not give the same bytes twice" >&2
    exit 1
fi
echo "reproducible: $(wc -l <"$work/first") files of $commit are the same ($SECONDS s)"
