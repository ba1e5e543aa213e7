#!/usr/bin/env bash
# The picture of the quickstart's report that the README shows: tests/report_image.sh BINARY. Needs Chromium and about three minutes,
# or less where the store has results; writes book/src/images/report.png.
set -euo pipefail
binary=$(realpath "$1")
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$binary" run pipelines/quickstart.ron
"$binary" report pipelines/quickstart.ron --to "$work/report.html"
mkdir -p book/src/images
chromium --headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --hide-scrollbars \
    --user-data-dir="$work/profile" --window-size=1280,1500 --screenshot="$PWD/book/src/images/report.png" \
    "file://$work/report.html" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
