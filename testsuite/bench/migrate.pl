#!/usr/bin/perl
# SPDX-License-Identifier: GPL-3.0-or-later
#
# usage: migrate.pl NUMON BENCH-LIMITS IMAGE [JSON-FILE]
# Migrates the same workload guest with numon and with QEMU in turn, and prints medians beside each other and beside
# what the machine can do at most.  Environment: BENCH_RUNS (3) runs of each, BENCH_CASES (all) a pattern that names
# cases, BENCH_QEMU a program (none: numon alone), BENCH_SECONDS (30) after which a migration counts as never done,
# BENCH_LIMIT_MIB (900) how much memory the machine's own limits are measured with.
#
# Just before each migration as much memory as the destination will take is taken and given back, for both alike:
# memory that was free for some time may come slowly.  A run during which others had more than BUSY of a CPU is
# marked; with runs enough that are not marked the median is of those.
#
# A guest that rests leaves the CPU alone under numon and spins under QEMU, which knows no way to tell; so in cases
# with a resting guest QEMU's is stopped, as if it took no time.
use strict;
use warnings;
use File::Basename;
use File::Temp qw(tempdir);
use JSON::PP;
use POSIX qw(sysconf);
use Time::HiRes qw(time sleep);
use lib dirname(__FILE__);
use Vmm;

use constant { BUSY => 0.25, QUIET_LEAST => 2, AREA => 2.05 };

my ($numon, $limits_program, $image, $json_file) = @ARGV;
die "usage: migrate.pl NUMON BENCH-LIMITS IMAGE [JSON-FILE]\n" if !defined $image;
my $runs = $ENV{BENCH_RUNS} // 3;
my $only = $ENV{BENCH_CASES} // ".";
my $seconds = $ENV{BENCH_SECONDS} // 30;
my $qemu = $ENV{BENCH_QEMU} // "qemu-system-x86_64";
my $folder = tempdir("bench-XXXXXX", TMPDIR => 1, CLEANUP => 1);
my $layout = decode_json(scalar `$limits_program layout`);
my $clock_tick = sysconf(&POSIX::_SC_CLK_TCK);
my $limit_mib = $ENV{BENCH_LIMIT_MIB} // 900;
my $has_qemu = $qemu ne "" && system("$qemu --version > /dev/null 2>&1") == 0;

sub rate_name {
    my ($rate) = @_;
    return $rate ? $rate / 1000 . "k" : "unlimited";
}

# ram in MiB; fill: MiB of it that hold something.  rate: what the guest writes while it moves, pages a second (0: as
# fast as it can, undef: nothing) over 'span' MiB.  kept: memory is shared and stays where it is, with numon by its
# descriptor (mode cpr-transfer), with QEMU in a file that both open (x-ignore-shared).  handed: the same of numon's, while
# QEMU, which wants a file for that, sends it.  copied: numon's destination copies it (local-copy).
my @cases = (
    { name => "untouched 4 GiB", ram => 4096 },
    { name => "zeroed 4 GiB", ram => 4096, prealloc => 1 },
    { name => "random unix", fill => 900 },
    { name => "random unix 30 ms", fill => 900, downtime => 30 },
    { name => "random tcp", fill => 900, transport => "tcp" },
    { name => "random file", fill => 900, transport => "file" },
    { name => "random memfd", fill => 900, backend => "memfd" },
    { name => "random memfd handed", fill => 900, backend => "memfd", handed => 1 },
    { name => "random memfd local-copy", fill => 900, backend => "memfd", copied => 1 },
    (map +{ name => "shared kept $_ GiB", ram => $_ * 1024, prealloc => 1, kept => 1 }, 1, 4, 16),
    { name => "text unix", fill => 900, kind => "text" },
    { name => "text compress", fill => 900, kind => "text", capabilities => ["compress"] },
    (map +{ name => "dirty " . rate_name($_), fill => 256, span => 256, rate => $_, ram => 1024 },
     5000, 20000, 50000, 0),
    { name => "dirty 20k 30 ms", fill => 256, span => 256, rate => 20000, ram => 1024, downtime => 30 },
    (map { my $mb = $_;
           map +{ name => "dirty " . rate_name($_) . " $mb MB/s", fill => 256, span => 256, rate => $_, ram => 1024,
                  line => $mb }, 5000, 20000, 50000, 0 } 125, 500),
    { name => "converge unlimited 500 MB/s", fill => 256, span => 256, rate => 0, ram => 1024, line => 500,
      capabilities => ["auto-converge"] },
    { name => "xbzrle 50k 125 MB/s", fill => 256, span => 256, rate => 50000, ram => 1024, line => 125,
      capabilities => ["xbzrle"], cache => 512 },
);

# --- one run --------------------------------------------------------------------------------------------------------

sub uri {
    my ($transport, $n) = @_;
    return $transport eq "tcp" ? "tcp:127.0.0.1:" . (20000 + ($$ * 7 + $n) % 20000) : "unix:$folder/s$n";
}

# Which pages hold something.
sub fill_guest {
    my ($vmm, $case) = @_;
    my $pages = $case->{fill} * 256;

    $vmm->workload(pattern => "sequential", write => "page", fill => $case->{kind} // "random", rate => 0,
                   size => "$case->{fill}M");
    $vmm->await("a guest that has written its memory", sub { $vmm->word("cpu", "pages_written") >= $pages });
    $vmm->workload(pattern => "idle");
}

sub machine {
    my ($case, $kind, $name, @more) = @_;
    my $ram = $case->{ram} // int($case->{fill} * AREA);

    return Vmm->start(kind => $kind, program => $kind eq "numon" ? $numon : $qemu, image => $image, folder => $folder,
                      layout => $layout, name => $name, ram => $ram, cpus => 1, backend => $case->{backend} // "ram",
                      capabilities => $case->{capabilities}, kept => $case->{kept} || ($case->{handed} && $kind eq "numon"),
                      @more);
}

# Starts what the guest shall do while it moves.
sub set_to_work {
    my ($vmm, $case) = @_;

    if (!defined $case->{rate}) {
        $vmm->do("stop") if $vmm->{kind} eq "qemu";
        return;
    }
    $vmm->workload(pattern => "random", write => "line", rate => $case->{rate}, size => "$case->{span}M");
    my $before = $vmm->word("cpu", "pages_written");
    my $began = time;
    sleep 0.3;
    $vmm->clear_gap;
    return ($vmm->word("cpu", "pages_written") - $before) / (time - $began);
}

sub destination {
    my ($case, $kind, $uri, $tsc_khz) = @_;
    return undef if ($case->{transport} // "") eq "file";
    my $vmm = machine($case, $kind, "b", tsc_khz => $tsc_khz, more => ["-incoming", "defer"]);

    $vmm->incoming($uri);
    return $vmm;
}

# The guest's account once it has arrived.
sub look_at_guest {
    my ($result, $vmm, $tsc_khz, $case) = @_;

    return if !defined $case->{rate} || !$vmm;
    $vmm->await("a guest that goes on", sub { ($vmm->word("cpu", "gap") // 0) > 0 }) if $vmm->{kind} eq "qemu";
    sleep 0.05;
    $result->{mismatches} = $vmm->word("cpu", "mismatches");
    $result->{gap_ms} //= $vmm->word("cpu", "gap") / $tsc_khz;
}

my $count = 0;

sub run_once {
    my ($case, $kind, $tsc_khz) = @_;
    my $transport = $case->{transport} // "unix";
    my $uri = uri($transport, ++$count);
    my $file = "$folder/stream";
    my $source = machine($case, $kind, "a", tsc_khz => $tsc_khz, prealloc => $case->{prealloc});

    $source->launch;
    fill_guest($source, $case) if $case->{fill};
    $source->set_migration(bandwidth => ($case->{line} // 0) * 1000000,
                           downtime => $case->{downtime} // 300, capabilities => $case->{capabilities});
    if ($case->{cache}) {
        my %cache = ("xbzrle-cache-size" => $case->{cache} * (1 << 20));
        $kind eq "numon" ? $source->do("migrate_set_parameter xbzrle-cache-size $case->{cache}M")
            : $source->do("migrate-set-parameters", %cache);
    }
    my $to = destination($case, $kind, $uri, $tsc_khz);
    my $pace = set_to_work($source, $case);
    $source->do("migrate_set_capability local-copy on") if $case->{copied} && $kind eq "numon";
    $uri = $kind eq "numon" ? "file:$file" : "exec:cat > $file" if !$to;
    unlink $file;
    my $taken = ($case->{fill} // 0) + ($case->{prealloc} && !$case->{kept} ? $case->{ram} : 0);
    system($limits_program, "warm", $taken + 64);
    my @both = grep { $_ } $source, $to;
    my @before = (time, Vmm::machine_seconds(), Vmm::own_seconds(), map { $_->cpu_seconds } @both);
    my $written = $source->word("cpu", "pages_written");
    my $asked = time;
    my $result = $source->migrate($uri, $seconds);
    my @after = (time, Vmm::machine_seconds(), Vmm::own_seconds(), map { $_->cpu_seconds } @both);
    if (defined $case->{rate} && $result->{status} eq "completed" && $to) {
        my $now = $to->word("cpu", "pages_written");
        $result->{pace} = ($now - $written) / (time - $asked) / $pace;
    }
    my @spent = map { $after[$_] - $before[$_] } 0 .. $#after;
    $result->{source_cpu_s} = $spent[3];
    $result->{destination_cpu_s} = $spent[4] // 0;
    my $others = $spent[1] - $spent[2] - $spent[3] - ($spent[4] // 0);
    $result->{others} = $others > 0 ? $others / $spent[0] : 0;
    # Less than three clock ticks are no measurement.
    $result->{busy} = $others > 3 / $clock_tick && $result->{others} > BUSY;
    look_at_guest($result, $to, $tsc_khz, $case) if $result->{status} eq "completed";
    $_->stop for grep { $_ } $source, $to;
    unlink $file;
    return $result;
}

# --- all runs -------------------------------------------------------------------------------------------------------

sub median {
    my @sorted = sort { $a <=> $b } grep { defined } @_;
    return undef if !@sorted;
    return @sorted % 2 ? $sorted[$#sorted / 2] : ($sorted[@sorted / 2 - 1] + $sorted[@sorted / 2]) / 2;
}

# Medians of the runs that nobody disturbed, or of all if those are too few.
sub sum_up {
    my @done = grep { $_->{status} eq "completed" } @_;
    my @quiet = grep { !$_->{busy} } @done;
    my @of = @quiet >= QUIET_LEAST ? @quiet : @done;
    my %sum = (runs => scalar @_, done => scalar @done, quiet => scalar @quiet);

    for my $key (qw(wall_ms total_ms downtime_ms gap_ms pace rounds sent_mib source_cpu_s destination_cpu_s others)) {
        $sum{$key} = median(map { $_->{$key} } @of);
    }
    return \%sum;
}

sub show {
    my ($value, $format) = @_;
    return defined $value ? sprintf $format // ($value < 10 ? "%.2f" : "%.0f"), $value : "-";
}

my @columns = (["ms", "wall_ms"], ["downtime", "downtime_ms"], ["gap", "gap_ms"], ["pace", "pace"],
               ["rounds", "rounds"], ["MiB", "sent_mib"], ["cpu out", "source_cpu_s"],
               ["cpu in", "destination_cpu_s"], ["others", "others"]);

sub print_row {
    my ($name, $kind, $sum) = @_;

    printf "%-28s %-5s", $name, $kind;
    if ($sum->{done}) {
        printf " %9s", show($sum->{$_->[1]}) for @columns;
        print " busy" if $sum->{quiet} < QUIET_LEAST;
        print " $sum->{done} of $sum->{runs}" if $sum->{done} < $sum->{runs};
    } else {
        print "  never: ", join "; ", sort keys %{{ map { ($_->{why} =~ s/\s+/ /gr) => 1 } @{$sum->{each}} }};
    }
    print "\n";
}

$| = 1;
my %out = (runs => $runs, cases => []);
$out{limits} = decode_json(scalar `$limits_program all $limit_mib`);
print "limits (MiB/s): ", join(", ", map { "$_ $out{limits}{$_}" } sort keys %{$out{limits}}), "\n";
printf "%-34s", "case";
printf " %9s", $_->[0] for @columns;
print "\n";
for my $case (grep { $_->{name} =~ /$only/ } @cases) {
    my %results = (numon => [], $has_qemu ? (qemu => []) : ());
    my %entry = (case => $case);

    for my $run (1 .. $runs) {
        for my $kind (sort keys %results) {
            my $result = eval { run_once($case, $kind, $out{limits}{tsc_khz}) };
            if (!$result) {
                print STDERR "$case->{name}, $kind: $@";
                Vmm->stop_all;
                $result = { status => "failed", why => "$@" };
            }
            push @{$results{$kind}}, $result;
        }
    }
    for my $kind (sort keys %results) {
        $entry{$kind} = { %{sum_up(@{$results{$kind}})}, each => $results{$kind} };
        print_row($case->{name}, $kind, $entry{$kind});
    }
    my ($ours, $theirs) = ($entry{numon}{wall_ms}, $entry{qemu}{wall_ms});
    printf "%-34s %9.2f times as fast\n", "", $theirs / $ours if $ours && $theirs;
    my $plain = $case->{fill} && !defined $case->{rate} && !$case->{capabilities} && !$case->{handed};
    if ($ours && $plain && ($case->{transport} // "") ne "file") {
        my $limit = ($case->{transport} // "unix") . (($case->{backend} // "") eq "memfd" ? "_into_fresh_memfd" : "");
        my $speed = $case->{fill} / $ours * 1000;
        printf "%-34s %9.0f MiB/s, %.2f of %s\n", "", $speed, $speed / $out{limits}{$limit}, $limit;
    }
    push @{$out{cases}}, \%entry;
    if ($json_file) {
        open my $file, ">", $json_file or die "$json_file: $!";
        print $file JSON::PP->new->pretty->canonical->encode(\%out);
    }
}
