# SPDX-License-Identifier: GPL-3.0-or-later
libnumon_a_SOURCES += include/migrate.h src/migrate/migrate-private.h src/migrate/record-private.h \
	src/migrate/pure-private.h src/migrate/tell.c \
	src/migrate/record.c src/migrate/pieces.c \
	src/migrate/parameters.c src/migrate/wire.c src/migrate/scan.c src/migrate/pace.c \
	src/migrate/converge.c src/migrate/settle.c src/migrate/xbzrle.c src/migrate/page-cache.c src/migrate/compress.c src/migrate/deflate.c \
	src/migrate/ram-out.c \
	src/migrate/address.c src/migrate/channel.c src/migrate/child.c src/migrate/file.c src/migrate/listener.c \
	src/migrate/checksum.c src/migrate/output.c src/migrate/input.c src/migrate/session.c src/migrate/info.c \
	src/migrate/return.c src/migrate/outcome.c src/migrate/out.c src/migrate/throttle.c \
	src/migrate/switchover.c \
	src/migrate/in.c src/migrate/ram-in.c src/migrate/ahead.c src/migrate/join.c src/migrate/handover.c src/migrate/local.c src/migrate/handover-private.h \
	src/migrate/explain.h src/migrate/explain.c src/migrate/explain-head.c \
	src/migrate/explain-ram.c src/migrate/explain-fields.c \
	src/migrate/page-history.c src/migrate/explain-text.c src/migrate/predict.c \
	src/migrate/predict-fit.c src/migrate/rehearse.c src/migrate/hold.c

unit_programs += testsuite/unit/test-wire testsuite/unit/test-scan testsuite/unit/test-pace \
	testsuite/unit/test-converge testsuite/unit/test-settle \
	testsuite/unit/test-migrate testsuite/unit/test-handoff testsuite/unit/test-engine testsuite/unit/test-ahead \
	testsuite/unit/test-xbzrle testsuite/unit/test-compress testsuite/unit/test-coding \
	testsuite/unit/test-ram-out testsuite/unit/test-record
unit_programs += testsuite/unit/test-predict
testsuite_unit_test_predict_SOURCES = testsuite/unit/test-predict.c
testsuite_unit_test_wire_SOURCES = testsuite/unit/test-wire.c
testsuite_unit_test_scan_SOURCES = testsuite/unit/test-scan.c
testsuite_unit_test_converge_SOURCES = testsuite/unit/test-converge.c
testsuite_unit_test_settle_SOURCES = testsuite/unit/test-settle.c
testsuite_unit_test_pace_SOURCES = testsuite/unit/test-pace.c
testsuite_unit_test_migrate_SOURCES = testsuite/unit/test-migrate.c testsuite/unit/migrate-fake.c \
	testsuite/unit/migrate-fake.h
testsuite_unit_test_engine_SOURCES = testsuite/unit/test-engine.c testsuite/unit/migrate-fake.c \
	testsuite/unit/migrate-fake.h
testsuite_unit_test_ahead_SOURCES = testsuite/unit/test-ahead.c testsuite/unit/migrate-fake.c \
	testsuite/unit/migrate-fake.h
testsuite_unit_test_xbzrle_SOURCES = testsuite/unit/test-xbzrle.c
testsuite_unit_test_ram_out_SOURCES = testsuite/unit/test-ram-out.c
testsuite_unit_test_record_SOURCES = testsuite/unit/test-record.c testsuite/unit/migrate-fake.c \
	testsuite/unit/migrate-fake.h
testsuite_unit_test_compress_SOURCES = testsuite/unit/test-compress.c
testsuite_unit_test_coding_SOURCES = testsuite/unit/test-coding.c testsuite/unit/migrate-fake.c \
	testsuite/unit/migrate-fake.h
testsuite_unit_test_handoff_SOURCES = testsuite/unit/test-handoff.c testsuite/unit/migrate-fake.c \
	testsuite/unit/migrate-link.c testsuite/unit/migrate-fake.h
EXTRA_DIST += testsuite/lib/read-stream.pl
unit_programs += testsuite/unit/test-silence
testsuite_unit_test_silence_SOURCES = testsuite/unit/test-silence.c testsuite/unit/migrate-fake.c \
	testsuite/unit/migrate-fake.h
libnumon_a_SOURCES += src/migrate/load.c
unit_programs += testsuite/unit/test-join
testsuite_unit_test_join_SOURCES = testsuite/unit/test-join.c testsuite/unit/migrate-fake.c \
	testsuite/unit/migrate-fake.h
unit_programs += testsuite/unit/test-handover
testsuite_unit_test_handover_SOURCES = testsuite/unit/test-handover.c testsuite/unit/migrate-fake.c \
	testsuite/unit/migrate-link.c testsuite/unit/migrate-fake.h
