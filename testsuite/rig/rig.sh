#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The rig: a NUMA host in a box.  QEMU emulates, in software, a machine with SVM and several nodes; Debian's kernel runs
# in it with kvm-amd, and numon and its testsuite run in that, from an initramfs made here.  Nothing is installed, all
# files are below RIG_DIR, and the machine ends with whoever started it.
#
#   rig.sh packages      fetch what comes from Debian, unless it is there
#   rig.sh agent         packages, initramfs, then the machine; its console takes requests (testsuite/rig/init)
#   rig.sh shell         the same with a shell; what comes by a pipe is run by it
#
# Environment: RIG_BUILD, the build directory (default "."); RIG_DIR, where the rig's files lie (RIG_BUILD/rig);
# RIG_NODES, 2 to 4 (4); RIG_LIMIT, seconds after which the machine is ended (14400); RIG_UNITS, the unit programs that
# suites run, relative to the build directory; RIG_FACTOR, how many times slower than others a suite may be there (8);
# RIG_TOOLS and RIG_FILES, programs and files of this host to have there too, by name and by path;
# RIG_QEMU and RIG_WORDS, more options for QEMU and more words for the kernel, for who looks for a fault.
#
# When the machine ends otherwise than by its own will, or a SIGTERM ends it, "rig: last words: LINE" come: the kernel's
# messages, and where its CPUs were.  It is loaded where it was linked (nokaslr), so these addresses mean something.
#
# Where the rig cannot be had: status 77 and a line "rig: unsupported: REASON".
set -eu
LC_ALL=C
export LC_ALL

RIG_BUILD=$(cd -- "${RIG_BUILD-.}" && pwd)
RIG_DIR=${RIG_DIR-$RIG_BUILD/rig}
source=$(cd -- "$(dirname -- "$0")/../.." && pwd)
packages=$RIG_DIR/packages
work=$RIG_DIR/work.$$
root=$work/root

unsupported()
{
    printf 'rig: unsupported: %s\n' "$*" >&2
    exit 77
}

need()
{
    command -v "$1" >/dev/null || unsupported "there is no $1 (Debian's package $2)"
}

# --- packages ----------------------------------------------------------------------------------------------------------

# Fetches packages into the current folder: by the host's own lists, else, where those are absent or older than what the
# archive still has, by lists of our own.
download()
{
    get="timeout -k 5 300 apt-get -qq -o APT::Sandbox::User=root -o Acquire::Retries=2 -o Acquire::http::Timeout=30"
    $get download "$@" >/dev/null 2>apt.log && return
    own="-o Dir::State::lists=$work/apt/lists -o Dir::Cache=$work/apt/cache"
    if [ ! -d "$work/apt" ]; then
        mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial"
        $get $own -o APT::Update::Error-Mode=any update >/dev/null 2>apt.log || return
    fi
    $get $own download "$@" >/dev/null 2>apt.log
}

fetch()
{
    download "$@" || unsupported "cannot get '$*' from Debian: $(grep -m 1 '^E: ' apt.log || echo "no answer")"
}

# Prints the file of a kernel module below files/, whose name may be written with - or _; nothing if it is built in.
module_file()
{
    find files -name "$(printf '%s' "$1" | sed 's/[-_]/[-_]/g').ko*" | head -n 1
}

module_contents()
{
    case $1 in
    *.xz) ready/busybox xzcat "$1" ;;
    *) cat "$1" ;;
    esac
}

# Prints the files of a module and of what it depends on, which comes first; some more than once.
module_closure()
(
    file=$(module_file "$1")
    [ -n "$file" ] || exit 0
    for other in $(module_contents "$file" | tr '\0' '\n' | sed -n 's/^depends=//p' | tr ',' ' '); do
        module_closure "$other"
    done
    printf '%s\n' "$file"
)

# Puts modules and what they depend on into the folder $1, each with a number for the order in which they go in.
take_modules()
{
    folder=$1
    shift
    number=10
    for file in $(for module; do module_closure "$module"; done | awk '!seen[$0]++'); do
        name=${file##*/}
        module_contents "$file" > "$folder/$number-${name%%.*}.ko"
        number=$((number + 1))
    done
}

# Everything from Debian, made ready: vmlinuz, busybox, modules for guests inside and base.cpio, which is the part of
# the initramfs that never changes.  The kernel's own name changes with each update; linux-image-amd64 depends on the one
# of today.
get_packages()
{
    [ ! -d "$packages/guest" ] || return 0
    need apt-get apt
    need dpkg-deb dpkg
    mkdir "$work/files" "$work/base" "$work/ready"
    cd "$work"
    fetch linux-image-amd64 busybox-static
    kernel=$(dpkg-deb -f linux-image-amd64_*.deb Depends |
             sed -n 's/.*\(linux-image-[^ ,]*\) *(= *\([^)]*\)).*/\1=\2/p')
    [ -n "$kernel" ] || unsupported "Debian's linux-image-amd64 does not say which kernel it stands for"
    fetch "$kernel"
    for package in *.deb; do
        dpkg-deb -x "$package" files
    done
    cp "$(find files -path '*/bin/busybox' -type f)" ready/busybox
    cp files/boot/vmlinuz-* ready/vmlinuz
    printf '%s\n' "$kernel" > ready/kernel
    make_base
    # An older rig.sh made less of it; whoever else is at it has made the same.
    [ -d "$packages/guest" ] || rm -rf "$packages"
    mv -T ready "$packages" 2>/dev/null || [ -d "$packages/guest" ]
    cd "$RIG_BUILD"
    rm -rf "$work/files" "$work/base" "$work"/*.deb "$work/apt"
}

make_base()
{
    mkdir -p base/usr/bin base/usr/sbin base/usr/lib base/usr/lib64 base/rig/modules base/rig/kernels
    for name in bin sbin lib lib64; do
        ln -s usr/$name base/$name
    done
    cp ready/busybox base/usr/bin/
    take_modules base/rig/modules kvm-amd
    [ -n "$(ls base/rig/modules)" ] || unsupported "$kernel has no module kvm-amd"
    mkdir ready/guest
    take_modules ready/guest button evdev
    cp ready/vmlinuz base/rig/kernels/
    archive base > ready/base.cpio
}

# --- the initramfs -----------------------------------------------------------------------------------------------------

archive()
{
    (cd "$1" && find . | LC_ALL=C sort | "${packed_by-$work/ready/busybox}" cpio -o -H newc -R 0:0 2>/dev/null)
}

# Copies files to the same place below the root; what lies in /lib and its like lies in /usr/lib there.
add_files()
{
    for file; do
        case $file in
        /bin/* | /sbin/* | /lib/* | /lib64/*) target=$root/usr$file ;;
        *) target=$root$file ;;
        esac
        [ ! -e "$target" ] || continue
        mkdir -p "${target%/*}"
        cp -L "$file" "$target"
    done
}

# The libraries of programs, and the one that libc loads when a thread ends early.
add_libraries()
{
    libraries=$(ldd "$@" 2>/dev/null | sed -n 's/^[^/]*\(\/[^ :]*\) (0x.*/\1/p' | sort -u)
    add_files $libraries
    for library in $libraries; do
        case $library in */libc.so.6)
            add_files "${library%/*}/libgcc_s.so.1"
            # numon opens it when it is asked for instructions.
            for opened in "${library%/*}"/libcapstone.so.*; do
                [ ! -f "$opened" ] || add_files "$opened"
            done ;;
        esac
    done
}

add_programs()
{
    add_files "$@"
    add_libraries "$@"
}

# Expect with Tcl's library, and DejaGnu.
add_dejagnu()
{
    expect=$(command -v expect)
    runtest=$(command -v runtest)
    tcl=$(expect -c 'puts [info library]; exit')
    add_programs "$expect"
    mkdir -p "$root$tcl" "$root/usr/share"
    cp -LR "$tcl/." "$root$tcl"
    cp -R "$(dirname "$(dirname "$runtest")")/share/dejagnu" "$root/usr/share/"
    cp "$runtest" "$root/usr/bin/runtest"
    # The folders of Tcl's packages; those of Expect and Tcl alone.
    for folder in $(expect -c 'puts $auto_path; exit'); do
        case $folder in
        *expect*) [ ! -d "$folder" ] || { mkdir -p "$root$folder"; cp -LR "$folder/." "$root$folder"; } ;;
        esac
    done
}

# Programs that suites call and busybox has not.
add_tools()
{
    for tool in cksum ${RIG_TOOLS-}; do
        add_programs "$(command -v $tool)"
    done
    add_files ${RIG_FILES-}
}

# Perl with the modules that scripts of the testsuite use, and no more; those of their own lie beside them.
add_perl()
{
    command -v perl >/dev/null || return 0
    wanted=
    for module in $(find "$source/testsuite" -name '*.pl' -exec sed -n 's/^use \([A-Z][A-Za-z:]*\).*/-M\1/p' {} + |
                    sort -u); do
        ! perl "$module" -e 1 2>/dev/null || wanted="$wanted $module"
    done
    found=$(perl $wanted -MB -e 'print "$_\n" for grep { -f } values(%INC), @DynaLoader::dl_shared_objects') || return 0
    add_programs "$(command -v perl)"
    add_files $found
}

# numon, the unit programs and helpers as they were built, without what only a debugger reads, and the sources, which
# suites read.
add_numon()
{
    mkdir -p "$root/numon/build"
    (cd "$source" && find testsuite include monitor src doc HACKING README NEWS -type f ! -name '*.o') |
        (cd "$source" && tar -cf - -T -) | tar -xf - -C "$root/numon"
    cd "$RIG_BUILD"
    for file in numon src/guest/*.elf testsuite/numon.*/images/* testsuite/numon.*/* testsuite/rig/steady \
        testsuite/rig/until ${RIG_UNITS-}; do
        [ -f "$file" ] || continue
        mkdir -p "$root/numon/build/$(dirname "$file")"
        case $file in
        *.elf | */images/*) cp "$file" "$root/numon/build/$file" ;;
        *)
            [ -x "$file" ] || continue
            strip -g -o "$root/numon/build/$file" "$file" 2>/dev/null || cp "$file" "$root/numon/build/$file"
            add_libraries "./$file"
            ;;
        esac
    done
}

# For Linux guests inside, with the same kernel: busybox, the power button's modules and the load.
make_guest_initrd()
(
    root=$work/guest
    mkdir -p "$root/bin" "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/usr/bin" "$root/usr/lib64"
    ln -s usr/lib usr/lib64 "$root"
    cp "$packages/busybox" "$root/bin/"
    cp -R "$packages/guest" "$root/modules"
    cp "$source/testsuite/rig/guest-init" "$root/init"
    chmod 755 "$root/init"
    if [ -x "$RIG_BUILD/testsuite/rig/guest-load" ]; then
        cp "$RIG_BUILD/testsuite/rig/guest-load" "$root/bin/"
        add_libraries "$root/bin/guest-load"
    fi
    archive "$root" > "$1"
    rm -rf "$root"
)

make_initramfs()
{
    mkdir -p "$root/rig"
    cp "$source/testsuite/rig/init" "$root/init"
    chmod 755 "$root/init"
    printf 'units="%s"\nfactor=%s\n' "${RIG_UNITS-}" "${RIG_FACTOR-8}" > "$root/rig/settings"
    [ "$1" != script ] || cat > "$root/rig/script"
    add_dejagnu
    add_perl
    add_tools
    for folder in /lib/terminfo /usr/lib/locale/C.utf8; do
        [ ! -d "$folder" ] || { mkdir -p "$root/usr${folder#/usr}"; cp -LR "$folder/." "$root/usr${folder#/usr}"; }
    done
    add_numon
    packed_by=$packages/busybox
    mkdir -p "$root/rig/kernels"
    make_guest_initrd "$root/rig/kernels/initrd"
    { cat "$packages/base.cpio"; archive "$root"; } > "$work/initrd"
    rm -rf "$root"
}

# --- the machine -------------------------------------------------------------------------------------------------------

# As many CPUs as the host has, 2 to 4: more would stand in each other's way, each with its clock's interrupts.
cpus=$(nproc)
[ "$cpus" -ge 2 ] || cpus=2
[ "$cpus" -le 4 ] || cpus=4

# QEMU's options for the nodes, 4 GiB in all.  No two nodes are as far from each other as another two; of three or four
# the last has no CPU.
nodes()
{
    case ${RIG_NODES:-4}.$cpus in
    2.2) set -- 2048:0 2048:1 ;;
    2.*) set -- 2048:0-1 2048:2-$((cpus - 1)) ;;
    3.2) set -- 2048:0 1024:1 1024: ;;
    3.*) set -- 2048:0-1 1024:2-$((cpus - 1)) 1024: ;;
    4.2) set -- 1536:0 1024:1 1024: 512: ;;
    4.3) set -- 1536:0 1024:1 1024:2 512: ;;
    4.4) set -- 1536:0-1 1024:2 1024:3 512: ;;
    *) echo "rig.sh: RIG_NODES is '$RIG_NODES', not 2, 3 or 4" >&2; exit 2 ;;
    esac
    number=0
    for node; do
        printf ' -object memory-backend-ram,id=node%d,size=%sM' $number "${node%:*}"
        printf ' -numa node,nodeid=%d,memdev=node%d%s' $number $number "$([ -z "${node#*:}" ] || echo ",cpus=${node#*:}")"
        number=$((number + 1))
    done
    for distance in 0,1,16 0,2,22 0,3,32 1,2,18 1,3,28 2,3,24; do
        pair=${distance%,*}
        [ "${pair#*,}" -ge $# ] || printf ' -numa dist,src=%d,dst=%d,val=%d' "${pair%,*}" "${pair#*,}" "${distance##*,}"
    done
}

# What tells why the machine came to stand still or ended.  QEMU's monitor answers unless QEMU itself is stuck.
last_words()
{
    {
        tr -d '\r' < "$work/kernel.log" | grep . | tail -n 60
        [ ! -p "$work/monitor.in" ] || [ -z "$machine" ] || {
            echo "info registers -a" > "$work/monitor.in"
            timeout -s KILL 2 cat "$work/monitor.out" | tr '\r' '\n' | grep -aE '^(CPU#|RIP=)'
        }
    } 2>/dev/null | sed 's/^/rig: last words: /' >&2 || true
}

# Runs the machine in mode $1 until it ends.  It dies with this shell, whatever ends that, and after RIG_LIMIT.  In the
# background, for a shell that waits hears signals at once.  The kernel talks to a file.
run()
{
    mode=$1
    options=$(nodes)
    console="-serial stdio"
    words="rig=$mode"
    if [ "$mode" = shell ]; then
        console="-chardev stdio,id=console,mux=on,signal=off -serial chardev:console -mon chardev=console"
        words="$words rig_term=${TERM-dumb} rig_size=$(stty size | tr ' ' x)"
    fi
    [ "$mode" != script ] || exec </dev/null
    exec 3<&0
    line="console=ttyS1 panic=-1 nowatchdog mitigations=off nokaslr ${RIG_WORDS-}"
    # Its clock is the TSC: all CPUs have the host's, and other clocks need a lock that they all share.
    [ ! -x "$RIG_BUILD/testsuite/rig/tsc" ] || line="$line tsc=reliable tsc_early_khz=$("$RIG_BUILD/testsuite/rig/tsc")"
    mkfifo "$work/monitor.in" "$work/monitor.out"
    setpriv --pdeathsig KILL timeout --foreground -s KILL "${RIG_LIMIT-14400}" \
        setpriv --pdeathsig KILL qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot -M q35 \
        -accel tcg,thread=multi -cpu EPYC,+svm,+npt -smp $cpus -m 4096M $options \
        -kernel "$packages/vmlinuz" -initrd "$work/initrd" -append "$line $words" $console \
        -serial "file:$work/kernel.log" -chardev "pipe,id=monitor,path=$work/monitor" -mon chardev=monitor \
        ${RIG_QEMU-} 2>"$work/qemu.log" <&3 3<&- &
    machine=$!
    status=0
    wait $machine || status=$?
    machine=
    if [ $status -ne 0 ]; then
        grep -v "TCG doesn't support requested feature" "$work/qemu.log" >&2 || true
        echo "rig: QEMU ended with status $status" >&2
    fi
    grep -q 'reboot: Power down' "$work/kernel.log" 2>/dev/null || last_words
    return $status
}

# Ends the machine, if it runs, and leaves nothing.
clean_up()
{
    status=$?
    if [ -n "$machine" ]; then
        [ $status -ne 143 ] || last_words
        kill -KILL "$machine" 2>/dev/null || true
        wait "$machine" 2>/dev/null || true
    fi
    rm -rf "$work"
}

# --- all of it ---------------------------------------------------------------------------------------------------------

# What a killed one left.
sweep()
{
    for old in "$RIG_DIR"/work.*; do
        [ ! -d "$old" ] || kill -0 "${old##*.}" 2>/dev/null || rm -rf "$old"
    done
}

[ $# -eq 1 ] || { echo "usage: rig.sh packages | agent | shell" >&2; exit 2; }
need qemu-system-x86_64 qemu-system-x86
need setpriv util-linux
need runtest dejagnu
need expect expect
mkdir -p "$RIG_DIR"
sweep
machine=
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir "$work"
mode=$1
[ "$mode" != shell ] || [ -t 0 ] || mode=script
get_packages
case $mode in
packages) ;;
agent | shell | script)
    [ -x "$RIG_BUILD/numon" ] || { echo "rig.sh: there is no numon in '$RIG_BUILD': run make" >&2; exit 2; }
    make_initramfs "$mode"
    run "$mode"
    ;;
*)
    echo "usage: rig.sh packages | agent | shell" >&2
    exit 2
    ;;
esac
