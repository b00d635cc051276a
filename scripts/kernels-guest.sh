#!/bin/busybox sh
# shellcheck shell=dash
# The first and only process of a kernel that scripts/kernels.sh boots: mounts the host's files, runs what /settings
# says, tells on the console how it went in lines that begin with X0, and powers off.
/bin/busybox --install -s /bin
export PATH=/bin
. /settings
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for one in /modules/*; do insmod "$one" || echo "no module $one"; done
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=512000 host /host || { echo "X0 no files"; poweroff -f; }
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
for place in proc sys dev; do mount --rbind /$place /host/$place; done
for place in tmp run var/tmp root/.cache; do [ -d /host/$place ] && mount -t tmpfs tmpfs /host/$place; done
mkdir -p /host/dev/shm /host/dev/net
[ -e /host/dev/net/tun ] || mknod /host/dev/net/tun c 10 200
mount -t tmpfs tmpfs /host/dev/shm
mkdir /host/tmp/project
tar -xf /project.tar -C /host/tmp/project
rm /project.tar
cp /done /host/tmp/done
ln -s "$VENV" /host/tmp/project/.venv
ifconfig lo up
echo "X0 kernel $(uname -r) after $(cut -d' ' -f1 /proc/uptime) s"
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp
export PYTHONDONTWRITEBYTECODE=1 COLUMNS=160 NO_COLOR=1 HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis
export X0_PROGRESS=/dev/console X0_DONE=/tmp/done
# Plugins that no test here uses take a minute to import.
export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1

# run WORDS...: Python, in the project, on the host's files.
run() { chroot /host /bin/sh -c 'cd /tmp/project && exec .venv/bin/python "$@"' sh "$@"; }

# check NAME WORDS...: one that is no test but is told as if it were.
check() {
    name=$1
    shift
    grep -qxF "$name" /done && return
    if run "$@"; then outcome=passed; else outcome=failed; fi
    echo "X0 $outcome | $(cut -d. -f1 /proc/uptime) s since boot | $name |"
}

if [ -n "$TESTS" ]; then
    # shellcheck disable=SC2086  # TESTS is several words
    X0_PROCESSES=2 run -m pytest -q -rf --tb=short --color=no --capture=sys -p no:cacheprovider \
        -p pytest_asyncio.plugin -p pytest_timeout -p tests.ebpf.progress -o timeout=1200 -m kernel $TESTS
    echo "X0 ended with $?"
fi
check "doctor --ebpf" -m flows doctor --ebpf &
check "every variant" -m tests.ebpf.every_variant &
wait
poweroff -f
