#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The main job, from an empty prompt to a guest that was migrated while it ran.
# usage: demo.sh NUMON     Exit status 0 only if the guest runs on the destination and no page was lost.
set -u
here=$(dirname "$0")
numon=$1
out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT

"$numon" --batch -x "$here/demo.numon" 2>&1 | tee "$out"

running=$(grep -c '^VM status: running$' "$out")
verified=$(sed -n 's/^\([0-9][0-9]* pages verified, 0 lost\).*$/\1/p' "$out" | tail -n 1)
accel=synthetic
if grep -q '^kvm support: enabled$' "$out"; then accel=kvm; fi
echo
if [ "$running" -ge 1 ] && [ -n "$verified" ] && grep -q '^Migration status: completed$' "$out"; then
    echo "verdict: guest still running on the destination (accelerator: $accel), $verified"
    exit 0
fi
echo "verdict: FAILED; see the error above"
exit 1
