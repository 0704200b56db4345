# SPDX-License-Identifier: GPL-3.0-or-later
#
# One virtual machine with the workload guest, numon's or QEMU's, for benchmarks: the same verbs for both.
#
#   $v = Vmm->start(kind => "numon", program => ..., image => ..., folder => ..., layout => {...}, ram => MIB,
#                   name => "a", cpus => 1, prealloc => 0, backend => "ram", kept => 0)
#   $v->launch                          the guest runs (a source)
#   $v->incoming($uri)                  waits for a guest (a destination)
#   $v->workload(%parameters)           live: pattern write fill rate size
#   $v->words("head", 4096)             guest memory
#   $v->set_migration(%parameters)      bandwidth (bytes/s, 0: unlimited), downtime (ms), capabilities
#   $v->migrate($uri, $seconds)         { status, wall_ms, total_ms, downtime_ms, gap_ms, ... }
#   $v->cpu_seconds                     of the process and those it waited for
#   $v->stop
package Vmm;
use strict;
use warnings;
use Carp;
use IO::Select;
use IO::Socket::UNIX;
use IPC::Open3;
use JSON::PP;
use POSIX qw(sysconf);
use Time::HiRes qw(time sleep);

my %patterns = (idle => 0, sequential => 1, random => 2, hot => 3);
my %writes = (word => 0, line => 1, page => 2);
my %fills = (zero => 0, random => 1, text => 2);
my %all;                    # those that were not stopped
my $patience = 60;          # seconds for anything that takes no time

sub start {
    my ($class, %self) = @_;
    my $self = bless { %self }, $self{kind} eq "numon" ? "Vmm::Numon" : "Vmm::Qemu";

    $self->{prefix} = "$self->{folder}/$self->{name}-$self->{kind}";
    $all{$self} = $self;
    $self->spawn;
    return $self;
}

# Ends those that a failure has left.
sub stop_all {
    $_->stop for values %all;
}

# Runs a program with pipes; what it says on its error channel comes with the rest.
sub pipe_to {
    my ($self, @command) = @_;

    $self->{pid} = open3($self->{to}, $self->{from}, undef, @command);
    $self->{to}->autoflush(1);
    $self->{said} = "";
}

# What it says until the pattern matches; the match is taken away.
sub until_said {
    my ($self, $from, $pattern, $seconds) = @_;
    my $end = time + ($seconds // $patience);
    my $select = IO::Select->new($from);

    for (;;) {
        return ($1, $2, $3) if $self->{said} =~ s/\A(.*?)$pattern//s;
        croak "$self->{kind} $self->{name}: no $pattern in: $self->{said}" if time > $end;
        next if !$select->can_read(0.5);
        sysread($from, $self->{said}, 65536, length $self->{said})
            or croak "$self->{kind} $self->{name} has ended: $self->{said}";
    }
}

# CPU seconds that all of the machine spent so far, those that were stolen from it too.
sub machine_seconds {
    open my $file, "<", "/proc/stat" or return 0;
    my (undef, $user, $nice, $system, $idle, $wait, $irq, $soft, $steal) = split " ", <$file>;
    return ($user + $nice + $system + $irq + $soft + ($steal // 0)) / sysconf(&POSIX::_SC_CLK_TCK);
}

sub own_seconds {
    my ($user, $system, $child_user, $child_system) = times;
    return $user + $system;
}

# Of the process and those it waited for.
sub cpu_seconds {
    my ($self) = @_;

    open my $file, "<", "/proc/$self->{pid}/stat" or return 0;
    my @fields = split " ", (<$file> =~ s/.*\) //r);
    return ($fields[11] + $fields[12] + $fields[13] + $fields[14]) / sysconf(&POSIX::_SC_CLK_TCK);
}

# Words of guest memory; undef if there is no guest yet.
sub words {
    my ($self, $place) = @_;
    my $file = "$self->{prefix}.page";

    unlink $file;
    $self->save_memory($self->{layout}{$place}, $self->{layout}{bytes}, $file) or return undef;
    open my $in, "<:raw", $file or return undef;
    local $/;
    return <$in>;
}

sub word {
    my ($self, $place, $name) = @_;
    my $page = $self->words($place) // return undef;
    return unpack "Q<", substr $page, $self->{layout}{$name}, 8;
}

sub await {
    my ($self, $what, $test) = @_;
    my $end = time + $patience;

    until ($test->()) {
        croak "$self->{kind} $self->{name}: $what does not come" if time > $end;
        sleep 0.02;
    }
}

sub await_guest {
    my ($self) = @_;
    $self->await("the guest", sub { ($self->word("head", "stage") // 0) == $self->{layout}{running} });
}

sub stop {
    my ($self) = @_;

    delete $all{$self};
    return if !$self->{pid};
    kill KILL => $self->{pid};
    waitpid $self->{pid}, 0;
}

# --- numon ----------------------------------------------------------------------------------------------------------

package Vmm::Numon;
use strict;
use warnings;
our @ISA = ("Vmm");
use JSON::PP;
use Time::HiRes qw(time sleep);

sub spawn {
    my ($self) = @_;

    $self->pipe_to($self->{program}, "--plain");
    $self->prompt;
    $self->do("accel kvm");
    $self->do("memory $self->{ram}M");
    $self->do("smp $self->{cpus}");
    my $prealloc = $self->{prealloc} ? ",prealloc=on,prealloc-threads=2" : "";
    my $backend = $self->{kept} ? "memfd" : $self->{backend};
    my $nodes = $self->{nodes} // 1;
    my $size = $self->{ram} / $nodes;
    $self->do("object_add memory-backend-$backend,id=m$_,size=${size}M$prealloc") for 0 .. $nodes - 1;
    $self->do("numa node,nodeid=$_,memdev=m$_" . ($_ ? "" : ",cpus=0-" . ($self->{cpus} - 1))) for 0 .. $nodes - 1;
    for my $from ($nodes > 1 ? 0 .. $nodes - 1 : ()) {
        $self->do("numa dist,src=$from,dst=$_,val=" . ($_ == $from ? 10 : 20 + ($from + $_) % 50)) for 0 .. $nodes - 1;
    }
    $self->do("kernel $self->{image}");
    $self->do("workload interval=3600000");
}

# Its answer and result word.
sub prompt {
    my ($self, $seconds) = @_;
    my ($text, $state, $word) = $self->until_said($self->{from}, qr/\(numon:([a-z-]+):\d+:(\w+)\) /, $seconds);
    return ($text, $word);
}

sub ask {
    my ($self, $command, $seconds) = @_;
    print { $self->{to} } "$command\n";
    return $self->prompt($seconds);
}

sub do {
    my ($self, $command, $seconds) = @_;
    my ($text, $word) = $self->ask($command, $seconds);
    Carp::croak "numon $self->{name}: $command: $text" if $word ne "ok";
    return $text;
}

sub launch {
    my ($self) = @_;
    $self->do("launch");
    $self->await_guest;
}

sub incoming {
    my ($self, $uri) = @_;
    $self->do("migrate_set_capability $_ on") for $self->{capabilities} ? @{$self->{capabilities}} : ();
    $self->do("migrate_incoming $uri");
}

sub workload {
    my ($self, %p) = @_;
    $p{rate} = "unlimited" if exists $p{rate} && !$p{rate};
    $self->do("workload " . join " ", map { "$_=$p{$_}" } sort keys %p);
}

sub save_memory {
    my ($self, $at, $bytes, $file) = @_;
    my ($text, $word) = $self->ask("pmemsave $at $bytes $file");
    return $word eq "ok";
}

# The engine makes it zero when it begins.
sub clear_gap { }

sub set_migration {
    my ($self, %p) = @_;

    $self->do("migrate_set_capability $_ on") for @{$p{capabilities} // []};
    $self->do("migrate_set_parameter max-bandwidth " . ($p{bandwidth} ? "$p{bandwidth}b" : 0));
    $self->do("migrate_set_parameter downtime-limit $p{downtime}");
    $self->do("migrate_set_parameter mode cpr-transfer") if $self->{kept};
}

sub migrate {
    my ($self, $uri, $seconds) = @_;
    my $began = time;

    $self->do("migrate -d $uri");
    my ($text, $word) = $self->ask("wait migration $seconds", $seconds + 10);
    my $wall = (time - $began) * 1000;
    if ($word ne "ok") {
        $self->ask("migrate_cancel");
        $self->ask("wait migration cancelled");
        return { status => "not done", why => $text };
    }
    my $info = $self->do("info migrate");
    my ($total) = $info =~ /^total time: (\d+) ms/m;
    my ($ram) = $info =~ /^transferred ram: (\d+) kbytes/m;
    my ($rounds) = $info =~ /^dirty sync count: (\d+)/m;
    my $report = "$self->{prefix}.html";
    $self->do("migrate_report $report");
    open my $in, "<", $report or die "$report: $!";
    my ($json) = join("", <$in>) =~ m{id="data">(.*?)</script>}s;
    my $downtime = decode_json($json)->{downtime};
    return { status => "completed", wall_ms => $wall, total_ms => $total, rounds => $rounds, sent_mib => $ram / 1024,
             downtime_ms => $downtime->{"downtime-us"} / 1000,
             gap_ms => defined $downtime->{"guest-gap-us"} ? $downtime->{"guest-gap-us"} / 1000 : undef };
}

# --- QEMU -----------------------------------------------------------------------------------------------------------

package Vmm::Qemu;
use strict;
use warnings;
our @ISA = ("Vmm");
use IO::Socket::UNIX;
use JSON::PP;
use Time::HiRes qw(time sleep);

sub arguments {
    my ($self) = @_;
    my $size = "$self->{ram}M";
    my $backend = $self->{kept} ? "file" : $self->{backend};
    my $options = ($self->{prealloc} ? ",prealloc=on,prealloc-threads=2" : "")
        . ($backend ne "ram" ? ",share=on" : "") . ($self->{kept} ? ",mem-path=" . $self->kept_file : "");

    return ("-machine", "pc,memory-backend=m0", "-accel", "kvm", "-cpu", "qemu64,-cx16", "-m", $size,
            "-smp", $self->{cpus}, "-object", "memory-backend-$backend,id=m0,size=$size$options",
            "-nodefaults", "-display", "none", "-no-reboot", "-serial", "null",
            "-qmp", "unix:$self->{prefix}.qmp,server=on,wait=off",
            "-gdb", "unix:$self->{prefix}.gdb,server=on,wait=off",
            "-kernel", $self->{image}, "-append", "pattern=idle interval=3600000 tsc_khz=$self->{tsc_khz}");
}

# The memory of both, gone with the first of them: by then both have opened it.  The name is that of the folder.
sub kept_file {
    my ($self) = @_;
    return "/dev/shm/numon-" . ($self->{folder} =~ s{.*/}{}r);
}

sub stop {
    my ($self) = @_;
    $self->SUPER::stop;
    unlink $self->kept_file if $self->{kept};
}

sub spawn {
    my ($self) = @_;
    my $end = time + 20;
    my $error = "$self->{prefix}.err";

    unlink "$self->{prefix}.qmp", "$self->{prefix}.gdb";
    $self->{pid} = fork // die "fork: $!";
    if (!$self->{pid}) {
        open STDIN, "<", "/dev/null";
        open STDOUT, ">", $error;
        open STDERR, ">&", \*STDOUT;
        exec $self->{program}, $self->arguments, @{$self->{more} // []};
        exit 1;
    }
    $self->{said} = "";
    $self->{events} = [];
    until ($self->{qmp} = IO::Socket::UNIX->new(Peer => "$self->{prefix}.qmp")) {
        die "QEMU does not start: " . `cat $error` if time > $end || waitpid($self->{pid}, 1) > 0;
        sleep 0.01;
    }
    $self->reply(qr/"QMP"/);
    $self->do("qmp_capabilities");
}

# The first line that matches; events are kept.  They do not make the wait longer: a migration tells each pass.
sub reply {
    my ($self, $pattern, $seconds) = @_;
    my $end = time + ($seconds // $patience);

    for (;;) {
        my ($line) = $self->until_said($self->{qmp}, qr/\r?\n/, $end - time);
        return $line if $line =~ $pattern;
        push @{$self->{events}}, $line if $line =~ /"event"/;
    }
}

sub do {
    my ($self, $command, %arguments) = @_;
    my $request = { execute => $command, %arguments ? (arguments => \%arguments) : () };

    syswrite $self->{qmp}, encode_json($request) . "\n";
    my $answer = decode_json($self->reply(qr/"(?:return|error)"/));
    Carp::croak "QEMU $self->{name}: $command: $answer->{error}{desc}" if $answer->{error};
    return $answer->{return};
}

sub launch {
    my ($self) = @_;
    $self->await_guest;
}

sub incoming {
    my ($self, $uri) = @_;

    $self->set_capabilities(@{$self->{capabilities} // []});
    $self->do("migrate-incoming", uri => $uri);
}

sub set_capabilities {
    my ($self, @names) = @_;
    push @names, "x-ignore-shared" if $self->{kept};
    $self->do("migrate-set-capabilities",
              capabilities => [map +{ capability => $_, state => JSON::PP::true }, "events", @names]);
}

# QEMU has no command that writes guest memory: the debugger's stub has.  It stops the guest for a moment.
sub poke {
    my ($self, %writes) = @_;
    my $gdb = IO::Socket::UNIX->new(Peer => "$self->{prefix}.gdb") or die "QEMU's gdb stub: $!";
    my $packet = sub {
        my ($text, $answered) = @_;
        my $sum = 0;
        $sum += ord for split //, $text;
        syswrite $gdb, sprintf "\$%s#%02x", $text, $sum % 256;
        my $got = "";
        # It may say first that the guest has stopped.
        while ($answered && $got !~ /\$OK#../) {
            die "QEMU's gdb stub: $text: $got" if $got =~ /\$(E|#)/;
            sysread $gdb, $got, 4096, length $got or die "QEMU's gdb stub has ended";
        }
        syswrite $gdb, "+" if $answered;
    };

    syswrite $gdb, "+";
    $packet->("Qqemu.PhyMemMode:1", 1);
    $packet->(sprintf("M%x,%x:%s", $_, length $writes{$_}, unpack "H*", $writes{$_}), 1)
        for sort { $a <=> $b } keys %writes;
    $packet->("D", 1);
    close $gdb;
    $self->await("a guest that runs", sub { $self->do("query-status")->{running} });
}

sub workload {
    my ($self, %p) = @_;
    my $l = $self->{layout};
    my $size = $p{size} // 4096;
    my %units = (K => 1 << 10, M => 1 << 20, G => 1 << 30);

    $size = $1 * $units{$2} if $size =~ /^(\d+)([KMG])$/;
    my $parameters = pack "L<4Q<3", $patterns{$p{pattern} // "idle"}, $writes{$p{write} // "word"},
        $fills{$p{fill} // "random"}, 0xffffffff, $p{rate} // 0, $size, 3600000;
    $self->poke($l->{head} + $l->{parameters} => $parameters,
                $l->{head} + $l->{sequence} => pack("Q<", $self->word("head", "sequence") + 2));
}

sub clear_gap {
    my ($self) = @_;
    $self->poke($self->{layout}{cpu} + $self->{layout}{gap} => pack "Q<", 0);
}

sub save_memory {
    my ($self, $at, $bytes, $file) = @_;
    return defined $self->do("pmemsave", val => $at, size => $bytes, filename => $file);
}

sub set_migration {
    my ($self, %p) = @_;

    $self->set_capabilities(@{$p{capabilities} // []});
    $self->do("migrate-set-parameters", "max-bandwidth" => ($p{bandwidth} || 1 << 40) + 0,
              "downtime-limit" => $p{downtime} + 0);
}

sub migrate {
    my ($self, $uri, $seconds) = @_;
    my $began = time;
    my $end = $began + $seconds;
    my $status = qr/"event": "MIGRATION", "data": \{"status": "(?:completed|failed|cancelled)"/;

    $self->{events} = [];
    $self->do("migrate", uri => $uri);
    my ($line) = grep { $_ =~ $status } @{$self->{events}};
    $line //= eval { $self->reply($status, $end - time) } // "";
    my $wall = (time - $began) * 1000;
    if ($line !~ /completed/) {
        $self->do("migrate_cancel");
        $self->await("the end", sub { $self->do("query-migrate")->{status} =~ /cancelled|failed/ });
        return { status => "not done", why => $line };
    }
    my $info = $self->do("query-migrate");
    return { status => "completed", wall_ms => $wall, total_ms => $info->{"total-time"},
             rounds => $info->{ram}{"dirty-sync-count"}, sent_mib => $info->{ram}{transferred} / (1 << 20),
             downtime_ms => $info->{downtime} };
}

1;
