#!/bin/sh
# Makes sure promtool is there for the tests of the alert rules.
set -eu

if command -v promtool >/dev/null 2>&1; then
    exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "alert rules: installing prometheus with apt-get"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus >/dev/null
    exit 0
fi
echo "tests of the alert rules need promtool: install Prometheus (on Debian: apt-get install prometheus)" >&2
exit 1
