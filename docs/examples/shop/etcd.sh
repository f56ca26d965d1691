#!/bin/sh
# One member of three; which one, its host name says. The host's /var/lib/etcd is hidden: it may hold secrets.
set -eu
me=$(hostname)
exec etcd --name "$me" --data-dir /tmp/etcd \
    --listen-peer-urls 'http://[::]:2380' --initial-advertise-peer-urls "http://$me:2380" \
    --listen-client-urls 'http://[::]:2379' --advertise-client-urls "http://$me:2379" \
    --initial-cluster etcd1=http://etcd1:2380,etcd2=http://etcd2:2380,etcd3=http://etcd3:2380 \
    --initial-cluster-token shop --heartbeat-interval 50 --election-timeout 500 --logger zap --log-level warn
