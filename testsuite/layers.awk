# SPDX-License-Identifier: GPL-3.0-or-later
# Who may include what: the table of HACKING, checked.  Run at the top of the source tree with HACKING and then all C
# and assembler files of include, src and monitor as arguments.  Prints one line a folder, "ok FOLDER", or "bad FOLDER",
# and before that one line for each include that the table does not allow.  No arrow points up, and what is private to
# a folder is included there only.

BEGIN {
    may["control-page"] = may["platform"] = ""      # headers alone, without a folder

    # Headers of the system that only one place knows.
    only["numa.h"]      = "src/topology/host.c"
    only["linux/kvm.h"] = "src/accel/kvm/"
    only["readline/"]   = "monitor/"

    for (i = 1; i < ARGC; i++)
        present[ARGV[i]] = 1
}

# One line of HACKING.  The table begins with its heading, whose words stand where the columns begin, and ends with an
# empty line; a row without a folder goes on with the one above.
function table_line(line,    name, list) {
    if (line ~ /^ +folder +what lives there +may include$/) {
        what_column = index(line, "what lives there")
        may_column = index(line, "may include")
        return
    }
    if (!what_column || table_ended || line ~ /^ *-/)
        return
    if (line == "") {
        table_ended = 1
        return
    }
    name = substr(line, 1, what_column - 1)
    list = substr(line, may_column)
    gsub(/ /, "", name)
    if (list == "nothing")
        list = ""
    if (name != "") {
        row = name
        sub(/.*\//, "", row)
        may[row] = (list == "every public header") ? "*" : list
    } else if (list != "") {
        may[row] = may[row] " " list
    }
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
    else if (other != part && target !~ /^include\//)
        complain("\"" header "\" is private to " other)
}

function check_system(header,    name) {
    for (name in only)
        if (index(header, name) == 1 && index(FILENAME, only[name]) != 1)
            complain("only " only[name] " includes <" header ">")
}

FILENAME == "HACKING" {
    table_line($0)
    next
}

FNR == 1 {
    part = part_of(FILENAME)
    seen[part] = 1
    if (!(part in may))
        complain("the table of HACKING does not have '" part "'")
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
    if (!table_ended)
        print "bad HACKING"
    for (part in seen)
        print (part in bad ? "bad " : "ok ") part
}
