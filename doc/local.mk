# SPDX-License-Identifier: GPL-3.0-or-later
dist_man_MANS += doc/numon.1
EXTRA_DIST += doc/demo.sh doc/demo.numon doc/numon.texi doc/curves.texi doc/benchmarks.md

# The manual is read as info; its command reference is what the program's own tables say.
if HAVE_MAKEINFO
manualdir = $(infodir)
manual_DATA = doc/numon.info
endif
doc/numon.info: doc/numon.texi doc/curves.texi doc/commands.texi
	$(AM_V_GEN)$(MAKEINFO_PROGRAM) --no-split -I doc -I "$(srcdir)/doc" -o $@ "$(srcdir)/doc/numon.texi"
doc/commands.texi: numon$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) doc && ./numon$(EXEEXT) --dump-commands=texinfo > $@.tmp && mv $@.tmp $@
CLEANFILES += doc/commands.texi doc/commands.texi.tmp doc/numon.info
