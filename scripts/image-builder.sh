# For `source`: which builder this machine has, and how it is spoken to. Docker where its daemon answers, else buildah.
say() { printf '[image] %s\n' "$*" >&2; }
fail() {
    say "$*"
    exit 2
}
if [ -z "${BUILDER:-}" ]; then
    if docker info >/dev/null 2>&1; then
        BUILDER=docker
    elif command -v buildah >/dev/null; then
        BUILDER=buildah
    else
        fail "neither a docker that answers nor buildah is here: apt-get install buildah"
    fi
fi
# Overlays cannot be mounted in every container or machine, and runc not be run; files can be copied everywhere.
buildah_() { buildah --storage-driver "${STORAGE_DRIVER:-vfs}" "$@"; }

# import FOLDER NAME: an image of a tree.
import() {
    if [ "$BUILDER" = docker ]; then
        tar -C "$1" -c . | docker import - "$2" >/dev/null
    else
        local container
        container=$(buildah_ from scratch)
        buildah_ add -q "$container" "$1" / >/dev/null
        buildah_ commit -q "$container" "$2" >/dev/null
        buildah_ rm "$container" >/dev/null
    fi
}

# build TARGET NAME OPTION...: one stage of the Dockerfile.
build() {
    local target=$1 name=$2
    shift 2
    if [ "$BUILDER" = docker ]; then
        DOCKER_BUILDKIT=1 docker build --target "$target" --tag "$name" -f infra/deploy/image/Dockerfile "$@" .
    else
        # The format of docker keeps the health check, which OCI's has no place for. Layers are kept: both images share them.
        buildah_ bud --isolation "${ISOLATION:-chroot}" --format docker --layers --target "$target" --tag "$name" \
            --ignorefile infra/deploy/image/Dockerfile.dockerignore -f infra/deploy/image/Dockerfile "$@" .
    fi
}
