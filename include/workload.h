/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The workload as numon sees it from outside: its parameters, its progress, and the proof that nothing was lost.
 * Works on guest memory through the map; control-page.h says what lies where. */
#ifndef WORKLOAD_H
#define WORKLOAD_H

#include "base.h"
#include "control-page.h"
#include "memory.h"
#include "property.h"

/* Indices of `workload KEY=VALUE...` (and of the builtin kernel's command line). */
enum {
    WORKLOAD_P_PATTERN, WORKLOAD_P_RATE, WORKLOAD_P_SIZE, WORKLOAD_P_WRITE, WORKLOAD_P_FILL, WORKLOAD_P_NODE,
    WORKLOAD_P_INTERVAL
};
extern const struct property workload_properties[];

void workload_parameters_init(struct control_parameters *p);       /* the defaults of the table */
/* Changes what 'v' sets and leaves the rest. 'rate' and 'node' also take the words "unlimited" and "own". */
bool workload_parameters_read(struct control_parameters *p, const struct values *v, GError **error);
/* "pattern=random rate=20000 ...": all, or only what differs from the defaults.  Caller frees. */
char *workload_parameters_format(const struct control_parameters *p, bool only_changed);

/* True if guest memory holds a workload guest (magic and version). */
bool workload_present(const struct guest_map *map);
/* The area of a CPU in a node as the control pages have it; false if there is none or if it is not RAM (guest memory
 * may hold anything).  The table and the pages are then each contiguous in the host. */
bool workload_area(const struct guest_map *map, unsigned cpu, unsigned node, struct control_area *ret);
/* Replaces the parameters in guest memory and marks the page dirty; any run state. 'hub' may be NULL. */
bool workload_apply(const struct guest_map *map, struct hub *hub, const struct control_parameters *p, GError **error);
/* Reads what guest memory says; consistent, also while the guest runs. */
bool workload_parameters_current(const struct guest_map *map, struct control_parameters *ret, GError **error);

struct workload_cpu { uint64_t pages_written, writing, node, target_node, mismatches; bool online; };
struct workload_status {
    enum control_stage stage;
    uint64_t ticks, cpu_count, node_count, panic;   /* cpu_count: slots, also those without a CPU */
    struct workload_cpu cpus[CONTROL_CPUS];         /* by slot */
};
bool workload_status(const struct guest_map *map, struct workload_status *ret, GError **error);

/* Has a vCPU measure how near the memory of each node is, reading at most 'bytes' of it for 'budget_us' each; marks
 * its control page.  Whoever asks holds machine_writes_begin.  Error: STATE, the guest does not measure. */
bool workload_probe_ask(const struct guest_map *map, struct hub *hub, unsigned cpu, uint64_t bytes,
                        uint64_t budget_us, uint64_t *ret_request, GError **error);
/* What became of it; 'ret' is filled with an answer only.  ASKED_NO_MORE: the guest began anew, or was asked
 * again. */
enum workload_answer { WORKLOAD_NO_ANSWER_YET, WORKLOAD_ANSWERED, WORKLOAD_ASKED_NO_MORE };
enum workload_answer workload_probe_read(const struct guest_map *map, unsigned cpu, uint64_t request,
                                         struct control_nearness ret[CONTROL_NODES]);
/* What is read of a node then; false if it has no memory, or what the guest says of it is not RAM. */
bool workload_probe_range(const struct guest_map *map, unsigned node, uint64_t bytes, uint64_t *ret_gpa,
                          uint64_t *ret_bytes);

/* The gap that the guest sees: makes the longest so far of each CPU 0, and gives their pages, which stay where they
 * are while their RAM does.  The guest must be stopped.  Returns their count; 0: there is no workload guest. */
unsigned workload_gap_begin(const struct guest_map *map, struct hub *hub, struct control_cpu *ret[CONTROL_CPUS]);
/* The longest gap that any of these CPUs saw since; false if none has made a turn.  Any thread. */
bool workload_gap(struct control_cpu *const *cpus, unsigned count, uint64_t khz, uint64_t *ret_us);

/* What the verifier found.  'text' of the first fault: which page and what was found. */
struct workload_verdict {
    uint64_t pages;                 /* verified */
    uint64_t lost;                  /* pages that are not what was written last */
    uint64_t in_flight;             /* announced pages: in the middle of a write, at most one a vCPU */
    char *text;                     /* first fault; NULL if none; owned */
};
void workload_verdict_release(struct workload_verdict *v);
/* Checks every page of every area against its table, page numbers, checksums, and each vCPU's total against
 * 'totals' (the witness registers, one a slot, 0 where no CPU is).  The guest must be stopped.  Looks at
 * job_cancelled(job) if 'job' is not NULL.  Any thread.  Error: STATE if there is no workload guest. */
bool workload_verify(const struct guest_map *map, const uint64_t *totals, unsigned cpu_slots, struct job *job,
                     struct workload_verdict *ret, GError **error);

/* What the synthetic accelerator puts where the image would be: head, nodes, cpus as the guest itself would lay
 * them out from SRAT.  'cpu_node' by slot, -1 without NUMA. */
bool workload_lay_out(const struct guest_map *map, const int *cpu_node, unsigned cpu_slots, unsigned node_count,
                      GError **error);

#endif
