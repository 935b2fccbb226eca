#!/usr/bin/env bash
# Who comes in at a cluster's door while others connect as fast as they can, with a delay on the loopback of a network of
# its own: a round trip of 30 ms, or what is asked for.
#
#     benches/strangers.sh [ROUND_TRIP_MS]
#
# It needs `tc`, and root or user namespaces.
set -euo pipefail
cd "$(dirname "$0")/.."
bench=$(cargo bench --no-run -p tryworks-hub --bench strangers 2>&1 | sed -n 's/.*Executable.*(\(.*\))$/\1/p')
exec unshare --net --map-root-user bash -c '
    ip link set lo up
    tc qdisc add dev lo root netem delay "$1"us limit 1000000
    exec "$0"
' "$PWD/$bench" "$((${1:-30} * 500))"
