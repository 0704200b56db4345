#!/usr/bin/perl
# SPDX-License-Identifier: GPL-3.0-or-later
#
# usage: curves.pl NUMON BENCH-LIMITS IMAGE [JSON-FILE]
# How cost grows with work: a machine is defined, launched and migrated over a unix socket at full speed, with memory
# from 256 MiB to 16 GiB, 1 to 8 vCPUs, 2 to 128 nodes.  Prints a table with a curve for each; medians.  Environment:
# BENCH_RUNS (3) of each, BENCH_SERIES (all) a pattern that names series, BENCH_MEMORY_MIB (2 GiB less than what is
# free) that source and destination may fill together, BENCH_TEXINFO a file for the tables of the manual.
use strict;
use warnings;
use File::Basename;
use File::Temp qw(tempdir);
use JSON::PP;
use Time::HiRes qw(time sleep);
use lib dirname(__FILE__);
use Vmm;

use constant { BAR => 20, SPARE_MIB => 2048 };

my ($numon, $limits_program, $image, $json_file) = @ARGV;
die "usage: curves.pl NUMON BENCH-LIMITS IMAGE [JSON-FILE]\n" if !defined $image;
my $runs = $ENV{BENCH_RUNS} // 3;
my $only = $ENV{BENCH_SERIES} // ".";
my $folder = tempdir("bench-XXXXXX", TMPDIR => 1, CLEANUP => 1);
my $layout = decode_json(scalar `$limits_program layout`);
my $count = 0;

sub free_mib {
    open my $file, "<", "/proc/meminfo" or die "/proc/meminfo: $!";
    my ($kib) = join("", <$file>) =~ /^MemAvailable:\s+(\d+)/m;
    return $kib / 1024;
}

sub size_name {
    my ($mib) = @_;
    return $mib < 1024 ? "$mib MiB" : $mib / 1024 . " GiB";
}

my $memory = $ENV{BENCH_MEMORY_MIB} // free_mib() - SPARE_MIB;
# ram, fill in MiB; rate: pages/s of each vCPU while it moves, over 'span' MiB each.
my @series = (
    { name => "memory never touched", points => [map +{ name => size_name($_), ram => $_ },
                                                 256, 512, 1024, 2048, 4096, 8192, 16384] },
    { name => "memory full of random pages",
      points => [map +{ name => size_name($_), ram => $_ + 128, fill => $_ },
                 grep { 2 * $_ < $memory } 256, 512, 1024, 2048, 4096, 8192] },
    { name => "vCPUs, each writing 5000 pages/s", points => [map +{ name => $_, ram => 1024, cpus => $_, rate => 5000,
                                                                 span => 32 }, 1, 2, 4, 8] },
    { name => "nodes, 1 GiB in all, every distance given",
      points => [map +{ name => $_, ram => 1024, nodes => $_ }, 2, 4, 8, 16, 32, 64, 128] },
);

sub machine {
    my ($point, $name) = @_;
    return Vmm->start(kind => "numon", program => $numon, image => $image, folder => $folder, layout => $layout,
                      name => $name, ram => $point->{ram}, cpus => $point->{cpus} // 1, backend => "ram",
                      nodes => $point->{nodes} // 1);
}

sub milliseconds {
    my ($work) = @_;
    my $began = time;
    $work->();
    return (time - $began) * 1000;
}

sub prepare_guest {
    my ($vmm, $point) = @_;

    if ($point->{fill}) {
        $vmm->workload(pattern => "sequential", write => "page", fill => "random", rate => 0,
                       size => "$point->{fill}M");
        $vmm->await("a guest that has written its memory",
                    sub { $vmm->word("cpu", "pages_written") >= $point->{fill} * 256 });
        $vmm->workload(pattern => "idle");
    } elsif ($point->{rate}) {
        $vmm->workload(pattern => "random", write => "line", rate => $point->{rate}, size => "$point->{span}M");
        sleep 0.3;
    }
}

sub run_once {
    my ($point) = @_;
    my $uri = "unix:$folder/s" . ++$count;
    my ($source, $to, %result);

    $result{define_ms} = milliseconds(sub { $source = machine($point, "a") });
    $result{launch_ms} = milliseconds(sub { $source->launch });
    prepare_guest($source, $point);
    $source->set_migration(bandwidth => 0, downtime => 300);
    $to = machine($point, "b");
    $to->incoming($uri);
    system($limits_program, "warm", ($point->{fill} // 0) + 64);
    my @before = (time, Vmm::machine_seconds(), Vmm::own_seconds(), $source->cpu_seconds, $to->cpu_seconds);
    my $moved = $source->migrate($uri, 60);
    my @after = (time, Vmm::machine_seconds(), Vmm::own_seconds(), $source->cpu_seconds, $to->cpu_seconds);
    die "$point->{name}: $moved->{why}\n" if $moved->{status} ne "completed";
    my @spent = map { $after[$_] - $before[$_] } 0 .. $#after;
    my $others = ($spent[1] - $spent[2] - $spent[3] - $spent[4]) / $spent[0];
    %result = (%result, ms => $moved->{wall_ms}, downtime_ms => $moved->{downtime_ms}, out_s => $spent[3],
               in_s => $spent[4], others => $others > 0 ? $others : 0);
    $_->stop for $source, $to;
    return \%result;
}

sub median {
    my @sorted = sort { $a <=> $b } @_;
    return @sorted % 2 ? $sorted[$#sorted / 2] : ($sorted[@sorted / 2 - 1] + $sorted[@sorted / 2]) / 2;
}

my @columns = (["define ms", "define_ms", "%.0f"], ["launch ms", "launch_ms", "%.0f"], ["migrate ms", "ms", "%.0f"],
               ["stop ms", "downtime_ms", "%.1f"], ["CPU s out", "out_s", "%.2f"], ["in", "in_s", "%.2f"]);

# The whole table as text: the same on the screen and in the manual.
sub table {
    my ($name, $points) = @_;
    my ($most) = sort { $b <=> $a } map { $_->{result}{ms} } @$points;
    my $text = sprintf "%-10s", "";

    $text .= sprintf " %10s", $_->[0] for @columns;
    $text .= "  migrate ms\n";
    for my $point (@$points) {
        my $r = $point->{result};
        $text .= sprintf "%-10s", $point->{name};
        $text .= sprintf " %10s", sprintf $_->[2], $r->{$_->[1]} for @columns;
        my $bar = int($r->{ms} / $most * BAR + 0.5);
        $text .= "  " . "#" x ($bar || 1) . "\n";
    }
    return $text;
}

$| = 1;
my @out;
my $texinfo = "\@c Written by \`make bench-curves BENCH_TEXINFO=FILE'.\n";
for my $series (grep { $_->{name} =~ /$only/ } @series) {
    for my $point (@{$series->{points}}) {
        my @results = map { run_once($point) } 1 .. $runs;
        $point->{result} = { map { my $key = $_; $key => median(map { $_->{$key} } @results) } keys %{$results[0]} };
        $point->{each} = \@results;
    }
    my $text = table($series->{name}, $series->{points});
    my $others = median(map { $_->{result}{others} } @{$series->{points}});
    printf "%s (others had %.1f CPUs)\n%s\n", $series->{name}, $others, $text;
    $texinfo .= sprintf "\n\@noindent\n%s (others had %.1f CPUs):\n\n\@example\n%s\@end example\n", ucfirst $series->{name},
        $others, $text;
    push @out, { name => $series->{name}, points => $series->{points} };
}
for my $place ([$json_file, JSON::PP->new->pretty->canonical->encode(\@out)], [$ENV{BENCH_TEXINFO}, $texinfo]) {
    next if !$place->[0];
    open my $file, ">", $place->[0] or die "$place->[0]: $!";
    print $file $place->[1];
}
