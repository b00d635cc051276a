#!/usr/bin/env bash
# Builds the images `x0tta6bl4` (control) and `x0tta6bl4-node` with docker or buildah, and looks into what was built.
#
#   scripts/image.sh                                   # both, on debian:12-slim
#   BASE=localhost/x0tta6bl4-base scripts/image.sh     # on what scripts/base-image.sh made: no registry is asked
#   EXTRAS=[learn] TAG=0.2.0 scripts/image.sh control  # with an extra of pyproject.toml, another tag, one image
#
# BUILD_OPTIONS is handed to the builder as it is (`-v /etc/pip.conf:/etc/pip.conf:ro` where packages come by a proxy).
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/image-builder.sh

tag=${TAG:-$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)}
read -ra options <<<"${BUILD_OPTIONS:-}"
images=("$@")
[ ${#images[@]} -gt 0 ] || images=(node control)
for one in "${images[@]}"; do
    case $one in
        control) name=x0tta6bl4:$tag ;;
        node) name=x0tta6bl4-node:$tag ;;
        *) fail "no image is called $one: node or control" ;;
    esac
    began=$SECONDS
    build "$one" "$name" --build-arg "BASE=${BASE:-debian:12-slim}" --build-arg "EXTRAS=${EXTRAS:-}" "${options[@]}"
    say "built $name with $BUILDER in $((SECONDS - began)) s"
done
