#!/bin/sh
# install.sh PYTHON LOCK [PROJECT]: what LOCK names, by hash, into PYTHON's environment; then PROJECT itself, editable.
# First without the network, from what is installed or cached already. Warnings of a machine's own pip settings are
# not shown (-qq), errors are.
set -eu
python=$1 lock=$2 project=${3:-}
if uv --version >/dev/null 2>&1; then
    install() { uv pip sync --quiet --python "$python" --require-hashes --compile-bytecode "$@" "$lock"; }
    install --offline 2>/dev/null || install
    [ -z "$project" ] || uv pip install --quiet --offline --python "$python" --no-deps --no-build-isolation --editable "$project"
else
    install() { "$python" -m pip install -qq --require-hashes --only-binary :all: -r "$lock" "$@"; }
    install --no-index 2>/dev/null || install
    [ -z "$project" ] || "$python" -m pip install -qq --no-index --no-deps --no-build-isolation --editable "$project"
fi
