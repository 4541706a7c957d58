#!/usr/bin/env bash
# Builds the embedded pages of web/ into src/pages/dist, which is committed: `cargo build` needs no Node.
#
#   scripts/pages.sh           build
#   scripts/pages.sh --check   build elsewhere and fail when the committed files differ
#
# NODE names the Node.js to use (20 or newer); npm stands beside it.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dist=$root/src/pages/dist
node=$(command -v "${NODE:-node}" || true)
[ -n "$node" ] || { echo 'pages: NODE is missing: install Node.js 20 or newer with npm' >&2; exit 1; }
PATH=$(dirname "$node"):$PATH
out=$dist
if [ "${1:-}" = --check ]; then
    out=$(mktemp -d)
    trap 'rm -rf "$out"' EXIT
fi
cd "$root/web"
# The lock file is what is installed; it is stamped, so that nothing is installed twice.
if ! cmp -s package-lock.json node_modules/.installed-lock; then
    npm ci --no-audit --no-fund --loglevel=error
    cp package-lock.json node_modules/.installed-lock
fi
# The console's types are those of the admin port's document, which a test holds against what is served.
types=src/shared/admin.ts
[ "$out" = "$dist" ] || types=$out/admin.ts
npx --no-install openapi-typescript ../docs/openapi.json --root-types --root-types-no-schema-prefix -o "$types" >/dev/null
if [ "$out" != "$dist" ]; then
    diff src/shared/admin.ts "$types" || {
        echo 'pages: web/src/shared/admin.ts is not what docs/openapi.json says: run scripts/pages.sh and commit the result' >&2
        exit 1
    }
    rm "$types"
fi
npx --no-install tsc --noEmit
for page in storefront console; do
    [ -e "$page.html" ] || continue
    npx --no-install vite build --logLevel warn --mode "$page" --outDir "$out" --emptyOutDir false
done
if [ "$out" != "$dist" ] && ! diff -r "$dist" "$out"; then
    echo 'pages: src/pages/dist is not what web/ builds: run scripts/pages.sh and commit the result' >&2
    exit 1
fi
