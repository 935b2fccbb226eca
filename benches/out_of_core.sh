#!/usr/bin/env bash
# Runs distinct, group_by_key, join and sort_by on 4 GiB of generated data each, under a memory limit of 256 MiB (or
# that of TRYWORKS_MEMORY). Prints the count and the checksum, the expected ones, and the anonymous peak. Arguments go
# to the benchmarks:
#
#     benches/out_of_core.sh --scale 0.25
set -euo pipefail
cd "$(dirname "$0")/.."

# Spilling needs a real disk: a file system in memory would use memory that is not counted.
temporary=${TMPDIR:-/tmp}
if [ "$(stat --file-system --format=%T "$temporary")" = tmpfs ]; then
    echo "out_of_core.sh: $temporary is in memory; set TMPDIR to a directory on a disk" >&2
    exit 2
fi
free=$(df --output=avail --block-size=1M "$temporary" | tail -n 1)
if [ "$free" -lt 16384 ]; then
    echo "out_of_core.sh: $temporary has $free MiB free, 16384 are wanted; set TMPDIR to another" >&2
    exit 2
fi

exec cargo run --release --quiet -p tryworks-benches -- \
    out_of_core_distinct out_of_core_group_by_key out_of_core_join out_of_core_sort_by "$@"
