#!/bin/sh
# Brings a fresh Debian 12+ or Ubuntu 22.04+ to where the testbed runs: system packages from packages.txt, and a
# virtual environment .venv with the pinned versions of requirements.lock. Run it again at any time: what is there
# stays. On any other system it changes nothing and says what to install.
#
# ./setup.sh --vm also brings what is in packages-vm.txt: a kernel, and a machine emulator in which tests/vm boots it, for
# tests that need more of the kernel than the running one has. It is an ordinary kernel package: if it is the newest one
# in /boot, a boot loader takes it at the next boot.
set -eu
cd "$(dirname "$0")"

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 3; }

case "$*" in
    "") vm= ;;
    --vm) vm=yes ;;
    *) say "usage: ./setup.sh [--vm]" >&2; exit 2 ;;
esac
packages=$(sed 's/#.*//' packages.txt ${vm:+packages-vm.txt} | xargs)

supported_system() {
    [ -r /etc/os-release ] || return 1
    # shellcheck disable=SC1091
    . /etc/os-release
    case "${ID:-}" in
        debian) [ "${VERSION_ID:-99}" -ge 12 ] 2>/dev/null ;;
        ubuntu) [ "$(printf '%s\n' 22.04 "${VERSION_ID:-0}" | sort -V | head -n 1)" = 22.04 ] ;;
        *) return 1 ;;
    esac
}

if ! supported_system; then
    fail "this system is neither Debian 12+ nor Ubuntu 22.04+, so nothing was changed. Install by hand: Python 3.11
or later with venv, and what these Debian packages hold: $packages.
Then: python3 -m venv .venv && .venv/bin/pip install -r requirements.lock && .venv/bin/pip install --no-deps -e ."
fi

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null 2>&1; then sudo "$@"
    else fail "installing packages needs root or sudo; ask an administrator for: apt-get install $*"
    fi
}

installed() { dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed; }

install_packages() { # those of the arguments that are not there yet
    missing=
    for package in "$@"; do installed "$package" || missing="$missing $package"; done
    [ -n "$missing" ] || return 0
    say "installing$missing"
    as_root apt-get update -qq
    # Programs are wanted, not services of this host: nginx would be started now and at each boot.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'as_root rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
    else
        policy=
    fi
    # Without recommendations: Mininet's would start an Open vSwitch service.
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
    for package in $missing; do
        for unit in "$package.service" $(dpkg-query -L "$package" | sed -n 's|.*/systemd/system/\([^/@]*\.service\)$|\1|p'); do
            if [ -d /run/systemd/system ] && systemctl -q is-enabled "$unit" 2>/dev/null; then
                as_root systemctl -q disable "$unit"
            fi
        done
    done
    if [ -n "$policy" ]; then
        as_root rm -f "$policy"
        trap - EXIT
    fi
}

usable_python() { # prints the first Python 3.11+ that can make virtual environments
    for python in python3 /usr/bin/python3 python3.13 python3.12 python3.11; do
        if "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$python"
            return 0
        fi
    done
    return 1
}

kernel_package() { # the first of these that the system's archive has
    for kernel in linux-image-6.12-amd64 linux-image-amd64 linux-image-generic; do
        if apt-cache show "$kernel" 2>/dev/null | grep -q '^Filename:'; then
            echo "$kernel"
            return 0
        fi
    done
    return 1
}

if [ "$vm" ]; then
    # Old lists of packages may lack the first choice.
    kernel=$(kernel_package) && installed "$kernel" || { as_root apt-get update -qq; kernel=$(kernel_package); } \
        || fail "no kernel package for tests/vm in this system's archive; without --vm all else is set up"
    packages=$(echo "$packages" | sed "s/linux-image-6.12-amd64/$kernel/")
fi

# shellcheck disable=SC2086
install_packages $packages

if ! python=$(usable_python); then
    # Ubuntu 22.04's own Python is 3.10; its archive has 3.11 beside it.
    if apt-cache policy python3 | grep -q 'Candidate: 3\.\(1[1-9]\|[2-9][0-9]\)'; then
        install_packages python3 python3-venv
    else
        install_packages python3.11 python3.11-venv
    fi
    python=$(usable_python) || fail "no Python 3.11 or later with venv found, even after installing one"
fi

# A new lock or project file, or another Python, makes the environment anew; otherwise it is left as it is.
stamp=$(cat requirements.lock pyproject.toml setup.sh | sha256sum | cut -d ' ' -f 1)
if [ ! -x .venv/bin/testbed ] || [ "$(cat .venv/stamp 2>/dev/null)" != "$stamp" ] \
    || ! .venv/bin/python -c 'import testbed' 2>/dev/null; then
    say "making .venv with $("$python" --version)"
    rm -rf .venv
    "$python" -m venv .venv
    pip() { .venv/bin/python -m pip --disable-pip-version-check --no-input --quiet "$@"; }
    # Mininet comes as source and needs setuptools to build: the pinned one, first, instead of whatever is newest.
    sed -n '/^setuptools==/,/[^\\]$/p' requirements.lock > .venv/setuptools.lock
    pip install --require-hashes -r .venv/setuptools.lock
    pip install --require-hashes --no-build-isolation -r requirements.lock
    # As a path: otherwise every Python there loads a finder for it first, which takes as long as Python itself.
    pip install --no-deps --no-build-isolation --config-settings editable_mode=compat --editable .
    echo "$stamp" > .venv/stamp
fi

.venv/bin/testbed --version
say "ready; next: .venv/bin/testbed run scenarios/quick.yaml"
