# SPDX-License-Identifier: GPL-3.0-or-later
EXTRA_DIST += testsuite/numon.kvm/map.exp
EXTRA_DIST += testsuite/numon.kvm/look.exp
EXTRA_DIST += testsuite/numon.kvm/stats.exp
EXTRA_DIST += testsuite/numon.kvm/vcpus.exp
