# SPDX-License-Identifier: GPL-3.0-or-later
numon_SOURCES += monitor/monitor-private.h monitor/general.h
numon_SOURCES += monitor/main.c monitor/options.c monitor/monitor.c
numon_SOURCES += monitor/input.c monitor/terminal.c monitor/stream.c
numon_SOURCES += monitor/command.c monitor/call.c monitor/complete.c monitor/help.c monitor/dump.c
numon_SOURCES += monitor/general-commands.c monitor/script.c monitor/watch.c monitor/info.c monitor/history.c
numon_SOURCES += monitor/machine-commands.c monitor/numa-commands.c monitor/run-commands.c monitor/guest-commands.c
numon_SOURCES += monitor/migration-commands.c monitor/info-migrate.c monitor/peer.c monitor/peer-commands.c
numon_SOURCES += monitor/memory-commands.c monitor/build.c monitor/edit.c monitor/outfile.c monitor/pmemsave.c
numon_SOURCES += monitor/undo.c monitor/show.c monitor/info-topology.c monitor/topology-svg.c monitor/device-commands.c
numon_SOURCES += monitor/info-config.c monitor/info-run.c monitor/info-kvm.c monitor/info-workload.c monitor/info-memory.c monitor/walk.c
numon_SOURCES += monitor/explain.c

unit_programs += testsuite/unit/test-outfile
testsuite_unit_test_outfile_SOURCES = testsuite/unit/test-outfile.c monitor/outfile.c
