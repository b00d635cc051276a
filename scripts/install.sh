#!/usr/bin/env bash
# Installer for a Debian host with systemd: code, environment, units, folders. Running it again brings them up to date;
# keys, settings and places are never touched, and nothing is started.
#
#   scripts/install.sh control|node [--dry-run] [--root FOLDER]
#
# With --root everything goes below FOLDER, as for an image; the environment is then not set up and systemd not told.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    echo "usage: scripts/install.sh control|node [--dry-run] [--root FOLDER]" >&2
    exit 2
}
fail() {
    echo "install: $*" >&2
    exit "${2:-1}"
}
kind=${1:-}
case $kind in
control | node) shift ;;
*) usage ;;
esac
dry=
root=
while [ $# -gt 0 ]; do
    case $1 in
    --dry-run) dry=1 ;;
    --root)
        [ -n "${2:-}" ] || usage
        root=${2%/}
        shift
        ;;
    *) usage ;;
    esac
    shift
done
[ -n "$dry" ] || [ "$(id -u)" = 0 ] || fail "run this as root, or with --dry-run"
[ -n "$root" ] || [ -n "$dry" ] || [ -d /run/systemd/system ] || fail "this host does not run systemd; see docs/deploy.md"

run() {
    if [ -n "$dry" ]; then
        printf '%s\n' "$*"
    else
        "$@"
    fi
}
# A file that somebody made is somebody's.
new_file() {
    local mode=$1 path=$2 content=$3
    [ ! -e "$path" ] || return 0
    if [ -n "$dry" ]; then
        printf 'write %s, mode %s\n' "$path" "$mode"
        return 0
    fi
    (umask 077 && printf '%s' "$content" >"$path.new")
    chmod "$mode" "$path.new"
    mv -n "$path.new" "$path"
}

code=$root/opt/x0tta6bl4
etc=$root/etc/x0tta6bl4
units=$root/etc/systemd/system

run install -d -m 755 "$code" "$etc" "$etc/nodes" "$units" "$root/usr/local/bin"
# Only what git knows is code; what an earlier version had and this one has not must go.
listed=$(mktemp)
trap 'rm -f "$listed"' EXIT
git ls-files --cached -z -- . ':!tests' >"$listed" || fail "this is no checkout; clone the repository and run it there"
for folder in flows tasks ebpf infra models; do
    run rm -rf "${code:?}/$folder"
done
if [ -n "$dry" ]; then
    echo "copy $(tr -cd '\0' <"$listed" | wc -c) files to $code"
else
    tar --null --files-from="$listed" --owner=0 --group=0 -cf - | tar -xf - -C "$code"
fi
# Environment and eBPF objects: what is done already is skipped there.
[ -n "$root" ] || run "$code/scripts/setup.sh"

run ln -sfn /opt/x0tta6bl4/.venv/bin/x0tta6bl4 "$root/usr/local/bin/x0tta6bl4"
case $kind in
control)
    run install -m 644 infra/deploy/systemd/x0tta6bl4-control.service "$units/"
    new_file 600 "$etc/control.env" '# Settings of docs/operations.md, one a line, NAME=value. X0_MESH names the mesh.
'
    next="edit /etc/x0tta6bl4/control.env, then: systemctl enable --now x0tta6bl4-control"
    ;;
node)
    run install -m 644 infra/deploy/systemd/x0tta6bl4-node.service infra/deploy/systemd/x0tta6bl4-actuator.service "$units/"
    next="x0tta6bl4 node join --url https://GATEWAY --mesh MESH --name NAME --token-file FILE"
    ;;
esac
[ -n "$root" ] || run systemctl daemon-reload
echo "next: $next"
