#!/usr/bin/env bash
# Brings the monitored overlay up on a cluster, commands it, drills one alert in it, and takes it down again.
#
#   deploy/try.sh                  on a kind cluster of its own with kube-prometheus-stack; needs docker, kind and helm
#   deploy/try.sh --context NAME   on a cluster that is there, which has the Prometheus operator, its Prometheus in the
#                                  namespace monitoring, and the image that the overlay names
#
# Both need kubectl and a built breakerbox (target/release or on the PATH). KEEP=1 leaves everything up.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'try: %s\n' "$*" >&2; }
give_up() { say "$@"; exit "${code:-1}"; }

context=
while [ $# -gt 0 ]; do
    case $1 in
    --context) context=${2:?try: --context needs a name; see kubectl config get-contexts}; shift 2 ;;
    *) code=2 give_up "unknown argument $1: there is --context NAME" ;;
    esac
done

needed=(kubectl curl)
[ -n "$context" ] || needed+=(docker kind helm)
for program in "${needed[@]}"; do
    command -v "$program" >/dev/null || code=2 give_up "no $program"
done
breakerbox=$(command -v breakerbox || true)
[ -n "$breakerbox" ] || breakerbox=target/release/breakerbox
[ -x "$breakerbox" ] || code=2 give_up "no breakerbox: cargo build --release"

cluster=breakerbox-try
own=
[ -n "$context" ] || { own=1; context=kind-$cluster; }
kubectl() { command kubectl --context "$context" "$@"; }

applied=
forwards=()
clean() {
    for forward in "${forwards[@]}"; do kill "$forward" 2>/dev/null || true; done
    [ "${KEEP:-}" != 1 ] || return 0
    if [ -n "$own" ]; then
        kind delete cluster --name "$cluster"
    elif [ -n "$applied" ]; then
        kubectl delete --wait -k deploy/kubernetes/monitored >/dev/null
    fi
}
trap clean EXIT

if [ -n "$own" ]; then
    docker build -t breakerbox:local .
    kind create cluster --name "$cluster"
    kind load docker-image --name "$cluster" breakerbox:local
    helm repo add prometheus-community https://prometheus-community.github.io/helm-charts
    helm upgrade --install kube-prometheus-stack prometheus-community/kube-prometheus-stack \
        --kube-context "$context" -n monitoring --create-namespace --wait
else
    kubectl get crd podmonitors.monitoring.coreos.com prometheusrules.monitoring.coreos.com >/dev/null ||
        code=2 give_up "the cluster of $context has no Prometheus operator"
    # What is taken down at the end must be what was brought up here.
    ! kubectl get namespace breakerbox >/dev/null 2>&1 || code=2 give_up "the cluster of $context has a namespace breakerbox"
fi

began=$SECONDS
applied=1
kubectl apply --server-side -k deploy/kubernetes/monitored >/dev/null
kubectl -n breakerbox rollout status statefulset/postgres --timeout=5m
for deployment in $(kubectl -n breakerbox get deployments -o name); do
    kubectl -n breakerbox rollout status "$deployment" --timeout=5m
done
say "every pod is ready after $((SECONDS - began)) s"

# The port that kubectl chose, once it listens.
forward() {
    local log port
    log=$(mktemp)
    # Not the function, of which the job would be a shell that leaves kubectl behind when it is killed.
    env kubectl --context "$context" "$@" >"$log" 2>&1 &
    forwards+=($!)
    for _ in $(seq 100); do
        port=$(sed -nE 's/^Forwarding from 127\.0\.0\.1:([0-9]+) .*/\1/p' "$log" | head -n 1)
        [ -z "$port" ] || break
        sleep 0.1
    done
    [ -n "$port" ] || give_up "no port was forwarded: $(cat "$log")"
    rm -f "$log"
    forwarded=$port
}
forward -n breakerbox port-forward svc/gateway :8080
curl -fsS "http://127.0.0.1:$forwarded/" >/dev/null || give_up "the site does not answer"
forward -n breakerbox port-forward deploy/traffic :8090
console=http://127.0.0.1:$forwarded
forward -n monitoring port-forward svc/prometheus-operated :9090
prometheus=http://127.0.0.1:$forwarded

checked=
for _ in $(seq 60); do
    if found=$("$breakerbox" check --prometheus "$prometheus" 2>&1); then checked=1; break; fi
    sleep 5
done
printf '%s\n' "$found"
[ -n "$checked" ] || give_up "Prometheus does not have what the rules need"

export BREAKERBOX_ADMIN_TOKEN=demonstration BREAKERBOX_ADMIN_URL=$console
"$breakerbox" breaker list
"$breakerbox" fault set recommendation --hang-rate 1 --ttl 10s
"$breakerbox" fault clear recommendation
# From the pod whose settings name every other.
kubectl -n breakerbox exec deploy/traffic -- /breakerbox drill CircuitBreakerOpen/warning \
    --prometheus http://prometheus-operated.monitoring:9090
restarted=$(kubectl -n breakerbox get pods --no-headers | awk '$4 > 0 { print $1 }')
[ -z "$restarted" ] || give_up "restarted meanwhile: $restarted"
say "done: the overlay runs, and CircuitBreakerOpen fires and resolves in it"
