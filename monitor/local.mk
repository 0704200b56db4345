# SPDX-License-Identifier: GPL-3.0-or-later
numon_SOURCES += monitor/monitor-private.h
numon_SOURCES += monitor/main.c
