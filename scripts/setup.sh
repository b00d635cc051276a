#!/usr/bin/env bash
# Set-up: system packages, Python environment, eBPF objects. What is done already is skipped, so this may run every time.
#
#   PYTHON=python3.11 FOR_TESTS=1 scripts/setup.sh
#
# Each part leaves a stamp in .setup/ named after what it was made from; a changed lock or a changed source runs it again.
set -euo pipefail
cd "$(dirname "$0")/.."

began=$SECONDS
say() { printf '[set-up %4ds] %s\n' "$((SECONDS - began))" "$*" >&2; }
fail() {
    say "$*"
    exit 1
}
mkdir -p .setup
# Installers talk much; their words are worth reading only when they fail.
quietly() {
    local output status=0
    output=$(mktemp)
    "$@" >"$output" 2>&1 || status=$?
    [ "$status" = 0 ] || cat "$output" >&2
    rm -f "$output"
    [ "$status" = 0 ] || fail "\`$*\` failed; its words stand above"
}

# --- system packages -------------------------------------------------------------------------------------------------
# A package is wanted only where the program it brings is absent: another distribution's program is as good.
wanted=()
need() { command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || wanted+=("${@:2}"); }
need make make
need ip iproute2
need nft nftables
need babeld babeld
need birdc bird2
need setpriv util-linux
need runuser util-linux
need "${CLANG:-clang-14}" clang-14
need "${STRIP:-llvm-strip-14}" llvm-14
[ -e /usr/include/linux/bpf.h ] || wanted+=(linux-libc-dev)
ls /usr/lib/*/libbpf.so.1 >/dev/null 2>&1 || wanted+=(libbpf1)
[ -e /usr/include/bpf/bpf_helpers.h ] || wanted+=(libbpf-dev)
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || wanted+=(postgresql-15 postgresql-contrib)
python=${PYTHON:-python3}
"$python" -c 'import ensurepip, venv' 2>/dev/null || wanted+=(python3-venv)
# What only tests use. A test that lacks it skips itself, with its reason, where there is no root to install it.
if [ -n "${FOR_TESTS:-}" ] && [ "$(id -u)" = 0 ]; then
    need chromium chromium
    need bpftool bpftool
    need ping iputils-ping
    need promtool prometheus
    need amtool prometheus-alertmanager
fi

if [ ${#wanted[@]} -gt 0 ]; then
    [ "$(id -u)" = 0 ] || fail "these packages are missing, and only root can install them: apt-get install ${wanted[*]}"
    say "installing ${wanted[*]}"
    export DEBIAN_FRONTEND=noninteractive
    # The daemons run in namespaces and in a private cluster, each with a configuration of ours. The distribution's own
    # services would take their ports and routes: policy-rc.d 101 keeps apt from starting them.
    made_policy=
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod 755 /usr/sbin/policy-rc.d
        made_policy=1
    fi
    mkdir -p /etc/postgresql-common
    made_cluster_policy=
    if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
        echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
        made_cluster_policy=1
    fi
    undo() {
        [ -z "$made_policy" ] || rm -f /usr/sbin/policy-rc.d
        [ -z "$made_cluster_policy" ] || rm -f /etc/postgresql-common/createcluster.conf
    }
    trap undo EXIT
    quietly apt-get update -qq
    quietly apt-get install -y -qq --no-install-recommends "${wanted[@]}"
    undo
    trap - EXIT
    # Enabled is not started: without this the next boot would start them.
    if [ -d /run/systemd/system ]; then
        for service in babeld bird postgresql prometheus prometheus-alertmanager; do
            systemctl disable --now "$service" >/dev/null 2>&1 || say "service $service was not there to disable"
        done
    fi
fi

# --- Python ----------------------------------------------------------------------------------------------------------
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' ||
    fail "$("$python" --version) will not do: set PYTHON to a Python 3.11 or 3.12"
locks=(requirements.lock)
# The learning stack is large, and nothing that heals needs it. FOR_TESTS or LEARNING asks for it.
[ -z "${FOR_TESTS:-}${LEARNING:-}" ] || locks+=(requirements-learning.lock)
# PyTorch's CPU wheels have an index of their own; without it, where the usual index has no CPU build, gigabytes come.
index=()
[ -z "${TORCH_INDEX:-}" ] || index=(--extra-index-url "$TORCH_INDEX")
# What was installed with the learning stack does without it too: only the other way round is something to do.
made_from() { cat "$@" pyproject.toml | sha256sum | cut -c1-16; }
stamp=.setup/python-$(made_from requirements.lock requirements-learning.lock)
[ ${#locks[@]} -gt 1 ] || [ -e "$stamp" ] || stamp=.setup/python-$(made_from requirements.lock)
if [ ! -e "$stamp" ] || [ ! -x .venv/bin/python ]; then
    # A checkout copied with its environment holds another folder's paths: make it anew.
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    # Compiled at install: uncompiled, every run that a worker starts would pay seconds of compiling.
    unset PYTHONDONTWRITEBYTECODE
    say "installing Python packages from ${locks[*]}"
    if command -v uv >/dev/null; then
        VIRTUAL_ENV=$PWD/.venv quietly uv pip install -q --compile-bytecode "${index[@]}" "${locks[@]/#/-r}"
        VIRTUAL_ENV=$PWD/.venv quietly uv pip install -q --compile-bytecode --no-deps -e .
    else
        # pip works on one core, so each lock has a pip of its own: no package is in both, and each names all it needs.
        # It compiles on one, too: so not now, and then on all of them, but packages' tests, which nobody imports. What
        # does not compile is a package's template or written for another Python; pip passes over those, too.
        pip=(.venv/bin/python -m pip install -q --no-compile --no-deps --disable-pip-version-check)
        pips=()
        for lock in "${locks[@]}"; do
            quietly "${pip[@]}" "${index[@]}" -r "$lock" &
            pips+=($!)
        done
        # Each is waited for, also after another failed: what goes on installing would be in the way of the next set-up.
        failed=
        for one in "${pips[@]}"; do wait "$one" || failed=1; done
        [ -z "$failed" ] || exit 1
        quietly "${pip[@]}" -e .
        quietly .venv/bin/python -m pip check
        say "compiling them"
        .venv/bin/python -m compileall -qq -j 0 -x '/tests?/' .venv/lib || true
    fi
    quietly .venv/bin/python -m compileall -q flows tasks ebpf infra models
    rm -f .setup/python-*
    touch "$stamp"
fi

# --- helm and Kubernetes' schemas -------------------------------------------------------------------------------------
# Where they cannot be fetched the chart's tests are skipped and say so; nothing else needs them.
if [ -n "${FOR_TESTS:-}" ] && [ ! -d .setup/chart ]; then
    say "fetching helm and the schemas for the chart's tests"
    scripts/chart-tools.sh >&2 || say "they could not be fetched: the chart's tests will be skipped"
fi

# --- eBPF objects ----------------------------------------------------------------------------------------------------
if [ -f ebpf/programs/Makefile ]; then
    stamp=.setup/ebpf-$(cat ebpf/programs/*.c ebpf/programs/*.h ebpf/programs/Makefile | sha256sum | cut -c1-16)
    if [ ! -e "$stamp" ] || ! ls ebpf/programs/*.o >/dev/null 2>&1; then
        say "building eBPF objects"
        quietly make -s -C ebpf/programs
        rm -f .setup/ebpf-*
        touch "$stamp"
    fi
fi
say "done"
