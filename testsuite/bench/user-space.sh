#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# user-space.sh [RUNS]
# How long Debian's kernel takes in the rig from exec of numon, of QEMU's microvm and of lkvm, where these are
# installed, to user space (testsuite/rig/guest-init's first line), one CPU and 512 MiB each.  The programs run in
# turn, RUNS times (5).  It is an emulated processor: the times say how the programs compare, not how fast they are.
# RIG_BUILD is the build directory.  Skips with the reason where there is no rig.
set -u
runs=${1:-5}
rig=$(cd -- "$(dirname -- "$0")/../rig" && pwd)/rig.sh
tools=
files=
if command -v qemu-system-x86_64 >/dev/null; then
    tools=qemu-system-x86_64
    for file in bios-microvm.bin linuxboot_dma.bin kvmvapic.bin pvh.bin; do
        for folder in /usr/share/qemu /usr/share/seabios; do
            [ ! -f "$folder/$file" ] || files="$files $folder/$file"
        done
    done
fi
! command -v lkvm >/dev/null || tools="$tools lkvm"

RIG_TOOLS=$tools RIG_FILES=$files "$rig" shell <<END
runs=$runs
$(cat <<'SCRIPT'
kernels=/rig/kernels
words="console=ttyS0 quiet panic=-1 mitigations=off nokaslr do=poweroff"
until=/numon/build/testsuite/rig/until

cat > /tmp/numon <<NUMON
accel kvm
memory 512M
smp 1
kernel $kernels/vmlinuz
initrd $kernels/initrd
append $words
serial_target stdio
launch
wait migration 600
NUMON

run_numon()
{
    "$until" "guest: user space" 600 /numon/build/numon --batch -x /tmp/numon
}

run_microvm()
{
    "$until" "guest: user space" 600 qemu-system-x86_64 -M microvm,accel=kvm -cpu host -m 512 -smp 1 -nodefaults \
        -no-user-config -display none -serial stdio -kernel "$kernels/vmlinuz" -initrd "$kernels/initrd" \
        -append "$words"
}

run_lkvm()
{
    "$until" "guest: user space" 600 lkvm run -m 512 -c 1 --network mode=none -k "$kernels/vmlinuz" \
        -i "$kernels/initrd" -p "$words"
}

row()
{
    sort -n "/tmp/$1.times" | awk -v name="$2" '{ t[NR] = $1 }
        END { if (NR) printf "%-38s %8.2f %8.2f\n", name, t[1] / 1000, t[int((NR + 1) / 2)] / 1000
              else printf "%-38s %8s %8s\n", name, "-", "-" }'
}

programs="numon"
! command -v qemu-system-x86_64 >/dev/null || programs="$programs microvm"
! command -v lkvm >/dev/null || programs="$programs lkvm"
for program in $programs; do : > /tmp/$program.times; done
while [ "$runs" -gt 0 ]; do
    for program in $programs; do
        run_$program >> /tmp/$program.times || echo "$program did not bring Linux to user space"
    done
    runs=$((runs - 1))
done
printf '%-38s %17s\n%-38s %8s %8s\n' "seconds from exec, in the rig, to" "user space" "" best median
row numon "numon, Linux, 512 MiB"
row_or_not()
{
    if [ -f "/tmp/$1.times" ]; then row "$1" "$2, Linux, 512 MiB"; else echo "$2: not installed"; fi
}
row_or_not microvm "QEMU microvm"
row_or_not lkvm lkvm
SCRIPT
)
END
status=$?
[ $status -eq 77 ] && exit 0
exit $status
