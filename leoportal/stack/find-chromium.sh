#!/bin/sh
# Sees to a Chromium for the browser tests: one that is here, else Debian's, else a plain word that they are skipped.
for name in "${CHROMIUM:-chromium}" chromium chromium-browser google-chrome google-chrome-stable; do
    command -v "$name" >/dev/null 2>&1 && "$name" --version >/dev/null 2>&1 && exit 0
done
skip() {
    echo "Browser tests will be skipped: $1. Next: install chromium, or name one with CHROMIUM=/path/to/chromium."
    exit 0
}
grep -qs '^ID=debian' /etc/os-release || skip "no Chromium was found"
[ "$(id -u)" = 0 ] || skip "no Chromium was found, and installing one needs root (sudo apt-get install chromium)"
command -v apt-get >/dev/null 2>&1 || skip "no Chromium was found and there is no apt-get"
echo "Installing Debian's Chromium for the browser tests (about a minute, once)"
log=$(mktemp) || exit 1
apt() { DEBIAN_FRONTEND=noninteractive timeout 600 apt-get -q -o Acquire::Retries=0 "$@" </dev/null >>"$log" 2>&1; }
install() { apt install -y --no-install-recommends chromium fonts-dejavu-core; }
if install || { apt update && install; }; then
    rm -f "$log"
    exit 0
fi
tail -n 3 "$log" >&2
rm -f "$log"
skip "apt-get could not install Chromium"
