#!/bin/sh
# Makes .venv hold exactly what uv.lock says.
#
# The lock file names the public index. Where this machine's packages come from another one, the same versions are
# installed from there, each file checked against the lock file's hash.
set -eu

cd "$(dirname "$0")/.."
uv=${TORGHUT_BOOTSTRAP_DIR:-$PWD/.bootstrap}/uv
if grep -q '^export UV_DEFAULT_INDEX=' "$uv" || [ -n "${UV_DEFAULT_INDEX:-}" ]; then
    requirements=${TORGHUT_BOOTSTRAP_DIR:-$PWD/.bootstrap}/requirements.txt
    [ -x .venv/bin/python ] || "$uv" venv --quiet .venv
    "$uv" export --quiet --frozen --no-emit-project --output-file "$requirements"
    "$uv" pip sync --quiet --python .venv/bin/python --require-hashes "$requirements"
    "$uv" pip install --quiet --python .venv/bin/python --no-deps --editable .
else
    "$uv" sync --quiet --locked
fi
