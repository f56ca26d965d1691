#!/bin/sh
# The primary: makes its cluster at the first start, and comes up with it at each further one.
set -eu
for programs in /usr/lib/postgresql/*/bin; do PATH=$programs:$PATH; done
data=/var/lib/postgresql/shop
if [ ! -s "$data/PG_VERSION" ]; then
    initdb --auth trust --no-sync -D "$data" >/dev/null
    # The wall decides who gets here; a shop with secrets takes scram-sha-256 on top.
    cat >>"$data/pg_hba.conf" <<'HBA'
host all         all all trust
host replication all all trust
HBA
fi
exec postgres -D "$data" -c listen_addresses='*' -c wal_level=replica -c max_wal_senders=4 -c fsync=off
