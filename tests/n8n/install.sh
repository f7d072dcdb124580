#!/bin/sh
# Installs the n8n of package.json into FOLDER, where it is not there yet: 1.7 GB, about three
# minutes, Node 20 or 22 with npm and a C++ compiler. For tests only.
#
#   tests/n8n/install.sh FOLDER
#
# Why not a plain `npm install`: one of n8n's packages is not in the registry (overridden), peer
# resolution takes a quarter of an hour (left out), newer releases of its dependencies break it
# (none from after its own release), and SQLite has to be compiled (nothing may be downloaded).
set -eu
folder=$1
here=$(CDPATH='' cd -- "$(dirname "$0")" && pwd -P)

if [ -e "$folder/complete" ] && cmp -s "$here/package.json" "$folder/package.json"; then
    exit 0
fi
command -v npm >/dev/null || { echo "Error: npm is missing; install Node 20 or 22." >&2; exit 1; }

echo "Installing n8n into $folder: about three minutes" >&2
rm -rf "$folder"
mkdir -p "$folder"
cp "$here/package.json" "$folder/"
cd "$folder"
npm install --before=2026-05-20 --legacy-peer-deps --ignore-scripts --no-audit --no-fund \
    >install.log 2>&1 || { tail -20 install.log >&2; exit 1; }
prefix=$(dirname "$(dirname "$(command -v node)")")
(cd node_modules/sqlite3 && npx node-gyp rebuild --nodedir="$prefix") \
    >compile.log 2>&1 || { tail -20 compile.log >&2; exit 1; }
touch complete
