# shellcheck shell=bash
# Checks the tools that builds need, and installs them where possible. Needs terminal.sh.

readonly go_version_needed=1.26
readonly cargo_deny_version=0.20.2

is_root() {
    [[ $(id -u) == 0 ]]
}

# apt_install PROGRAM PACKAGE…: installs the packages if the program is missing.
apt_install() {
    local program=$1
    shift
    if command -v "$program" >/dev/null; then
        return
    fi
    if ! command -v apt-get >/dev/null; then
        fail "$program is missing, and this script installs packages only on Debian: install the equivalent of $*."
    fi
    if ! is_root; then
        fail "$program is missing: run \`sudo apt-get install $*\` and try again."
    fi
    note "installing $* (for $program)"
    local log
    log=$(mktemp)
    if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; } >"$log" 2>&1 </dev/null; then
        tail -5 "$log" >&2
        fail "apt-get cannot install $*: see its output in $log."
    fi
    rm -f "$log"
}

# The C compiler links Rust programs and compiles their cryptography library.
require_c_compiler() {
    apt_install cc gcc libc6-dev
}

# The fuzz target links libFuzzer, which is written in C++.
require_cxx_compiler() {
    apt_install c++ g++
}

require_rust() {
    local toolchain version
    toolchain=$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)
    if ! command -v cargo >/dev/null; then
        fail "cargo is missing: install rustup, then \`rustup toolchain install $toolchain\`."
    fi
    if ! version=$(cargo --version 2>&1); then
        fail "Rust $toolchain, which rust-toolchain.toml requires, is missing: run \`rustup toolchain install $toolchain --component clippy,rustfmt\`."
    fi
    if [[ $version != "cargo $toolchain "* ]]; then
        fail "the version is $version, but rust-toolchain.toml requires $toolchain: install rustup, which reads that file, or put Rust $toolchain first in PATH."
    fi
}

# Go builds the programs of the cluster from their published modules.
require_go() {
    local version
    if ! command -v go >/dev/null; then
        fail "go is missing: install Go $go_version_needed or newer, which builds the programs of the cluster."
    fi
    version=$(go env GOVERSION) || fail "\`go env GOVERSION\` fails: reinstall Go $go_version_needed or newer."
    version=${version#go}
    if [[ $(printf '%s\n' "$go_version_needed" "$version" | sort -V | head -1) != "$go_version_needed" ]]; then
        fail "the version of Go is $version, but Kubernetes needs $go_version_needed or newer: install a newer version."
    fi
}

# Prints the path of the pinned cargo-deny; builds it into the cache on first use.
require_cargo_deny() {
    local root=${XDG_CACHE_HOME:-$HOME/.cache}/jobset-operator/cargo-deny-$cargo_deny_version
    if [[ ! -x $root/bin/cargo-deny ]]; then
        note "building cargo-deny $cargo_deny_version into $root, once" >&2
        # A debug build takes half the time, and cargo-deny runs only for a second.
        cargo install cargo-deny --debug --locked --quiet --version "$cargo_deny_version" --root "$root" >&2 </dev/null ||
            fail "cannot build cargo-deny $cargo_deny_version: see the output above, and check that this machine reaches the crates index."
    fi
    printf '%s\n' "$root/bin/cargo-deny"
}
