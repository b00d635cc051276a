#!/usr/bin/env bash
# Makes a minimal Debian 12 to build our images on, where no registry can be reached: apt's mirror is enough.
#
#   scripts/base-image.sh [NAME]        # default x0tta6bl4-base; then: make image BASE=localhost/x0tta6bl4-base
#
# Needs root, debootstrap, and docker or buildah. MIRROR= names another mirror than Debian's.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/image-builder.sh

name=${1:-x0tta6bl4-base}
[ "$(id -u)" = 0 ] || fail "only root can make a base: it unpacks a system with its owners"
command -v debootstrap >/dev/null || fail "debootstrap is not installed: apt-get install debootstrap"
tree=$(mktemp -d "${TMPDIR:-/tmp}/x0-base.XXXXXX")
trap 'rm -rf "$tree"' EXIT
say "unpacking Debian 12"
debootstrap --variant=minbase --include=ca-certificates bookworm "$tree" ${MIRROR:+"$MIRROR"} >"$tree.log" 2>&1 || {
    tail -20 "$tree.log" >&2
    fail "debootstrap failed; its whole story is in $tree.log"
}
rm -f "$tree.log"
# As the published slim images do: nobody reads these in a container.
rm -rf "$tree"/var/cache/apt/* "$tree"/var/lib/apt/lists/* "$tree"/usr/share/{doc,man,locale}/* "$tree"/debootstrap
import "$tree" "$name"
say "made $name, $(du -sm --apparent-size "$tree" | cut -f1) MB unpacked"
