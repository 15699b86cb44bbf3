#!/usr/bin/env bash
# Do the Debian packages install, work and go away again on a clean system? Makes one (mmdebstrap: Debian's minimum and
# apt), lets apt install the packages, so that what they depend on is found, quantizes, pins and verifies a model, builds
# the C examples against libpare-dev, removes everything and looks for what stayed. As root, with a mirror of Debian.
#   scripts/check_package.sh [FOLDER]    FOLDER: of the .deb files, build-package/packages
# PARE_SUITE: Debian's release, that of this system; PARE_MIRROR: http://deb.debian.org/debian; PARE_CHROOT_TAR: a tar file
# with the clean system, made where it is absent and used where it is not.
set -euo pipefail
cd "$(dirname "$0")/.."
packages=${1:-build-package/packages}
mirror=${PARE_MIRROR:-http://deb.debian.org/debian}
suite=${PARE_SUITE:-$(. /etc/os-release && echo "${VERSION_CODENAME:-}")}

give_up() {
    echo "check_package: $*" >&2
    exit 1
}

step() { printf 'check_package: %s (%s s)\n' "$*" "$SECONDS"; }

ls "$packages"/pare_*.deb "$packages"/libpare?_*.deb "$packages"/libpare-dev_*.deb >/dev/null || give_up "no packages in $packages: scripts/package.sh"
[ "$(id -u)" = 0 ] || give_up "cannot be done: must be root to make a clean system"
command -v mmdebstrap >/dev/null || give_up "cannot be done: mmdebstrap is not installed: scripts/setup.sh --package"
[ -n "$suite" ] || give_up "cannot be done: /etc/os-release names no Debian release: set PARE_SUITE"

work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root
tar=${PARE_CHROOT_TAR:-$work/clean.tar}
if [ ! -e "$tar" ]; then
    step "a clean system: $suite from $mirror"
    mmdebstrap --quiet --mode=root --variant=minbase --components=main "$suite" "$tar" "$mirror" >"$work/log" 2>&1 || {
        rm -f "$tar"
        tail -20 "$work/log" >&2
        give_up "cannot be done: no clean system of $suite from $mirror"
    }
fi
mkdir "$root"
tar -xf "$tar" -C "$root"
cp /etc/resolv.conf "$root/etc/resolv.conf"
mkdir -p "$root/packages" "$root/trial/model"
cp "$packages"/*.deb "$root/packages"
cp tests/data/demo/*.json tests/data/demo/model.safetensors "$root/trial/model"

cat >"$root/trial/test.sh" <<'END'
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 APT_LISTCHANGES_FRONTEND=none
say() { echo "check_package: $*"; }
fail() { echo "check_package: $*" >&2; exit 1; }
install() { apt-get -q -y "$@" >/trial/log 2>&1 || { tail -30 /trial/log >&2; fail "apt-get $* failed"; }; }
cd /trial
apt-get -q update >/trial/log 2>&1 || { tail -5 /trial/log >&2; fail "apt-get update failed"; }

say "pare alone, without what it recommends"
install install --no-install-recommends /packages/pare_*.deb
test ! -e /usr/lib/*-linux-gnu/libpare.so.0 || fail "pare brought libpare0"
pare --version
pare env >/dev/null
test -s /usr/share/man/man1/pare-quantize.1.gz || grep -q 'path-exclude.*/usr/share/man' /etc/dpkg/dpkg.cfg.d/* || fail "no manual page"
test -s /usr/share/doc/pare/copyright
bash -n /usr/share/bash-completion/completions/pare
pare inspect --json model | grep -q '"n_tensors": *21'
pare quantize model -t q4_k_m -o q4.gguf --quiet >/dev/null
pare pin q4.gguf -o pare.lock >/dev/null
pare verify pare.lock
printf x | dd of=q4.gguf bs=1 seek=1000000 conv=notrunc 2>/dev/null
status=0
pare verify pare.lock >/dev/null 2>&1 || status=$?
test "$status" = 1 || fail "verify of a changed file: exit code $status"
status=0
said=$(pare eval model -f model/config.json --device cuda 2>&1) || status=$?
test "$status" = 6 || fail "--device cuda without a plugin: exit code $status: $said"

if ls /packages/pare-cuda_*.deb >/dev/null 2>&1; then
    say "pare-cuda on a machine without a device"
    install install --no-install-recommends /packages/pare-cuda_*.deb
    status=0
    said=$(pare eval model -f model/config.json --device cuda 2>&1) || status=$?
    test "$status" = 6 || fail "--device cuda without a device: exit code $status: $said"
    case $said in *"no CUDA plugin"* | *"cannot be loaded"* | *"another version"*) fail "the plugin was not used: $said" ;; esac
    pare inspect model >/dev/null
fi

say "libpare-dev: the examples"
install install gcc libc6-dev make pkg-config cmake /packages/libpare-dev_*.deb /packages/libpare?_*.deb
cp -r /usr/share/doc/libpare-dev/examples examples
make -s -C examples CFLAGS="-O2 -Wall -Wextra -Werror" OUT=.
mkdir static
make -s -C examples CFLAGS="-O2 -Wall -Wextra -Werror" OUT=../static STATIC=1
cmake -S examples -B by_cmake >/dev/null
cmake --build by_cmake >/dev/null
readelf -d examples/inspect_model | grep -q 'NEEDED.*libpare.so.0'
for folder in examples static by_cmake; do
    $folder/inspect_model model | grep '^21 tensors'
    $folder/quantize_model model q8_0 $folder/q8.gguf $folder/pare.lock >/dev/null
    $folder/verify_lock $folder/pare.lock
done

say "removal"
names=$(for file in /packages/*.deb; do dpkg-deb -f "$file" Package; done)
files=$(for name in $names; do dpkg -L "$name"; done | sort -u | while read -r path; do test -d "$path" || echo "$path"; done)
test "$(printf '%s\n' "$files" | wc -l)" -gt 50
install purge $names
for path in $files; do
    test ! -e "$path" && test ! -L "$path" || fail "left behind: $path"
done
left=$(find / -xdev \( -path /proc -o -path /trial -o -path /packages -o -path /var/log -o -path /var/cache \) -prune -o -print |
    grep -E '/(lib|_)?pare([-.0-9/]|$)' || true)
test -z "$left" || fail "left behind: $left"
test -z "$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' | grep -E '^(lib)?pare(-|[0-9]| )' || true)" || fail "dpkg still knows the packages"
say "nothing is left"
END
step "in the clean system"
# Its own process and mount spaces: what is mounted and started there goes with them.
unshare --mount --pid --fork --kill-child bash -c "mount -t proc proc '$root/proc' && env -u CMAKE_C_COMPILER_LAUNCHER -u CMAKE_CXX_COMPILER_LAUNCHER -u CFLAGS -u LDFLAGS chroot '$root' /bin/bash /trial/test.sh" ||
    give_up "the packages in $packages do not pass"
step "passed"
