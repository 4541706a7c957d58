#!/usr/bin/env bash
# Finds, or else unpacks into the ignored .tools/ folder, the programs that the tests run against,
# and prints where they are, one NAME=path a line:
#
#   export $(scripts/tools.sh)
#
#   PROMETHEUS, PROMTOOL        Prometheus 3.x, what the compose stack runs
#   PROMTOOL_2_42               the oldest version that the rules promise to work with
#   ALERTMANAGER, AMTOOL        Alertmanager 0.28 or newer
#   AMTOOL_0_25                 the oldest version that alertmanager.yml promises to work with
#   PYTHON_PROMETHEUS           a Python with prometheus_client, whose parser of OpenMetrics is the reference
#   CHROMIUM                    any Chromium, which looks at the console; Debian's is too large to unpack here
#
# A variable that is already set is believed. What is on the PATH is used when its version fits.
# The rest comes from Debian: packages are downloaded through a private apt root (own lists, own
# cache, the mirror this machine already uses) and unpacked with dpkg -x, so nothing is installed
# and no package of this machine changes. The Python package comes from PyPI, by pip. Whatever can't be had is named on stderr with the reason;
# with CI=true a missing part is an error.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=$root/.tools
missing=()

say() { printf 'tools: %s\n' "$*" >&2; }

# The x.y.z that a program reports, or nothing.
version_of() {
    "$1" --version 2>&1 | sed -nE 's/^[a-z]+, version ([0-9]+\.[0-9]+\.[0-9]+).*/\1/p' | head -n 1
}

# at_least A B: is version A the same as or newer than B?
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# fits PROGRAM LOWEST BELOW: does it run, and is its version in [LOWEST, BELOW)?
fits() {
    local version
    [ -x "$1" ] || return 1
    version=$(version_of "$1") || return 1
    [ -n "$version" ] && at_least "$version" "$2" && ! at_least "$version" "$3"
}

# The mirror and keyring that this machine's own apt uses for Debian's main section.
mirror() {
    local codename
    codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
    apt-get indextargets --format '$(REPO_URI)|$(RELEASE)|$(COMPONENT)' 'Created-By: Packages' 2>/dev/null |
        awk -F'|' -v release="$codename" '$2 == release && $3 == "main" { print $1; exit }'
}

# apt_in SUITE ARGUMENTS…: apt-get against a root that knows nothing but that one suite.
apt_in() {
    local suite=$1 apt=$tools/apt/$1
    shift
    apt-get -qq \
        -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
        -o Dir::State::lists="$apt/lists" -o Dir::State::status="$apt/status" \
        -o Dir::Cache="$apt/cache" -o APT::Sandbox::User= -o Acquire::Retries=2 \
        -o Acquire::Languages=none -o APT::Update::Post-Invoke::= -o APT::Update::Post-Invoke-Success::= \
        "$@"
}

# unpack SUITE PACKAGE…: the packages' files under .tools/SUITE.
unpack() {
    local suite=$1 apt=$tools/apt/$1 uri deb
    shift
    for program in apt-get dpkg dpkg-deb; do
        command -v "$program" >/dev/null || { say "no $program: this is not a Debian machine"; return 1; }
    done
    uri=$(mirror)
    [ -n "$uri" ] || { say "this machine's apt knows no Debian mirror"; return 1; }
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/debs" "$tools/$suite"
    : >"$apt/status"
    printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$uri" "$suite" >"$apt/sources.list"
    say "fetching $* from Debian $suite"
    apt_in "$suite" update >&2 || { say "apt-get update for $suite failed"; return 1; }
    (cd "$apt/debs" && apt_in "$suite" download "$@" >&2) || { say "apt-get download of $* failed"; return 1; }
    for deb in "$apt/debs"/*.deb; do
        dpkg -x "$deb" "$tools/$suite" || { say "cannot unpack $(basename "$deb")"; return 1; }
    done
    # The lists are many times larger than the programs, and only good for today.
    rm -rf "$apt"
}

# libraries_of PROGRAM: fails, and says which, when a shared library it needs is not there.
libraries_of() {
    local absent
    absent=$(ldd "$1" 2>/dev/null | awk '/not found/ { print $1 }' | tr '\n' ' ')
    [ -z "$absent" ] || { say "$1 lacks shared libraries: $absent"; return 1; }
}

# provide NAME LOWEST BELOW SUITE PACKAGES PROGRAM…: prints NAME=path of the first program that fits.
provide() {
    local name=$1 lowest=$2 below=$3 suite=$4 packages=$5 program found
    shift 5
    if [ -n "${!name:-}" ]; then
        if fits "${!name}" "$lowest" "$below"; then printf '%s=%s\n' "$name" "${!name}"; return; fi
        say "$name=${!name} is not a version from $lowest up to $below; looking for another"
    fi
    for program in "$@"; do
        found=$(command -v "$program" || true)
        if [ -n "$found" ] && fits "$found" "$lowest" "$below"; then printf '%s=%s\n' "$name" "$found"; return; fi
    done
    for attempt in found fetched; do
        for program in "$@"; do
            found=$tools/$suite/usr/bin/$program
            if fits "$found" "$lowest" "$below"; then printf '%s=%s\n' "$name" "$found"; return; fi
            if [ "$attempt" = fetched ] && [ -x "$found" ]; then
                libraries_of "$found" || true
                say "$found is version $(version_of "$found" || true), wanted $lowest or newer, below $below"
            fi
        done
        # shellcheck disable=SC2086 # a list of packages
        if [ "$attempt" = found ]; then unpack "$suite" $packages || break; fi
    done
    say "MISSING $name: version $lowest or newer, below $below"
    missing+=("$name")
}

# The version of prometheus_client that a Python has, or nothing.
client_of() {
    "$1" -c 'from importlib.metadata import version; print(version("prometheus-client"))' 2>/dev/null
}

# provide_python NAME VERSION: prints NAME=path of a Python with that or a newer prometheus_client.
provide_python() {
    local name=$1 wanted=$2 wrapper=$tools/python/python program version
    for attempt in found fetched; do
        for program in "${!name:-}" python3 "$wrapper"; do
            program=$(command -v "${program:-none}" || true)
            [ -n "$program" ] || continue
            version=$(client_of "$program" || true)
            if [ -n "$version" ] && at_least "$version" "$wanted"; then printf '%s=%s\n' "$name" "$program"; return; fi
        done
        [ "$attempt" = found ] || break
        say "fetching prometheus-client $wanted from PyPI"
        mkdir -p "$tools/python"
        if ! python3 -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --upgrade \
            --target "$tools/python/packages" "prometheus-client==$wanted" >&2; then
            say "pip could not install prometheus-client"
            break
        fi
        printf '#!/bin/sh\nPYTHONPATH=%q exec python3 "$@"\n' "$tools/python/packages" >"$wrapper"
        chmod +x "$wrapper"
    done
    say "MISSING $name: a Python with prometheus-client $wanted or newer"
    missing+=("$name")
}

# Two runs at once would unpack into each other's hands.
mkdir -p "$tools"
if command -v flock >/dev/null; then exec 9>"$tools/.lock" && flock 9; fi

provide PROMETHEUS 3.5.0 4.0.0 sid "prometheus promtool" prometheus
provide PROMTOOL 3.5.0 4.0.0 sid "prometheus promtool" promtool
provide PROMTOOL_2_42 2.42.0 2.46.0 bookworm "prometheus" promtool
provide ALERTMANAGER 0.28.0 1.0.0 sid "prometheus-alertmanager" alertmanager prometheus-alertmanager
provide AMTOOL 0.28.0 1.0.0 sid "prometheus-alertmanager" amtool
provide AMTOOL_0_25 0.25.0 0.26.0 bookworm "prometheus-alertmanager" amtool
provide_python PYTHON_PROMETHEUS 0.26.0

browser=
for program in "${CHROMIUM:-}" chromium chromium-browser google-chrome; do
    if [ -n "$program" ] && browser=$(command -v "$program"); then printf 'CHROMIUM=%s\n' "$browser"; break; fi
done
[ -n "$browser" ] || { say "no Chromium: install Debian's package chromium"; missing+=(CHROMIUM); }

if [ ${#missing[@]} -gt 0 ]; then
    say "without ${missing[*]} the tests that need them do not run"
    [ "${CI:-}" != true ] || exit 1
fi
