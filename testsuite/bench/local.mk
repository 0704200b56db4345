# SPDX-License-Identifier: GPL-3.0-or-later
EXTRA_DIST += testsuite/bench/numa.sh

# The 128-node configuration, beside QEMU's where that is installed.
bench-numa: numon$(EXEEXT)
	$(srcdir)/testsuite/bench/numa.sh ./numon$(EXEEXT)
.PHONY: bench-numa
