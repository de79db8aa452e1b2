#!/bin/sh
# Prints the path of a Python 3.12 to 3.14 that can make a virtual environment, or says how to get one.
# Each candidate is run, not only looked up: a pyenv shim exists for every version that is installed,
# and fails for those the folder's .python-version does not name. The same is true of a shim named uv.
has_uv() { uv --version >/dev/null 2>&1; }
if has_uv; then modules=venv; else modules='venv, ensurepip'; fi # uv makes environments without ensurepip

use_if_fit() {
    "$1" -c "import sys, $modules; sys.exit(not (3, 12) <= sys.version_info[:2] < (3, 15))" >/dev/null 2>&1 || return 1
    "$1" -c 'import sys; print(sys.executable)'
    exit 0
}

cd "$(dirname "$0")/../.." || exit 1
if [ -n "${PYTHON:-}" ]; then
    use_if_fit "$PYTHON"
    echo "PYTHON=$PYTHON is no Python 3.12 to 3.14 with its venv module. Next: name another one." >&2
    exit 1
fi
for version in 3.13 3.14 3.12; do use_if_fit "python$version"; done
use_if_fit python3
for version in 3.13 3.14 3.12; do
    for folder in "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin \
        /opt/homebrew/bin /usr/local/bin /usr/bin \
        "/opt/homebrew/opt/python@$version/bin" "/usr/local/opt/python@$version/bin" \
        "/Library/Frameworks/Python.framework/Versions/$version/bin"; do
        [ -x "$folder/python$version" ] && use_if_fit "$folder/python$version"
    done
done
if has_uv; then
    find_with_uv() { uv python find --system --no-project 3.13 2>/dev/null; } # without these it finds our own .venv
    found=$(find_with_uv) || { uv python install --quiet 3.13 >&2 && found=$(find_with_uv); }
    [ -n "$found" ] && use_if_fit "$found"
fi

echo "No Python 3.12, 3.13 or 3.14 that can make a virtual environment was found." >&2
for candidate in python3.13 python3.14 python3.12 python3; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 12) <= sys.version_info[:2] < (3, 15))' >/dev/null 2>&1; then
        version=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        echo "  $candidate is here, its venv module is not. Next: sudo apt-get install -y python$version-venv" >&2
        exit 1
    fi
done
echo "  Next, one of:" >&2
case "$(uname -s)" in
Darwin) echo "    brew install python@3.13" >&2 ;;
*) echo "    Debian 13: sudo apt-get install -y python3 python3-venv    Ubuntu 24.04: python3.12 python3.12-venv" >&2 ;;
esac
echo "    pyenv install 3.13    or    uv python install 3.13" >&2
echo "  and if it is in an unusual place:  make demo PYTHON=/path/to/python3.13" >&2
exit 1
