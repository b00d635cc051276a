#!/usr/bin/env bash
# Boots Debian's kernels under QEMU and runs the eBPF tests there: on this machine's own files (read-only), and on a copy
# of this tree as it was when the script began, so that working on goes on beside it.
#
#   scripts/kernels.sh [PACKAGE ...]                   # e.g. linux-image-6.1.0-56-amd64; default: the newest 6.1 and 6.12
#   scripts/kernels.sh bullseye/linux-image-5.10.0-46-amd64   # of another release of Debian than this machine's
#   TESTS="tests/ebpf/test_tracing.py" scripts/kernels.sh
#   RESUME=1 scripts/kernels.sh                        # goes on with the last copy, with what has not passed yet
#
# Emulated (no /dev/kvm): a boot takes seconds to half a minute and the tests many; figures of speed from there mean
# nothing. TESTS= (empty) runs only the doctor and every variant of every program by itself.
# LIMIT is how many seconds a kernel may take; what it had done by then is kept, and RESUME=1 does the rest.
# Needs apt, qemu-system-x86 and busybox-static. Each test is told as it ends, a table at the end; all of it is kept in
# the folder KEEP. Exit 0 only if every test passed, or was skipped by its own reason, on every kernel.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=$(realpath .venv)
keep=${KEEP:-${TMPDIR:-/tmp}/x0-kernels}
tests=${TESTS-tests/ebpf}
limit=${LIMIT:-3600}
resume=${RESUME:-}
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

# Prints sources for another release of Debian, from where this machine's apt fetches its own.
mirrors() {
    local here
    here=$(. /etc/os-release && printf %s "$VERSION_CODENAME")
    apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' | sort -u \
        | sed -n "s|^\([^ ]*\) $here\(-security\)\?\$|deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] \1 $1\2 main|p"
}

# Runs a command of apt's for one release of Debian, or for this machine's own sources when its name is empty.
apt_of() {
    local release=$1 at=$keep/apt-$1 options=()
    shift
    if [ -n "$release" ]; then
        options=(-o "Dir::Etc::SourceList=$at/sources.list" -o "Dir::Etc::SourceParts=$at/none"
            -o "Dir::State::Lists=$at/lists" -o "Dir::Cache=$at/cache" -o APT::Sandbox::User=root)
        if [ ! -d "$at" ]; then
            mkdir -p "$at"/{none,lists/partial,cache/archives/partial}
            mirrors "$release" >"$at/sources.list"
            apt-get "${options[@]}" update >/dev/null || { rm -rf "$at"; return 2; }
        fi
    fi
    "$@" "${options[@]}"
}

# Fetches a kernel once and unpacks it; nothing is installed.
fetch() {
    local folder=$keep/${1#*/} release=${1%/*}
    [ "$release" != "$1" ] || release=
    if [ ! -d "$folder/boot" ]; then
        say "fetching $1"
        mkdir -p "$keep/debs" "$folder"
        (cd "$keep/debs" && apt_of "$release" apt-get download "${1#*/}" >/dev/null) || { say "apt cannot fetch $1"; return 2; }
        dpkg -x "$keep/debs/${1#*/}"_*.deb "$folder"
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

# Copies this tree, compiled: under emulation compiling each module again costs more than most tests.
copy() {
    rm -rf "$keep/copy"
    mkdir -p "$keep/copy"
    (git ls-files -z && printf '%s\0' ebpf/programs/*.o) \
        | tar --null --files-from=- --ignore-failed-read -cf - | tar -xf - -C "$keep/copy"
    "$venv/bin/python" -m compileall -q "$keep"/copy/{ebpf,flows,infra,models,tasks} >/dev/null || true
    # Collecting compiles the tests as pytest changes them, and lists them.
    (cd "$keep/copy" && PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 PYTHONDONTWRITEBYTECODE='' "$venv/bin/python" -m pytest \
        --collect-only -q -p no:cacheprovider -p pytest_asyncio.plugin -p pytest_timeout -m kernel tests/ebpf) \
        | grep '::' >"$keep/all"
    tar -cf "$keep/project.tar" -C "$keep/copy" .
    rm -rf "$keep/copy"
    git describe --always --dirty --exclude='*' >"$keep/commit"
}

# Prints what ended well and need not be run again: the last word on each counts.
done_of() { awk -F' [|] ?' '{ last[$3] = $1 } END { for (one in last) if (last[one] != "failed") print one }' "$1"; }

initramfs() {
    local folder=$keep/$1 tree=$keep/$1/tree release
    release=$(ls "$folder/lib/modules")
    rm -rf "$tree"
    mkdir -p "$tree"/{bin,modules,host,proc,sys,dev}
    cp "$busybox" "$tree/bin/busybox"
    cp "$keep/project.tar" "$tree/project.tar"
    cp scripts/kernels-guest.sh "$tree/init"
    done_of "$folder/results" >"$tree/done"
    printf 'VENV="%s"\nTESTS="%s"\n' "$venv" "$tests" >"$tree/settings"
    local base=$folder/lib/modules/$release number=10
    # A module may be listed for several; each is loaded once, in the order in which they need each other.
    for name in $wanted; do modules_of "$base/modules.dep" "$name"; done | awk '!seen[$0]++' | while read -r file; do
        cp "$base/$file" "$tree/modules/$number-$(basename "$file")"
        number=$((number + 1))
    done
    (cd "$tree" && find . | "$busybox" cpio -o -H newc 2>/dev/null | gzip -1) >"$folder/initramfs"
    rm -rf "$tree"
}

# Boots one kernel: everything it says goes to its log, what it says of a test also to its results and the screen.
# 57-bit addresses cost a fifth level at each miss of the emulated TLB.
boot() {
    local folder=$keep/$1
    timeout "$limit" qemu-system-x86_64 -accel tcg,thread=multi -cpu max,la57=off -smp 2 -m 3072 -nographic -no-reboot \
        -kernel "$folder"/boot/vmlinuz-* -initrd "$folder/initramfs" -append "console=ttyS0 panic=-1 quiet" \
        -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap \
        -net none </dev/null 2>&1 | stdbuf -oL tr -d '\r' | tee -a "$folder/log" \
        | stdbuf -oL sed -n 's/^.*X0 \(passed\|failed\|skipped\|kernel\|ended\|no files\)/\1/p' | tee >(cat >&2) | { grep --line-buffered ' | ' || true; } >>"$folder/results" \
        || say "$1 did not end by itself within $limit s; RESUME=1 does the rest"
}

# Prints a row a file of tests: how many passed, skipped and failed, and how many were not reached.
table() {
    awk -F' [|] ?' '
        function file(name) { sub(/::.*/, "", name); sub(/.*\//, "", name); return name }
        FILENAME == ARGV[1] { last[$3] = $1; next }
        { all[file($0)]++; count[file($0), ($0 in last) ? last[$0] : "left"]++ }
        END {
            printf "%-28s %6s %8s %8s %8s %12s\n", "", "tests", "passed", "skipped", "failed", "not reached"
            for (one in all)
                printf "%-28s %6d %8d %8d %8d %12d\n", one, all[one], count[one, "passed"], count[one, "skipped"],
                    count[one, "failed"], count[one, "left"] | "sort"
        }' "$1" <(printf '%s\n' "doctor --ebpf" "every variant"; [ -z "$tests" ] || asked)
}

# Prints the tests that were asked for: those whose names begin as one of the words of TESTS.
asked() { for word in $tests; do grep -F "$word" "$keep/all" || true; done | awk '!seen[$0]++'; }

mkdir -p "$keep"
if [ -z "$resume" ] || [ ! -f "$keep/project.tar" ]; then
    copy
    resume=
fi
failed=0
for package in "${packages[@]}"; do
    fetch "$package"
    package=${package#*/}
    folder=$keep/$package
    [ -n "$resume" ] || rm -f "$folder/results" "$folder/log"
    touch "$folder/results"
    initramfs "$package"
    say "booting $package (log: $folder/log)"
    began=$SECONDS
    boot "$package"
    printf '\n%s at %s, %d s of this run\n' "$package" "$(cat "$keep/commit")" "$((SECONDS - began))"
    table "$folder/results"
    grep '^VARIANT' "$folder/log" || true
    awk -F' [|] ?' '{ last[$3] = $0 } END { for (one in last) if (last[one] !~ /^passed/) print last[one] }' "$folder/results"
    left=$({ printf '%s\n' "doctor --ebpf" "every variant"; [ -z "$tests" ] || asked; } | grep -cvxFf <(done_of "$folder/results") || true)
    [ "$left" = 0 ] || failed=1
done
exit $failed
