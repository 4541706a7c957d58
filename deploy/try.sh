#!/usr/bin/env bash
# Brings the monitored overlay up on a kind cluster of its own, drills one alert in it, and removes the cluster.
# Needs docker, kind, kubectl, helm and a built breakerbox (target/release or on the PATH).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'try: %s\n' "$*" >&2; }
for program in docker kind kubectl helm; do
    command -v "$program" >/dev/null || { say "no $program"; exit 2; }
done
breakerbox=$(command -v breakerbox || true)
[ -n "$breakerbox" ] || breakerbox=target/release/breakerbox
[ -x "$breakerbox" ] || { say "no breakerbox: cargo build --release"; exit 2; }

cluster=breakerbox-try
forwards=()
clean() {
    for forward in "${forwards[@]}"; do kill "$forward" 2>/dev/null || true; done
    [ "${KEEP:-}" = 1 ] || kind delete cluster --name "$cluster"
}
trap clean EXIT

docker build -t breakerbox:local .
kind create cluster --name "$cluster"
kind load docker-image --name "$cluster" breakerbox:local
helm repo add prometheus-community https://prometheus-community.github.io/helm-charts
helm upgrade --install kube-prometheus-stack prometheus-community/kube-prometheus-stack -n monitoring --create-namespace --wait
kubectl apply --server-side -k deploy/kubernetes/monitored
kubectl -n breakerbox rollout status statefulset/postgres --timeout=5m
for deployment in $(kubectl -n breakerbox get deployments -o name); do
    kubectl -n breakerbox rollout status "$deployment" --timeout=5m
done

kubectl -n breakerbox port-forward deploy/traffic 18090:8090 >/dev/null & forwards+=($!)
kubectl -n monitoring port-forward svc/prometheus-operated 19090:9090 >/dev/null & forwards+=($!)
for _ in $(seq 60); do
    if "$breakerbox" check --prometheus http://127.0.0.1:19090; then break; fi
    sleep 5
done
export BREAKERBOX_ADMIN_TOKEN=demonstration BREAKERBOX_ADMIN_URL=http://127.0.0.1:18090
"$breakerbox" breaker list
"$breakerbox" drill CircuitBreakerOpen/warning --prometheus http://127.0.0.1:19090
say "done: the overlay runs, and CircuitBreakerOpen fires and resolves in it"
