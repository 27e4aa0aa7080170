#!/bin/sh
# Makes .bootstrap/uv: a uv that works on a bare machine with Python 3.11 or newer, root or not.
#
# Python interpreters are never downloaded, and no package index is named here: uv asks where pip on this machine asks.
# TORGHUT_BOOTSTRAP_DIR moves the folder (the tests do); TORGHUT_PYTHON names the interpreter.
set -eu

cd "$(dirname "$0")/.."
folder=${TORGHUT_BOOTSTRAP_DIR:-$PWD/.bootstrap}
requirement='uv>=0.8,<1'
mkdir -p "$folder"

say() { printf '%s\n' "bootstrap: $*" >&2; }

fail() {
    say "$@"
    exit 1
}

usable_python() {
    command -v "$1" >/dev/null 2>&1 &&
        "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1
}

find_python() {
    for candidate in ${TORGHUT_PYTHON:-} python3 python3.13 python3.12 python3.11 python; do
        if usable_python "$candidate"; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return 0
        fi
    done
    return 1
}

usable_uv() {
    [ -x "$1" ] && "$1" --version 2>/dev/null | grep -Eq '^uv (0\.([89]|[1-9][0-9]+)\.|[1-9])'
}

uv_in_environment() {
    "$python" -m venv --clear "$folder/venv" >>"$log" 2>&1 &&
        "$folder/venv/bin/python" -m pip install --quiet "$requirement" >>"$log" 2>&1 &&
        uv=$folder/venv/bin/uv && usable_uv "$uv"
}

uv_in_target() {
    "$python" -m pip install --quiet --upgrade --target "$folder/site" "$requirement" >>"$log" 2>&1 &&
        uv=$folder/site/bin/uv && usable_uv "$uv"
}

uv_in_environment_after_apt() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || return 1
    say "this Python has neither venv nor pip; installing python3-venv with apt-get"
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    apt-get update -qq >>"$log" 2>&1 || true
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "python$version-venv" >>"$log" 2>&1 ||
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3-venv >>"$log" 2>&1 ||
        return 1
    uv_in_environment
}

# What pip is told by its own configuration, uv would not know.
pip_setting() {
    "$python" -m pip config get "global.$1" 2>/dev/null || "$python" -m pip config get "install.$1" 2>/dev/null || true
}

write_wrapper() {
    index=${PIP_INDEX_URL:-$(pip_setting index-url)}
    certificates=${PIP_CERT:-$(pip_setting cert)}
    {
        printf '#!/bin/sh\n# Written by scripts/bootstrap.sh.\n'
        printf 'export UV_PYTHON_DOWNLOADS=never UV_PYTHON="${UV_PYTHON:-%s}"\n' "$python"
        printf '[ -w "${HOME:-/nonexistent}" ] || export UV_CACHE_DIR="${UV_CACHE_DIR:-%s/cache}"\n' "$folder"
        [ -z "$index" ] || printf 'export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-%s}"\n' "$index"
        [ -z "$certificates" ] || printf 'export SSL_CERT_FILE="${SSL_CERT_FILE:-%s}"\n' "$certificates"
        printf 'exec "%s" "$@"\n' "$uv"
    } >"$folder/uv.new"
    chmod 755 "$folder/uv.new"
    mv "$folder/uv.new" "$folder/uv"
}

log=$folder/bootstrap.log
: >"$log"
python=$(find_python) || fail "no Python 3.11, 3.12 or 3.13 found; install one, or name it with TORGHUT_PYTHON=/path/to/python3"
uv=$(command -v uv || true)
usable_uv "$uv" || uv_in_environment || uv_in_target || uv_in_environment_after_apt || {
    tail -n 5 "$log" >&2
    fail "could not install uv with $python: it needs 'venv' or 'pip' and a reachable package index" \
        "(on Debian: apt-get install python3-venv; whole log: $log)"
}
write_wrapper
