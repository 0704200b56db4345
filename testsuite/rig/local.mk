# SPDX-License-Identifier: GPL-3.0-or-later
# The rig, a NUMA host in a box: any suite runs in it with RUNTESTFLAGS="--target_board=rig".
EXTRA_DIST += testsuite/boards/rig.exp
EXTRA_DIST += testsuite/numon.rig/userspace.exp
EXTRA_DIST += testsuite/lib/linux.exp
EXTRA_DIST += testsuite/numon.rig/moments.exp
EXTRA_DIST += testsuite/numon.rig/plug.exp
EXTRA_DIST += testsuite/numon.rig/policy.exp
EXTRA_DIST += testsuite/rig/guest-init
EXTRA_DIST += testsuite/rig/init
EXTRA_DIST += testsuite/rig/rig.sh

check_PROGRAMS += testsuite/rig/guest-load testsuite/rig/steady testsuite/rig/tsc testsuite/rig/until
testsuite_rig_guest_load_SOURCES = testsuite/rig/guest-load.c
testsuite_rig_steady_SOURCES = testsuite/rig/steady.c
testsuite_rig_tsc_SOURCES = testsuite/rig/tsc.c
testsuite_rig_until_SOURCES = testsuite/rig/until.c

# Those that say nothing elsewhere; the suites of the main job, of nodes and of memory, which must pass there too
# (dirty.exp judges how fast an emulated CPU writes, and wants a machine that others leave alone); and what CI has five
# minutes for: some of both, what the host's KVM must do, and guests that move.  Nothing else is left out because the rig
# might not bear it: since its kernel is kept from patching itself, it bears guests of four CPUs that move on a host of
# two.
rig_suites = policy.exp userspace.exp plug.exp moments.exp usage.exp latency.exp cpu.exp hotplug.exp time.exp
rig_main = session.exp basic.exp ends.exp preconfig.exp precopy.exp engine.exp refused.exp look.exp map.exp stats.exp \
	vcpus.exp wait.exp
rig_numa = agree.exp back.exp built.exp check.exp cpus.exp hmat.exp info.exp limits.exp rules.exp save.exp show.exp \
	split.exp topology.exp undo.exp
rig_memory = again.exp backends.exp devices.exp dirty.exp host.exp huge.exp live.exp lost.exp migrate.exp \
	particulars.exp totals.exp walk.exp
rig_units = testsuite/unit/test-kvm testsuite/unit/test-kvm-dirty testsuite/unit/test-kvm-exits \
	testsuite/unit/test-kvm-move testsuite/unit/test-guest-kvm testsuite/unit/test-machine
rig_smoke = policy.exp unit.exp basic.exp host.exp usage.exp precopy.exp UNITS='$(rig_units)'

check-rig:
	$(MAKE) $(AM_MAKEFLAGS) check RUNTESTFLAGS="--target_board=rig $(rig_suites) $(rig_main) $(rig_numa) $(rig_memory)"
check-rig-smoke:
	$(MAKE) $(AM_MAKEFLAGS) check RUNTESTFLAGS="--target_board=rig RIG_SECONDS=300 $(rig_smoke)"
rig-shell: all $(check_PROGRAMS)
	@RIG_UNITS="$(unit_programs)" $(srcdir)/testsuite/rig/rig.sh shell
.PHONY: check-rig check-rig-smoke rig-shell

clean-local: clean-rig
clean-rig:
	rm -rf rig
.PHONY: clean-rig
