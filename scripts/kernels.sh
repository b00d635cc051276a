#!/usr/bin/env bash
# Boots Debian's kernels under QEMU and runs the eBPF tests there: on this machine's own files (read-only), and on a copy
# of this tree as it was when the script began, so that working on goes on beside it.
#
#   scripts/kernels.sh [PACKAGE ...]                   # e.g. linux-image-6.1.0-50-amd64; default: the newest 6.1 and 6.12
#   TESTS="tests/ebpf/test_tracing.py" scripts/kernels.sh
#
# Emulated (no /dev/kvm): a boot takes seconds, `doctor --ebpf` a minute and the tests many; figures of speed from there
# mean nothing. TESTS= (empty) runs the doctor alone, which tries every variant of every program.
# Needs apt, qemu-system-x86 and busybox-static. A summary a kernel is printed and kept in the folder KEEP.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=$(realpath .venv)
keep=${KEEP:-${TMPDIR:-/tmp}/x0-kernels}
tests=${TESTS-tests/ebpf}
limit=${LIMIT:-3600} # seconds a kernel may take
# What the tests need of a kernel that Debian builds as modules.
wanted="9p 9pnet_virtio virtio_pci veth tun sch_ingress cls_bpf crc32c_generic nf_tables"

say() { printf '[kernels] %s\n' "$*" >&2; }
command -v qemu-system-x86_64 >/dev/null || { say "qemu is not installed: apt install qemu-system-x86"; exit 2; }
busybox=$(command -v busybox) || { say "busybox is not installed: apt install busybox-static"; exit 2; }
if ldd "$busybox" >/dev/null 2>&1; then
    say "$busybox is not static: apt install busybox-static"
    exit 2
fi

newest() { apt-cache search --names-only "^linux-image-$1[.0-9]*-?[0-9]*(\+deb12)?-amd64(-unsigned)?\$" | cut -d' ' -f1 | sort -V | tail -1; }
packages=("$@")
[ ${#packages[@]} -gt 0 ] || packages=("$(newest 6.1.0)" "$(newest 6.12)")

# Fetches a kernel once and unpacks it; nothing is installed.
fetch() {
    local folder=$keep/$1
    if [ ! -d "$folder/boot" ]; then
        say "fetching $1"
        mkdir -p "$keep/debs" "$folder"
        (cd "$keep/debs" && apt-get download "$1" >/dev/null 2>&1) || { say "apt cannot fetch $1"; return 2; }
        dpkg -x "$keep/debs/$1"_*.deb "$folder"
        [ -d "$folder/lib" ] || ln -s usr/lib "$folder/lib"
        "$busybox" depmod -b "$folder" "$(ls "$folder/lib/modules")"
    fi
}

# Prints a module's file and, before it, those of all it needs.
modules_of() {
    local line file=$1
    line=$(grep -E "^[^:]*/$2\.ko[.xz]*:" "$file" || true)
    [ -n "$line" ] || return 0 # built into this kernel
    for one in $(printf '%s\n' "${line#*:}" | tr ' ' '\n' | tac) "${line%%:*}"; do
        printf '%s\n' "$one"
    done
}

initramfs() {
    local folder=$keep/$1 tree=$keep/$1/tree release
    release=$(ls "$folder/lib/modules")
    rm -rf "$tree"
    mkdir -p "$tree"/{bin,modules,host,proc,sys,dev}
    cp "$busybox" "$tree/bin/busybox"
    (git ls-files -z && printf '%s\0' ebpf/programs/*.o) | tar --null --files-from=- --ignore-failed-read -cf "$tree/project.tar"
    local base=$folder/lib/modules/$release number=10
    # A module may be listed for several; each is loaded once, in the order in which they need each other.
    for name in $wanted; do modules_of "$base/modules.dep" "$name"; done | awk '!seen[$0]++' | while read -r file; do
        cp "$base/$file" "$tree/modules/$number-$(basename "$file")"
        number=$((number + 1))
    done
    cat >"$tree/init" <<INIT
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for one in /modules/*; do insmod "\$one" || echo "no module \$one"; done
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose host /host || { echo "X0 no files"; poweroff -f; }
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
for place in proc sys dev; do mount --rbind /\$place /host/\$place; done
for place in tmp run var/tmp root/.cache; do [ -d /host/\$place ] && mount -t tmpfs tmpfs /host/\$place; done
mkdir -p /host/dev/shm /host/dev/net
[ -e /host/dev/net/tun ] || mknod /host/dev/net/tun c 10 200
mount -t tmpfs tmpfs /host/dev/shm
mkdir /host/tmp/project
tar -xf /project.tar -C /host/tmp/project
rm /project.tar
ln -s "$venv" /host/tmp/project/.venv
ifconfig lo up
echo "X0 kernel \$(uname -r)"
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp
export PYTHONDONTWRITEBYTECODE=1 COLUMNS=160 NO_COLOR=1 HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis
chroot /host /bin/sh -c 'cd /tmp/project && .venv/bin/python -m flows doctor --ebpf'
echo "X0 doctor \$?"
chroot /host /bin/sh -c 'cd /tmp/project && .venv/bin/python -m tests.ebpf.every_variant'
[ -z "$tests" ] || chroot /host /bin/sh -c 'cd /tmp/project && exec .venv/bin/python -m pytest -q -rfEs --tb=short --color=no -p no:cacheprovider -p no:randomly -o timeout=1200 $tests -m kernel'
echo "X0 ended \$?"
poweroff -f
INIT
    chmod +x "$tree/init"
    (cd "$tree" && find . | "$busybox" cpio -o -H newc 2>/dev/null | gzip -1) >"$folder/initramfs"
}

# Boots one kernel; everything it says goes to its log.
boot() {
    local folder=$keep/$1
    timeout "$limit" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 2048 -nographic -no-reboot \
        -kernel "$folder"/boot/vmlinuz-* -initrd "$folder/initramfs" -append "console=ttyS0 panic=-1 quiet" \
        -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap \
        -net none </dev/null >"$folder/log" 2>&1 || say "$1 did not end by itself within $limit s"
}

failed=0
for package in "${packages[@]}"; do
    fetch "$package"
    initramfs "$package"
    say "booting $package (log: $keep/$package/log)"
    began=$SECONDS
    boot "$package"
    ended=$(tr -d '\r' <"$keep/$package/log" | sed -n 's/^X0 ended //p')
    told=$(tr -d '\r' <"$keep/$package/log" | sed -n 's/^X0 doctor //p')
    printf '%s: doctor %s, tests %s (%d s)\n' "$package" "${told:-no end}" "$([ -n "$tests" ] && echo "${ended:-no end}" || echo "not asked for")" "$((SECONDS - began))"
    tr -d '\r' <"$keep/$package/log" | grep -E '^│ attach|^VARIANT|^[0-9]+ (passed|failed|skipped).* in |^(FAILED|ERROR|SKIPPED)' || true
    [ "$told$ended" = 00 ] || failed=1
done
exit $failed
