#!/usr/bin/env bash
# Check pare against independent programs: the Python packages gguf, safetensors, tokenizers, model-signing and
# cyclonedx-python-lib, and sha256sum. They are installed into a virtual environment of the build folder; without a package index this skips with one line.
#   tests/interop/run.sh [PARE] [VENV]
set -euo pipefail
cd "$(dirname "$0")/../.."
pare=$(realpath "${1:-build/pare}")
venv=${2:-build/interop-venv}

if ! "$venv/bin/python" -c 'import gguf, safetensors, tokenizers, numpy' 2>/dev/null; then
    if ! { python3 -m venv "$venv" && "$venv/bin/pip" -q install gguf==0.19.0 safetensors tokenizers numpy; } >build/interop.log 2>&1; then
        echo "SKIP interoperability: cannot install gguf, safetensors, tokenizers and numpy (see build/interop.log)"
        exit "${PARE_SKIP_CODE:-0}"
    fi
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/pare-interop.XXXXXX")
trap 'rm -rf "$work"' EXIT
"$venv/bin/python" tests/interop/check.py "$pare" "$work" tests/data/demo "${PARE_SHARED:-../shared}"
# pyopenssl: model-signing imports it and does not always bring it.
if "$venv/bin/python" -c 'import model_signing, cyclonedx.validation.json, jsonschema' 2>/dev/null ||
    "$venv/bin/pip" -q install model-signing==1.1.1 pyopenssl 'cyclonedx-python-lib[json-validation]' >>build/interop.log 2>&1; then
    mkdir "$work/signing"
    "$venv/bin/python" tests/interop/signing_check.py "$pare" "$work/signing" tests/data/demo
else
    echo "SKIP signatures: cannot install model-signing and cyclonedx-python-lib (see build/interop.log)"
fi
mkdir "$work/packed"
"$venv/bin/python" tests/interop/packed_check.py "$pare" "$work/packed" tests/data/demo
"$venv/bin/python" tests/interop/awq_check.py "$pare" tests/data/demo tests/data/demo/text.txt
# gptqmodel brings torch and compiles kernels on first use: only where it is installed already.
python=${PARE_GPTQMODEL_PYTHON:-$venv/bin/python}
if "$python" -c 'import gptqmodel, transformers' 2>/dev/null; then
    "$python" tests/interop/gptqmodel_check.py "$pare" "$work/packed" tests/data/demo
else
    echo "SKIP packed folders in transformers: gptqmodel and transformers are not installed (PARE_GPTQMODEL_PYTHON)"
fi
# torch is large: only where it is installed already.
python=${PARE_TRANSFORMERS_PYTHON:-$venv/bin/python}
if "$python" -c 'import torch, transformers' 2>/dev/null; then
    "$python" tests/interop/transformers_check.py "$pare" tests/families/*/ "${PARE_SHARED:-../shared}"/oracle/models/*/
    "$python" tests/interop/transformers_packed_check.py "$pare" tests/data/demo "${PARE_SHARED:-../shared}"/oracle/models/{qwen3_moe,mixtral}
else
    echo "SKIP folders in transformers: torch and transformers are not installed (PARE_TRANSFORMERS_PYTHON)"
fi
