#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# usage: predict.sh NUMON BENCH-LIMITS [RUNS [CASES]]
# How well `migrate_predict` foretells what then comes: a guest with 900 MiB of random bytes and an unlimited line;
# and one of 1 GiB that writes 256 MiB at 5k, 20k and 50k pages/s and as fast as it can, over lines of 125 and 500
# MB/s and an unlimited one, with downtime limits of 300 and 30 ms: cases of migrate.pl.  Before each prediction and
# migration as much memory as it will take is taken and given back, as there.  Prints prediction, fact and their
# ratio for total time and downtime, medians of RUNS (3) during which others had no more than a quarter of a CPU;
# where there were not so many in TRIES (three times RUNS) it says "busy" and has those of all.  "-" does not
# converge.  CASES: a pattern of names as the table has them.  LOG: a file that gets what numon said.
set -u
numon=$1 limits=$2 runs=${3:-3} only=${4:-*} log=${LOG:-/dev/null}
tries=${TRIES:-$((3 * runs))}
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
patience_s=10           # what takes so much longer than twice as long as predicted does not converge

# Takes so many MiB and gives them back, until what the host gives has been there before: it has it ready at once.
warm() {
    local began _

    for _ in 1 2 3 4 5 6 7 8; do
        began=$(date +%s%N)
        "$limits" warm "$1"
        [ $((($(date +%s%N) - began) / 1000000 * 4)) -gt "$1" ] || break
    done
}

# Sends a command; its output is in $answer.
ask() {
    local line

    answer=
    printf '%s\necho @@\n' "$1" >&"${session[1]}"
    while IFS= read -r -t 90 line <&"${session[0]}"; do
        [ "$line" = @@ ] && return
        answer+=$line$'\n'
    done
    echo "no answer to '$1'" >&2
    exit 1
}

written() {
    ask "info workload"
    awk '/^CPU / { n += $5 } END { print n + 0 }' <<< "$answer"
}

# A guest with SIZE MiB written, which then writes RATE pages/s of them at random (0: nothing).
prepare() {
    local pages=$(($1 * 256 - 512))

    warm 2048
    coproc session { exec timeout -s KILL 180 "$numon" 2>&1; }
    # The workload keeps as much again beside what it writes.
    ask "memory $(($1 * 2 < 1000 ? 1024 : $1 * 2 + 64))M"
    ask "smp 1"
    ask "workload pattern=sequential rate=unlimited size=$1M write=page"
    ask "launch"
    while [ "$(written)" -lt "$pages" ]; do sleep 0.1; done
    if [ "$2" = 0 ]; then ask "workload pattern=idle"; else ask "workload pattern=random write=line rate=$2"; fi
}

# What the group of PATTERN holds in the last line of the answer that has it, or "-".
number() {
    local found
    found=$(sed -n "s/^.*$1.*$/\\1/p" <<< "$answer" | tail -n 1)
    echo "${found:--}"
}

# Ticks of the clock that all CPUs worked for whomever, and such that they worked for numon and its peer.
machine_ticks() { awk '/^cpu / { print $2 + $3 + $4 + $7 + $8 + $9 }' /proc/stat; }
own_ticks() {
    local pids=$session_PID next=$session_PID

    while next=$(pgrep -d ' ' -P "${next// /,}"); do pids+=" $next"; done
    for next in $pids; do cat "/proc/$next/stat"; done 2> /dev/null | awk '{ n += $14 + $15 } END { print n + 0 }'
}
# What looking takes is no part of it.
watch_begin() {
    own=$(own_ticks)
    machine=$(machine_ticks)
    watched=$(date +%s%N)
}
# True if others had more than a quarter of a CPU since; three ticks are no measurement.
watch_busy() {
    awk -v all=$(($(machine_ticks) - machine)) -v own=$(($(own_ticks) - own)) -v ns=$(($(date +%s%N) - watched)) \
        -v hz="$(getconf CLK_TCK)" 'BEGIN { n = all - own; exit !(n > 3 && n / hz > 0.25 * ns / 1e9) }'
}

# once SIZE RATE BANDWIDTH DOWNTIME: leaves "total downtime total downtime state" in $found, "-" for what does not
# converge; the state is "quiet" or "busy".
once() {
    local total gap came_total came_gap child state=quiet

    prepare "$1" "$2"
    child=$session_PID
    ask "migrate_set_parameter max-bandwidth $3"
    ask "migrate_set_parameter downtime-limit $4"
    ask "peer start b"
    warm $(($1 + 320))
    watch_begin
    ask "migrate_predict"
    watch_busy && state=busy
    total=$(number 'predicted: \([0-9.]*\) s, ') gap=$(number 'predicted: [0-9.]* s.*downtime \([0-9.]*\) ms')
    warm $(($1 + 320))
    watch_begin
    ask "migrate -d peer:b"
    ask "wait migration $(awk -v t="$total" -v n=$patience_s 'BEGIN { print int(2 * t + n) }')"
    # Who does not converge is not timed.
    [ "$total" != - ] && watch_busy && state=busy
    ask "info prediction"
    printf '%s' "$answer" >> "$log"
    came_total=$(number 'recorded: completed, \([0-9.]*\) s')
    came_gap=$(number 'recorded: completed.*downtime \([0-9.]*\) ms')
    ask "info migrate downtime"
    printf '%s%s\n' "$answer" "$state" >> "$log"
    kill "$child"
    wait "$child" 2> /dev/null
    found="$total $gap $came_total $came_gap $state"
}

# The median of a column; "-" if most of it is.
median() {
    local count

    count=$(wc -l < "$folder/of")
    cut -d ' ' -f "$1" "$folder/of" | sed 's/-/inf/' | sort -g | sed -n "$(((count + 1) / 2))p" | sed 's/inf/-/'
}

measure() {
    local name=$1 mark=
    shift
    case $name in $only) ;; *) return ;; esac
    : > "$folder/runs"
    : > "$folder/of"
    for _ in $(seq "$tries"); do
        [ "$(wc -l < "$folder/of")" -lt "$runs" ] || break
        printf '== %s\n' "$name" >> "$log"
        once "$@"
        echo "$found" >> "$folder/runs"
        grep quiet "$folder/runs" > "$folder/of"
    done
    if [ "$(wc -l < "$folder/of")" -lt "$runs" ]; then cp "$folder/runs" "$folder/of"; mark=busy; fi
    echo "$name $(median 1) $(median 3) $(median 2) $(median 4) $mark" | awk '
        function ratio(a, b) { return a == "-" || b == "-" ? (a == b ? "=" : "!") : sprintf("%.2f", a / b) }
        { printf "%-22s %8s %8s %6s %10s %8s %6s %s\n", $1, $2, $3, ratio($2, $3), $4, $5, ratio($4, $5), $6 }'
}

printf '%-22s %8s %8s %6s %10s %8s %6s\n' case 'total s' fact ratio 'downtime ms' fact ratio
for limit in 300 30; do
    measure "random-max-$limit" 900 0 0 "$limit"
    for line in 125:125000000B 500:500000000B max:0; do
        for rate in 5000 20000 50000 unlimited; do
            measure "$rate-${line%%:*}-$limit" 256 "$rate" "${line#*:}" "$limit"
        done
    done
done
