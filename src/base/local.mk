# SPDX-License-Identifier: GPL-3.0-or-later
libnumon_a_SOURCES += include/base.h
