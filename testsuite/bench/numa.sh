#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# usage: numa.sh NUMON [RUNS]
# How long 128 nodes with a backend each and all 16384 distances take: by numon through -x, check and exit_preconfig,
# and, where it is installed, by QEMU through QMP in preconfig, with the lines that `show -f qmp` prints.  Prints each
# run and the best; fails if numon's best is over LIMIT_MS (300).
set -e
numon=$1 runs=${2:-5} limit=${LIMIT_MS:-300}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

awk 'BEGIN {
    print "accel synthetic\nmemory 2G\nsmp 128,sockets=128"
    for (i = 0; i < 128; i++)
        printf "object_add memory-backend-ram,id=m%d,size=16M\n", i
    for (i = 0; i < 128; i++)
        printf "numa node,nodeid=%d,cpus=%d,memdev=m%d\n", i, i, i
    for (a = 0; a < 128; a++)
        for (b = 0; b < 128; b++)
            printf "numa dist,src=%d,dst=%d,val=%d\n", a, b, a == b ? 10 : 20 + (a * 7 + b) % 100
}' > "$folder/nodes.numon"
cp "$folder/nodes.numon" "$folder/build.numon"
printf 'check\nexit_preconfig\n' >> "$folder/build.numon"

now() { echo $(($(date +%s%N) / 1000000)); }

# measure NAME COMMAND...: prints each run's time, leaves the best in $best.
measure() {
    name=$1; shift
    best=
    for run in $(seq "$runs"); do
        start=$(now)
        "$@" || { echo "$name failed"; exit 1; }
        took=$(($(now) - start))
        echo "$name run $run: $took ms"
        if [ -z "$best" ] || [ "$took" -lt "$best" ]; then best=$took; fi
    done
    echo "$name best: $best ms"
}

run_numon() { "$numon" --batch -x "$folder/build.numon" < /dev/null > "$folder/numon.out"; }

run_qemu() {
    qemu-system-x86_64 -machine q35,accel=tcg -m 2G -smp 128,sockets=128 -S -display none -nodefaults --preconfig \
        -qmp stdio < "$folder/nodes.qmp" > "$folder/qemu.out" 2> "$folder/qemu.err"
    ! grep -q '"error":' "$folder/qemu.out"
}

measure "numon" run_numon
grep -q '^complete: 128 nodes, 128 CPUs, 2 GiB' "$folder/numon.out"
numon_best=$best
if command -v qemu-system-x86_64 > /dev/null; then
    echo "show -f qmp" | "$numon" --batch -x "$folder/nodes.numon" > "$folder/nodes.qmp"
    echo '{"execute": "quit"}' >> "$folder/nodes.qmp"
    runs=1
    measure "QEMU" run_qemu
else
    echo "QEMU: not installed"
fi
if [ "$numon_best" -gt "$limit" ]; then
    echo "numon needs $numon_best ms, more than $limit"
    exit 1
fi
