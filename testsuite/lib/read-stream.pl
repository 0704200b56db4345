#!/usr/bin/perl
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Reads a file written by `migrate "exec:cat > FILE"`, sharing no line with what wrote it, and holds it to every rule
# of QEMU's file format that a file must keep, QEMU's own stream analyser being the judge (a row is the number of such a
# rule).
#
#   read-stream.pl FILE                         check; print what it holds
#   read-stream.pl FILE -x DIRECTORY            besides, write each block's RAM to DIRECTORY/BLOCK
#   read-stream.pl FILE --drop BLOCK:PAGE OUT   besides, write the stream without the last record of that page
#
# PAGE is an index of 4096-byte pages, or "again": one that was sent more than once, the last time with another
# content than the time before.  Exit status 0 if all is well, else 1 and a line "FILE: byte N: what is wrong".
use strict;
use warnings;
use JSON::PP;

my ($file, $mode, @rest) = @ARGV;
die "usage: read-stream.pl FILE [-x DIRECTORY | --drop BLOCK:PAGE OUT]\n"
    if !defined $file || (defined $mode && !($mode eq "-x" && @rest == 1) && !($mode eq "--drop" && @rest == 2));

my $at = 0;         # offset of the next byte
my $size;
my $page_size = 4096;
my %blocks;         # name => { size, records => { index => [ [ start, end, data offset or -1 ], ... ] } }
my @block_names;
my @joined;         # texts of the memory devices that joined while the guest moved
my %open;           # section id => name
my %seen;           # "name/instance"
my (%device, $description);
my %count = (normal => 0, zero => 0, part => 0);
my $block;          # of the record before

sub bad { print STDERR "$file: byte $at: ", sprintf(shift(), @_), "\n"; exit 1; }

# --- bytes ----------------------------------------------------------------------------------------------------------

open(my $in, "<:raw", $file) or die "$file: $!\n";
-f $in or bad("not a plain file (row 1)");
$size = -s $in;

sub take
{
    my ($n) = @_;
    my $bytes = "";
    while (length $bytes < $n) {
        my $got = read($in, $bytes, $n - length $bytes, length $bytes);
        defined $got && $got > 0 or bad("the file ends where %d bytes are wanted", $n);
    }
    $at += $n;
    return $bytes;
}
sub u8  { return unpack("C", take(1)); }
sub u16 { return unpack("n", take(2)); }
sub u32 { return unpack("N", take(4)); }
sub u64 { return unpack("Q>", take(8)); }
sub go  { seek($in, $at = shift, 0) or die "$file: $!\n"; }

sub name
{
    my ($what) = @_;
    my $length = u8();
    $length >= 1 && $length <= 127 or bad("the name of %s has %d bytes (row 14)", $what, $length);
    my $name = take($length);
    utf8::decode(my $text = $name) or bad("the name of %s is no UTF-8", $what);
    return $name;
}

# --- the description, found as a reader must that knows only the end of the file ------------------------------------

sub find_description
{
    my $from = $size > 10 * 1024 * 1024 ? $size - 10 * 1024 * 1024 : 0;
    go($from);
    my $tail = take($size - $from);
    my $nul = rindex($tail, "\0");
    $nul >= 0 or bad("there is no NUL byte in the last 10 MiB (row 5)");
    my $brace = index($tail, "{", $nul);
    $brace >= 5 or bad("no description after the last NUL byte (rows 3 and 5)");
    go($from + $brace - 5);
    u8() == 6 or bad("the bytes before the description are not its header (rows 4 and 6)");
    my $length = u32();
    my $start = $at;
    $start + $length == $size or bad("the description has %d bytes and %d follow (row 7)", $length, $size - $start);
    my $json = take($length);
    $description = eval { JSON::PP->new->utf8->decode($json) } or bad("the description is no JSON: %s", $@);
    return $start - 5;
}

sub check_description
{
    ref $description eq "HASH" or bad("the description is no object");
    $page_size = $description->{page_size} // bad("the description has no page_size (row 8)");
    $page_size == 4096 or bad("page_size is %s", $page_size);
    ref $description->{devices} eq "ARRAY" or bad("the description has no array 'devices' (row 8)");
    for my $d (@{$description->{devices}}) {
        defined $d->{name} && defined $d->{instance_id} && ref $d->{fields} eq "ARRAY"
            or bad("a device lacks name, instance_id or fields (row 9)");
        $d->{name} ne "ram" or bad("'ram' is among the devices (row 10)");
        !$device{"$d->{name}/$d->{instance_id}"}++
            or bad("device %s/%s is there twice", $d->{name}, $d->{instance_id});
        $device{"$d->{name}/$d->{instance_id}"} = $d;
    }
}

# --- payloads by their description ----------------------------------------------------------------------------------

my %width = (bool => 1, map { ("int$_" => $_ / 8, "uint$_" => $_ / 8) } 8, 16, 32, 64);

sub field
{
    my ($owner, $f) = @_;
    defined $f->{$_} or bad("a field of %s lacks '%s' (row 15)", $owner, $_) for qw(name type size);
    my $name = "$owner.$f->{name}";
    $f->{size} =~ /^\d+$/ or bad("%s has the size '%s'", $name, $f->{size});
    !exists $width{$f->{type}} || $width{$f->{type}} == $f->{size}
        or bad("%s is a %s of %d bytes (row 15)", $name, $f->{type}, $f->{size});
    for (1 .. $f->{array_len} // 1) {
        if ($f->{type} eq "struct") {
            fields($name, $f->{struct});
        } elsif ($f->{type} eq "nullptr") {
            take(1) eq "0" or bad("%s is no null pointer (row 18)", $name);
        } elsif ($f->{type} eq "bool") {
            u8() <= 1 or bad("%s is no bool", $name);
        } else {
            take($f->{size});
        }
    }
}

sub fields
{
    my ($owner, $d) = @_;
    ref $d->{fields} eq "ARRAY" or bad("%s has no fields (row 15)", $owner);
    field($owner, $_) for @{$d->{fields}};
    for my $s (@{$d->{subsections} // []}) {
        u8() == 5 or bad("%s lacks subsection '%s' (row 16)", $owner, $s->{vmsd_name});
        my $name = name("a subsection");
        $name eq $s->{vmsd_name} or bad("subsection '%s' where '%s' is described (row 16)", $name, $s->{vmsd_name});
        u32() <= $s->{version} or bad("subsection '%s' has a version above its description's", $name);
        fields($name, $s);
    }
}

# --- records --------------------------------------------------------------------------------------------------------

sub footer
{
    my ($id) = @_;
    u8() == 0x7e or bad("section %d has no footer (row 25)", $id);
    my $found = u32();
    $found == $id or bad("the footer of section %d names %d (row 25)", $id, $found);
}

sub configuration
{
    my $start = $at;
    my $length = u32();
    my $name = take($length);
    $length > 0 && utf8::decode(my $text = $name) or bad("the machine's name is empty or no text (row 13)");
    my $d = $description->{configuration} // return $name;
    defined $d->{version} or bad("the configuration's description has no version (row 12)");
    go($start);
    fields("configuration", $d);
    return $name;
}

# A block that is listed again has grown.  A reader makes it anew then: what came of it before is void.
sub block_list
{
    my ($left) = @_;
    while ($left > 0) {
        my $name = name("a block");
        my $length = u64();
        !$blocks{$name} || $blocks{$name}{size} < $length
            or bad("block '%s' is listed twice (row 21)", $name);
        @block_names = grep { $_ ne $name } @block_names;
        $name !~ m{^/|(^|/)\.\.(/|$)} or bad("block '%s' cannot be a file's name (row 21)", $name);
        $length > 0 && $length <= $left && $length % $page_size == 0
            or bad("block '%s' has %d bytes of %d left (row 21)", $name, $length, $left);
        $blocks{$name} = { size => $length, records => {} };
        push @block_names, $name;
        $left -= $length;
    }
}

sub ram
{
    my ($list) = @_;
    for (;;) {
        my $start = $at;
        my $word = u64();
        my $flags = $word & ($page_size - 1);
        my $offset = $word - $flags;
        if ($flags == 4) {
            block_list($offset);
            $list = 0;
            next;
        }
        return if $word == 0x10 && !$list;
        !$list && ($flags & ~0x20) =~ /^(2|8)$/ or bad("a record of RAM has the flags 0x%x (rows 20 and 22)", $flags);
        $block = name("a block") if !($flags & 0x20);
        defined $block or bad("the first page names no block (row 20)");
        $blocks{$block} or bad("block '%s' is not listed", $block);
        $offset < $blocks{$block}{size} or bad("page 0x%x lies outside of block '%s'", $offset, $block);
        my $data = -1;
        if ($flags & 2) {
            u8() == 0 or bad("a zero page is not filled with zero");
            $count{zero}++;
        } else {
            $data = $at;
            take($page_size);
            $count{normal}++;
        }
        my $index = $offset / $page_size;
        push @{$blocks{$block}{records}{$index}}, [$start, $at, $data];
    }
}

sub section
{
    my ($full) = @_;
    my $id = u32();
    my $name = name("a section");
    my ($instance, $version) = (u32(), u32());
    !exists $open{$id} or bad("section id %d is there twice", $id);
    !$seen{"$name/$instance"}++ or bad("section %s/%d is there twice", $name, $instance);
    $open{$id} = $name;
    if ($name eq "ram") {
        !$full && $instance == 0 && $version == 4
            or bad("ram has version %d, instance %d (row 19)", $version, $instance);
        ram(1);
    } else {
        my $d = $device{"$name/$instance"} or bad("section %s/%d is not described (row 11)", $name, $instance);
        $full or bad("section %s starts and is not iterable", $name);
        joined() if $name eq "memory-device";
        !defined $d->{version} || $version == $d->{version}
            or bad("section %s has version %d, described is %d", $name, $version, $d->{version});
        fields("$name/$instance", $d);
    }
    footer($id);
}

# A device's text: be32 length, the two commands that give it.  What it says is in front of its block's name.
sub joined
{
    my $start = $at;
    my $text = take(u32());
    $text =~ /^object_add [^\n]+\ndevice_add [^\n]+$/ or bad("a memory device that joins is '%s'", $text);
    push @joined, $text =~ s/\n/; /r;
    go($start);
}

sub continued
{
    my ($end) = @_;
    my $id = u32();
    ($open{$id} // "") eq "ram" or bad("section %d goes on and was not started (row 27)", $id);
    ram(0);
    footer($id);
    $open{$id} = "ended" if $end;
    $count{part}++;
}

# --- the whole ------------------------------------------------------------------------------------------------------

my $description_at = find_description();
check_description();
go(0);
take(4) eq "QEVM" && u32() == 3 or bad("no QEVM file of version 3 (row 2)");
my ($machine, $last) = ("none", -1);
while ((my $type = u8()) != 0) {
    if    ($type == 7 && $at == 9)      { $machine = configuration(); }
    elsif ($type == 1 || $type == 4)    { section($type == 4); }
    elsif ($type == 2 || $type == 3)    { continued($type == 3); }
    elsif ($type == 8) {
        my ($command, $length) = (u16(), u16());
        $command == 11 && $length == 0 or bad("command %d with %d bytes (row 24)", $command, $length);
    } else {
        bad("unknown record 0x%02x (row 26)", $type);
    }
}
$at == $description_at or bad("the end of the stream is not where the description begins, at %d (row 26)",
                              $description_at);
!grep { $_ eq "ram" } values %open or bad("ram has not ended");
$seen{$_} or bad("device %s is described and not there", $_) for keys %device;
for my $name (@block_names) {
    my $pages = $blocks{$name}{size} / $page_size;
    keys %{$blocks{$name}{records}} == $pages
        or bad("block '%s' has %d pages and %d came", $name, $pages, scalar keys %{$blocks{$name}{records}});
}
printf "machine %s, %d blocks, %d devices, %d parts, %d normal, %d zero\n", $machine, scalar @block_names,
    scalar keys %device, $count{part}, $count{normal}, $count{zero};
printf "block %s %d\n", $_, $blocks{$_}{size} for @block_names;
print "joined $_\n" for @joined;

# --- RAM to files ---------------------------------------------------------------------------------------------------

sub extract
{
    my ($directory) = @_;
    for my $name (@block_names) {
        my $path = "$directory/" . $name =~ s{/}{_}gr;
        open(my $out, ">:raw", $path) or die "$path: $!\n";
        truncate($out, $blocks{$name}{size}) or die "$path: $!\n";
        for my $index (sort { $a <=> $b } keys %{$blocks{$name}{records}}) {
            my $data = $blocks{$name}{records}{$index}[-1][2];
            next if $data < 0;
            go($data);
            seek($out, $index * $page_size, 0) or die "$path: $!\n";
            print $out take($page_size) or die "$path: $!\n";
        }
        close($out) or die "$path: $!\n";
    }
}

sub content
{
    my ($record) = @_;
    return "\0" x $page_size if $record->[2] < 0;
    go($record->[2]);
    return take($page_size);
}

# A record that names its block must stay, for those behind it that do not name theirs.
sub may_go
{
    my ($again, @records) = @_;
    return 0 if $again && (@records < 2 || content($records[-1]) eq content($records[-2]));
    go($records[-1][0]);
    return u64() & 0x20;
}

sub drop
{
    my ($what, $path) = @_;
    my ($name, $index) = $what =~ /^(.*):(\d+|again)$/ or die "'$what' is not BLOCK:PAGE\n";
    my $records = ($blocks{$name} or die "no block '$name'\n")->{records};
    my $again = $index eq "again";
    my @candidates = $again ? sort { $b <=> $a } keys %$records : ($index);
    my ($chosen) = grep { may_go($again, @{$records->{$_} // die "no page $_ in block '$name'\n"}) } @candidates;
    defined $chosen or die "no record of that kind can be dropped\n";
    my ($start, $end) = @{$records->{$chosen}[-1]};
    open(my $out, ">:raw", $path) or die "$path: $!\n";
    go(0);
    print $out take($start) or die "$path: $!\n";
    go($end);
    print $out take($size - $end) or die "$path: $!\n";
    close($out) or die "$path: $!\n";
    printf "dropped page %d of block %s, sent %d times\n", $chosen, $name, scalar @{$records->{$chosen}};
}

extract(@rest) if ($mode // "") eq "-x";
drop(@rest) if ($mode // "") eq "--drop";
