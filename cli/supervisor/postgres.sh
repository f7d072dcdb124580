#!/bin/sh
# Runs a Postgres in the folder data below the current one, made at the first start. Meant to be
# called as `sh -c "$(cat postgres.sh)" postgres BIN DATA OPTION...`: whoever runs it may not be able
# to read this file. DATA is how to name the current folder; an absolute path may be unreachable.
set -eu
umask 077
bin=$1
data=$2
shift 2

# What is interrupted leaves a folder that is not called data yet.
if ! [ -d data ]; then
    rm -rf new
    mkdir new
    cd -P new
    "$bin/initdb" -D "$data" -U postgres -A reject -E UTF8 --locale=C --no-sync \
        --no-instructions >/dev/null
    echo 'host roundhouse roundhouse 127.0.0.1/32 scram-sha-256' >pg_hba.conf
    "$bin/postgres" --single -F -D "$data" postgres <../initial.sql >/dev/null
    cd -P ..
    mv new data
    rm initial.sql
    cd -P data
    # Three hundred empty files: on a busy disk that takes seconds, which nobody need wait for.
    ("$bin/initdb" --sync-only -D "$data" >/dev/null 2>&1 &)
    cd -P ..
fi
cd -P data
exec "$bin/postgres" -D "$data" "$@"
