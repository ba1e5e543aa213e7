#!/bin/sh
# Compiles the LaTeX of tests/snapshots/render__latex.snap with pdflatex:
#
#     apt-get install --no-install-recommends texlive-latex-base texlive-latex-recommended
#     sh tests/latex.sh
set -eu
snapshot="$(dirname "$0")/snapshots/render__latex.snap"
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cat > "$folder/table.tex" <<'END'
\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage{booktabs}
\usepackage[paperwidth=40cm, paperheight=20cm]{geometry}
\begin{document}
END
# What follows the second line of dashes is the table.
awk 'dashes == 2 { print } /^---$/ { dashes++ }' "$snapshot" >> "$folder/table.tex"
printf '%s\n' '\end{document}' >> "$folder/table.tex"
cd "$folder"
pdflatex -interaction=nonstopmode -halt-on-error table.tex > log 2>&1 || { cat log; exit 1; }
echo "table.tex compiles"
