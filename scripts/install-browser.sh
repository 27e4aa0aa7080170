#!/bin/sh
# Makes sure a Chromium is there for the browser tests; TORGHUT_CHROMIUM names one that is not on the PATH.
set -eu

for browser in ${TORGHUT_CHROMIUM:-} chromium chromium-browser google-chrome; do
    if command -v "$browser" >/dev/null 2>&1; then
        exit 0
    fi
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "browser tests: installing chromium with apt-get"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
    exit 0
fi
echo "browser tests need Chromium: install it (on Debian: apt-get install chromium)," \
    "or name it with TORGHUT_CHROMIUM=/path/to/chromium" >&2
exit 1
