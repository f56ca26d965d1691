#!/bin/sh
# The standby: copies the primary when it can, then follows it.
set -eu
for programs in /usr/lib/postgresql/*/bin; do PATH=$programs:$PATH; done
data=/var/lib/postgresql/shop
if [ ! -s "$data/PG_VERSION" ]; then
    until pg_isready -q -h db; do sleep 0.1; done
    pg_basebackup --no-sync --checkpoint=fast --write-recovery-conf -h db -D "$data"
fi
chmod 700 "$data"
exec postgres -D "$data" -c listen_addresses='*' -c fsync=off
