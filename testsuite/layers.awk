# SPDX-License-Identifier: GPL-3.0-or-later
# Who may include what: HACKING's table, checked.  Run at the top of the source tree with all C and assembler files of
# include, src and monitor as arguments.  Prints one line a folder, "ok FOLDER", or "bad FOLDER", and before that one
# line for each include that the table does not allow.  No arrow points up.

BEGIN {
    may["base"]         = ""
    may["control-page"] = ""
    may["property"]     = "base"
    may["state"]        = "base"
    may["topology"]     = "base property"
    may["memory"]       = "base property topology"
    may["workload"]     = "base property memory control-page"
    may["device"]       = "base state memory"
    may["boot"]         = "base property topology memory control-page"
    may["config"]       = "base property topology memory workload device"
    may["accel"]        = "base property state memory device boot workload"
    may["migrate"]      = "base property state memory"
    may["guest"]        = "control-page"
    may["machine"]      = "*"
    may["monitor"]      = "*"

    # Headers of the system that only one place knows.
    only["numa.h"]      = "src/topology/host.c"
    only["linux/kvm.h"] = "src/accel/kvm/"
    only["readline/"]   = "monitor/"

    for (i = 1; i < ARGC; i++)
        present[ARGV[i]] = 1
}

# "src/accel/kvm/run.c" is of accel, "include/accel.h" too.
function part_of(file,    piece) {
    split(file, piece, "/")
    if (piece[1] == "src")
        return piece[2]
    if (piece[1] == "include")
        return substr(piece[2], 1, length(piece[2]) - 2)
    return piece[1]
}

# The folder that a header of our own lies in, seen from 'file': its own folder first, then upwards, then include.
function found_in(file, header,    folder) {
    folder = file
    while (sub("/[^/]*$", "", folder))
        if ((folder "/" header) in present)
            return folder "/" header
    return ("include/" header) in present ? "include/" header : ""
}

function complain(text) {
    printf "%s:%d: %s\n", FILENAME, FNR, text
    bad[part] = 1
}

function check_ours(header,    target, other) {
    if (header == "build-config.h")
        return
    target = found_in(FILENAME, header)
    if (target == "") {
        complain("no header of its own folder or of include: \"" header "\"")
        return
    }
    other = part_of(target)
    if (other != part && may[part] != "*" && index(" " may[part] " ", " " other " ") == 0)
        complain(part " may not include \"" header "\"")
}

function check_system(header,    name) {
    for (name in only)
        if (index(header, name) == 1 && index(FILENAME, only[name]) != 1)
            complain("only " only[name] " includes <" header ">")
}

FNR == 1 {
    part = part_of(FILENAME)
    seen[part] = 1
    if (!(part in may))
        complain("the table of testsuite/layers.awk does not have '" part "'")
}

/^[ \t]*#[ \t]*include[ \t]*"/ {
    split($0, quoted, "\"")
    check_ours(quoted[2])
}

/^[ \t]*#[ \t]*include[ \t]*</ {
    split($0, angled, /[<>]/)
    check_system(angled[2])
}

END {
    for (part in seen)
        print (part in bad ? "bad " : "ok ") part
}
