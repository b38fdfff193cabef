#!/usr/bin/env bash
# Runs every test. Arguments go to the test runner: `tests/run.sh window` runs what has `window` in its name.
#
# What the build needs besides Rust is looked for first. As root, what is missing is installed with apt-get; otherwise
# the line that installs it is printed and the run fails.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
# need COMMAND PACKAGE: a command that must be there, and the Debian package that has it.
need() {
    command -v "$1" >/dev/null || missing+=("$2")
}
need cc gcc          # the allocator is C
need ldd libc-bin
# What a machine can do to a run: its disk is full, its clock is set back.
need unshare util-linux
need mount mount
need faketime faketime
# A broker to talk to; Debian keeps the program where only root looks for it.
[ -x /usr/sbin/mosquitto ] || need mosquitto mosquitto
need mosquitto_pub mosquitto-clients
# Somebody to hand alerts to.
need prometheus-alertmanager prometheus-alertmanager
# A browser to look at the page with.
need chromium chromium
need chromedriver chromium-driver
# Those who read what is printed for them: a unit, rules.
need systemd-analyze systemd
need promtool prometheus
[ -e /usr/include/stdio.h ] || missing+=(libc6-dev)

if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        echo "tests/run.sh: installing ${missing[*]}"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
    else
        echo "tests/run.sh: these packages are missing; install them with" >&2
        echo "    sudo apt-get install -y ${missing[*]}" >&2
        exit 1
    fi
fi

command -v cargo >/dev/null || {
    echo "tests/run.sh: cargo is missing; install Rust from https://rustup.rs" >&2
    exit 1
}

# A stale snapshot is a failure, not a new file.
export INSTA_UPDATE="${INSTA_UPDATE:-no}"

if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --no-fail-fast "$@"
else
    cargo test --no-fail-fast --lib --bins --tests "$@"
fi
# nextest runs no examples in documentation.
if [ $# -eq 0 ]; then
    cargo test --doc --quiet
fi
