# shellcheck shell=bash
# What has to be on this machine before anything can be built, and its installation where that is possible.
# Needs terminal.sh.

readonly go_version_needed=1.26
readonly cargo_deny_version=0.20.2

is_root() {
    [[ $(id -u) == 0 ]]
}

# apt_install PROGRAM PACKAGE…: installs the packages when the program is missing.
apt_install() {
    local program=$1
    shift
    if command -v "$program" >/dev/null; then
        return
    fi
    if ! command -v apt-get >/dev/null; then
        fail "$program is missing, and this is no Debian on which it could be installed: install what your system calls $*."
    fi
    if ! is_root; then
        fail "$program is missing: run \`sudo apt-get install $*\` and start again."
    fi
    remark "installing $* (for $program)"
    local log
    log=$(mktemp)
    if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; } >"$log" 2>&1 </dev/null; then
        tail -5 "$log" >&2
        fail "$* cannot be installed; apt-get's whole output is in $log."
    fi
    rm -f "$log"
}

# The C compiler links Rust programs and builds the cryptography inside them.
require_c_compiler() {
    apt_install cc gcc libc6-dev
}

# libFuzzer, which the fuzz target links, is written in C++.
require_cxx_compiler() {
    apt_install c++ g++
}

require_rust() {
    local toolchain said
    toolchain=$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)
    if ! command -v cargo >/dev/null; then
        fail "cargo is missing: install rustup, then \`rustup toolchain install $toolchain\`."
    fi
    if ! said=$(cargo --version 2>&1); then
        fail "Rust $toolchain, which rust-toolchain.toml asks for, is missing: run \`rustup toolchain install $toolchain --component clippy,rustfmt\`."
    fi
    if [[ $said != "cargo $toolchain "* ]]; then
        fail "this is $said, and rust-toolchain.toml asks for $toolchain: install rustup, which heeds that file, or put Rust $toolchain first in PATH."
    fi
}

# Go builds the control plane (etcd, Kubernetes and what runs on it) from its published modules.
require_go() {
    local version
    if ! command -v go >/dev/null; then
        fail "go is missing: install Go $go_version_needed or newer; the cluster's control plane is built with it."
    fi
    version=$(go env GOVERSION) || fail "go does not run: \`go env GOVERSION\` fails; reinstall Go $go_version_needed or newer."
    version=${version#go}
    if [[ $(printf '%s\n' "$go_version_needed" "$version" | sort -V | head -1) != "$go_version_needed" ]]; then
        fail "this is Go $version, and building Kubernetes needs Go $go_version_needed or newer: install a newer one."
    fi
}

# Prints the path of the pinned cargo-deny; builds it into the cache on first use.
require_cargo_deny() {
    local root=${XDG_CACHE_HOME:-$HOME/.cache}/jobset-operator/cargo-deny-$cargo_deny_version
    if [[ ! -x $root/bin/cargo-deny ]]; then
        remark "building cargo-deny $cargo_deny_version into $root; this happens once" >&2
        # Unoptimised: it builds in half the time, and runs for a second.
        cargo install cargo-deny --debug --locked --quiet --version "$cargo_deny_version" --root "$root" >&2 </dev/null ||
            fail "cargo-deny $cargo_deny_version cannot be built: see above; with a reachable crates index, start again."
    fi
    printf '%s\n' "$root/bin/cargo-deny"
}
