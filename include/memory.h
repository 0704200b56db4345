/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Guest memory: host backends, RAM blocks, the guest physical map, the dirty hub. */
#ifndef MEMORY_H
#define MEMORY_H

#include "base.h"
#include "property.h"
#include "topology.h"

/* --- backends: what a block's host memory is made of ------------------------------------------------------------ */

enum { BLOCKS_MAX = 1024 };                          /* of one map */
enum backend_kind { BACKEND_RAM, BACKEND_FILE, BACKEND_MEMFD, BACKEND_SHM, BACKEND_KINDS };
/* The block that is all RAM where no node has a backend: an id that no backend may have. */
#define RAM_BLOCK "numon.ram"
extern const char *const backend_kind_names[];      /* "memory-backend-ram", ...; NULL-terminated */

#define BACKEND_CANONICAL_PREFIX "/objects/"

/* As the user entered it; a plain value. */
struct backend_options {
    enum backend_kind kind;
    char id[ID_SIZE];
    uint64_t size;                  /* bytes, a multiple of the page size */
    bool share, prealloc, merge, dump, reserve;
    bool canonical_name;            /* the block's name is BACKEND_CANONICAL_PREFIX and the id */
    unsigned prealloc_threads;      /* at least 1 */
    enum host_policy policy;
    uint64_t host_nodes[WORDS_FOR(HOST_NODES)];

    /* BACKEND_FILE */
    const char *mem_path;           /* file or folder, interned: never freed, so that the value stays plain */
    uint64_t align, offset;         /* bytes; align 0: the page size */
    bool discard_data, readonly;

    /* BACKEND_MEMFD */
    bool hugetlb, seal;
    uint64_t hugetlbsize;           /* bytes; 0: the host's default */
};

/* The first rows are the same in each kind's table; defaults differ (share: off for ram and file).  file and memfd
 * have their own from BACKEND_P_OWN on. */
enum {
    BACKEND_P_ID, BACKEND_P_SIZE, BACKEND_P_SHARE, BACKEND_P_PREALLOC, BACKEND_P_MERGE, BACKEND_P_DUMP,
    BACKEND_P_RESERVE, BACKEND_P_PREALLOC_THREADS, BACKEND_P_PREALLOC_CONTEXT, BACKEND_P_HOST_NODES, BACKEND_P_POLICY,
    BACKEND_P_CANONICAL, BACKEND_P_OWN,
    BACKEND_P_MEM_PATH = BACKEND_P_OWN, BACKEND_P_ALIGN, BACKEND_P_OFFSET, BACKEND_P_DISCARD_DATA, BACKEND_P_PMEM,
    BACKEND_P_READONLY, BACKEND_P_ROM,
    BACKEND_P_HUGETLB = BACKEND_P_OWN, BACKEND_P_HUGETLBSIZE, BACKEND_P_SEAL,
};
extern const struct property backend_ram_properties[], backend_file_properties[], backend_memfd_properties[],
    backend_shm_properties[];
const struct property *backend_properties(enum backend_kind kind);
/* Fills '*ret' from parsed values; checks all rules, and that the host has the nodes, page sizes and folders named.
 * False leaves it unchanged.  Error: ARGUMENT. */
bool backend_options_read(enum backend_kind kind, const struct values *v, struct backend_options *ret,
                          GError **error);
void backend_options_init_default(struct backend_options *o, const char *id, uint64_t size);    /* ram */
bool backend_options_equal(const struct backend_options *a, const struct backend_options *b);
/* The value in a row of its kind's table, as a user would type it.  Caller frees. */
char *backend_options_text(const struct backend_options *o, unsigned row);
/* Appends "KIND,id=ID,..." with what is not the kind's default. */
void backend_options_save(const struct backend_options *o, GString *out);
/* What 'merge', 'dump' and 'prealloc' become by name; false (ARGUMENT, STATE) with '*o' unchanged if the text is
 * wrong, the property is another one, or the change not possible (prealloc to off). */
bool backend_options_change(struct backend_options *o, const char *name, const char *text, GError **error);
/* The size of its pages in bytes as far as it is known before it is mapped.  Error: ARGUMENT, the host has none. */
bool backend_page_size(const struct backend_options *o, uint64_t *ret, GError **error);

/* --- blocks ----------------------------------------------------------------------------------------------------- */

/* How far a preallocation has come; the one who waits reads and may cancel. */
struct block_progress {
    _Atomic uint64_t done, total;   /* bytes; the total grows with each block that begins */
    struct job *job;                /* that does it and may be cancelled, or NULL; fixed before it begins */
};

/* Host memory of one backend, mapped.  Fixed from block_new to block_free, but for what block_change changes and for
 * 'used'. */
typedef struct block {
    char name[ID_SIZE];             /* unique in its map: the backend's id, or RAM_BLOCK */
    uint8_t *host;                  /* first byte of the mapping, aligned to 'page_size', MADV_DONTFORK */
    uint64_t size;                  /* bytes, a multiple of 'page_size'; the most that 'used' may be */
    uint64_t page_count;            /* guest pages: size / PAGE_SIZE */
    _Atomic uint64_t used;          /* bytes from the first on that hold something: all, unless it is 'resizable' */
    bool resizable;                 /* its used length changes (virtio-mem); set before the map has it */
    uint64_t page_size;             /* bytes the host maps at once: PAGE_SIZE, or a huge page's */
    int fd;                         /* memfd, shared memory object or file behind the mapping, CLOEXEC; -1 if none */
    bool device;                    /* of a memory device: not RAM that the guest starts with; set before the map has it */
    bool persistent;                /* a memory device whose content outlives a reset; set with 'device' */
    bool had_content;               /* a file that was not empty: it does not begin as zeros */
    bool made_file;                 /* there was no file at 'options.mem_path' */
    bool unnamed;                   /* made without a name in that folder: nobody else has it */
    _Atomic bool handed;            /* its memory is another process's (handover.c): not all that is there is mapped */
    unsigned index;                 /* place in its map's list */
    unsigned guard;                 /* its place among the mappings that are watched for lost pages (guard.c) */
    struct backend_options options;
} block;

/* Maps memory as the options say; preallocates if asked (may take long: call it in a job then).  'progress' may be
 * NULL.  Error: HOST, LIMIT. */
struct block *block_new(const struct backend_options *options, GError **error);
struct block *block_new_watched(const struct backend_options *options, struct block_progress *progress,
                                GError **error);
void block_free(struct block *b);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(block, block_free)
/* Makes 'merge' and 'dump' of the mapping and its options what 'o' says.  Error: HOST, nothing changed. */
bool block_change(struct block *b, const struct backend_options *o, GError **error);
/* Takes all of it from the host; content stays, vCPUs may run.  May take long.  Any thread.  Error: HOST, STATE
 * (cancelled). */
bool block_populate(struct block *b, struct block_progress *progress, GError **error);
/* The same of a piece, widened to the host's pages, by the calling thread. */
bool block_populate_range(struct block *b, uint64_t first, uint64_t size, struct block_progress *progress,
                          GError **error);
/* Makes every byte zero and gives the host memory back (private: MADV_DONTNEED; shared: hole punch). */
bool block_discard(struct block *b, GError **error);
/* The same of whole pages (the block's page_size) from byte 'first' on; vCPUs may run. */
bool block_discard_range(struct block *b, uint64_t first, uint64_t size, GError **error);
/* Memory that another process takes over (handover.c).  Can that of the block be handed over?  Its size is sealed from
 * then on.  Can the block take another's?  Error: STATE, why not. */
bool block_may_hand_over(const struct block *b, GError **error);
bool block_may_take_over(const struct block *b, GError **error);
/* Is 'fd', which a peer sent, such memory, of the block's size (and, 'to_keep', of its pages, to be written)?  Error:
 * PEER. */
bool block_check_offer(const struct block *b, int fd, bool to_keep, GError **error);
/* Maps it, at the same address, in place of the block's own: first to be read only; then as the block's memory, the
 * own going back to the host.  'fd' stays the caller's.  Any thread, while nobody writes.  Error: HOST; block_renew is
 * all that may follow then. */
bool block_show(struct block *b, int fd, GError **error);
bool block_adopt(struct block *b, int fd, GError **error);
/* Gives the block fresh memory, all zeros, and lets go of what it had, which stays as it is for who else has it.
 * Error: HOST; the block is lost then. */
bool block_renew(struct block *b, GError **error);
/* True if a page of it could not be had when it was touched: its file is too short, there is no huge page left, the
 * hardware failed.  The process reads zeros there from then on, so nothing read from the block since may be trusted;
 * this is for good.  '*ret_page' (may be NULL) is the first such guest page.  Any thread. */
bool block_lost(const struct block *b, uint64_t *ret_page);
/* What the host holds of a piece of a block, in bytes. */
struct memory_usage {
    uint64_t resident, swapped, huge;       /* huge: part of resident, mapped as huge pages */
    bool huge_unknown;              /* the kernel cannot tell */
};
/* Adds that of 'size' bytes from 'offset'.  May take long.  Any thread. */
void block_usage(const struct block *b, uint64_t offset, uint64_t size, struct memory_usage *usage);
/* On which host nodes sampled pages lie. */
struct memory_places {
    uint64_t asked, found;          /* samples; those that were there */
    uint64_t on_node[HOST_NODES];
};
/* Adds 'samples' pages spread evenly over the piece.  Any thread. */
void block_places(const struct block *b, uint64_t offset, uint64_t size, uint64_t samples,
                  struct memory_places *places);
/* True if the page holds only zeros.  Vector units where present, chosen at run time. */
bool page_is_zero(const uint8_t *page);

/* --- the guest physical map ------------------------------------------------------------------------------------- */

enum section_kind {
    SECTION_RAM,
    SECTION_ROM,                    /* RAM that the guest reads at once, and whose writes go to the bus */
    SECTION_DEVICE,                 /* every access goes to the bus */
};

/* One contiguous piece of guest physical address space. */
struct section {
    uint64_t gpa, size;             /* bytes; page aligned but for a device's */
    struct block *block;            /* borrowed from the map; NULL for a device */
    uint64_t offset;                /* in the block */
    int node;                       /* guest node, or -1 without NUMA */
    enum section_kind kind;
    const char *name;               /* of what covers RAM; static; NULL for plain RAM */
};

/* Who follows the blocks of a map.  Main tells them, in the order in which they joined, while vCPUs are parked and
 * nobody collects dirty pages (hub_add_block); at a removal in the opposite order.  Any function may be NULL. */
struct block_follower {
    /* The block is in the map, with its sections.  False with an error keeps it out; those told before are told of its
     * removal then: who cannot always take it back must follow later than who may refuse. */
    bool (*added)(void *self, struct block *b, GError **error);
    /* It is still in the map.  False with an error keeps it there; those told before are told that it was added. */
    bool (*removed)(void *self, struct block *b, GError **error);
    /* Its used length was 'before' and is another now.  vCPUs may run. */
    void (*resized)(void *self, struct block *b, uint64_t before);
    void *self;
};

/* Owns its blocks.  It changes on main with the vCPUs parked (guest_map_plug, guest_map_unplug): those on main, on a
 * vCPU's thread and under the hub's lock need no other.  A migration's thread keeps a list of its own. */
struct guest_map {
    GPtrArray *blocks;              /* struct block *, in creation order */
    GArray *sections;               /* struct section, by rising gpa, never overlapping; one a node and piece */
    GArray *covers;                 /* struct section: ROM and devices, each over all that came before and over RAM */
    GArray *followers;              /* struct block_follower, in the order of joining */
    uint64_t device_base, device_size;      /* where memory devices may lie; 0: nowhere */
    int lost_fd;                    /* eventfd, readable once a page of a block was lost */
};

struct guest_map *guest_map_new(void);
void guest_map_free(struct guest_map *map);
typedef struct guest_map guest_map;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(guest_map, guest_map_free)
/* Takes the block; its name must be new. */
void guest_map_take_block(struct guest_map *map, struct block *b);
struct block *guest_map_find_block(const struct guest_map *map, const char *name);
/* Adds RAM; the caller keeps to the rules above. */
void guest_map_add(struct guest_map *map, const struct section *s);
/* Makes RAM in [gpa, gpa + size) read-only to the guest; what is no RAM there stays as it is.  'name' is static. */
void guest_map_protect(struct guest_map *map, const char *name, uint64_t gpa, uint64_t size);
/* Lets a device answer in [gpa, gpa + size), whatever lies below.  'name' is static. */
void guest_map_cover(struct guest_map *map, const char *name, uint64_t gpa, uint64_t size);
/* What the guest finds: an array of struct section by rising gpa, never overlapping, each as it is in the map or a
 * part of that.  'without' (may be NULL) is left out.  Caller unrefs. */
GArray *guest_map_view(const struct guest_map *map, const struct block *without);
/* Takes a block and its sections out again and returns it; the places of those behind it fall by one. */
struct block *guest_map_remove_block(struct guest_map *map, struct block *b);
/* Tells who follows from now on; 'self' ends it. */
void guest_map_follow(struct guest_map *map, const struct block_follower *f);
void guest_map_unfollow(struct guest_map *map, const void *self);
/* A block that comes (takes it, with its section) or goes (gives it back) while there are followers.  Error: a
 * follower's, everything is as before. */
bool guest_map_plug(struct guest_map *map, struct block *b, const struct section *s, GError **error);
bool guest_map_unplug(struct guest_map *map, struct block *b, GError **error);
/* Sets the used length of a resizable block. */
void guest_map_resize(struct guest_map *map, struct block *b, uint64_t used);
/* The section that holds 'gpa', or NULL.  Any thread while it does not change. */
const struct section *guest_map_find(const struct guest_map *map, uint64_t gpa);
/* Host address of guest physical 'gpa' if 'size' bytes from there are contiguous RAM of one section; else NULL. */
void *guest_map_host(const struct guest_map *map, uint64_t gpa, uint64_t size);
/* Copies out of (into) guest memory over section borders; false if some byte is not RAM.  Writing does not mark
 * pages dirty: the caller does (hub_mark_gpa). */
bool guest_map_read(const struct guest_map *map, uint64_t gpa, void *to, uint64_t size);
bool guest_map_write(const struct guest_map *map, uint64_t gpa, const void *from, uint64_t size);
uint64_t guest_map_ram_bytes(const struct guest_map *map);     /* without memory devices */
/* What is lost: "page 3 of backend 'm0' (file '/x'): ..." with the reason as far as it can be told; NULL if nothing
 * is.  Caller frees.  Any thread. */
char *block_lost_text(const struct block *b);
char *guest_map_lost(const struct guest_map *map);
/* After a system call or KVM_RUN failed with EFAULT on guest memory: finds the page, if a file is too short or huge
 * pages ran out, and counts it as lost, without a word through 'lost_fd'.  'gpa' of the access, or UINT64_MAX if not
 * known. */
void guest_map_blame(const struct guest_map *map, uint64_t gpa);

/* A vCPU's thread says here that the processor runs its guest.  If the hardware lost a page that the guest touched,
 * its address is left here and the thread made to come back, instead of the page being replaced under the guest. */
struct page_watch {
    _Atomic bool armed;             /* the guest runs */
    _Atomic uintptr_t failed;       /* host address; 0: none */
    uint8_t *leave;                 /* set to 1 to make the thread come back */
};
/* For this thread, until it ends or gives NULL. */
void page_watch_begin(struct page_watch *w);
/* Where in the guest an address of this process is; false if it is no guest memory, '*ret_gpa' UINT64_MAX if the guest
 * does not see it. */
bool guest_map_locate(const struct guest_map *map, const void *host, struct block **ret_block, uint64_t *ret_page,
                      uint64_t *ret_gpa);
/* Puts an empty page in the place of one that the hardware lost, or only notes it as lost.  Replacing is for ordinary
 * pages alone: false with a large one, whose other parts would go unnoticed, or if the host refuses. */
bool block_replace_page(struct block *b, uint64_t page);
void block_note_lost(struct block *b, uint64_t page);
/* True if anything is lost; for whoever read guest memory and is about to trust it.  Any thread. */
bool guest_map_is_lost(const struct guest_map *map);

/* --- memory devices --------------------------------------------------------------------------------------------- */

enum memory_device_kind { DEVICE_DIMM, DEVICE_NVDIMM, DEVICE_VIRTIO_PMEM, DEVICE_VIRTIO_MEM, MEMORY_DEVICE_KINDS };
extern const char *const memory_device_names[];     /* "pc-dimm", ...; NULL-terminated */

/* May the guest touch what is not plugged of a virtio-mem?  numon has zeros there either way. */
enum unplugged_inaccessible { INACCESSIBLE_ON, INACCESSIBLE_OFF, INACCESSIBLE_AUTO };       /* auto is on */
enum { UUID_SIZE = 37 };            /* as text, with its NUL */

/* As the user entered it; a plain value. */
struct memory_device {
    enum memory_device_kind kind;
    char id[ID_SIZE];               /* "": it has none */
    char memdev[ID_SIZE];
    unsigned node;                  /* 0 for virtio-pmem */
    int slot;                       /* -1: the first free; of dimm and nvdimm */
    uint64_t addr;                  /* 0: the first that fits */
    uint64_t block_size, requested_size;        /* of virtio-mem, bytes */
    bool prealloc;                  /* of virtio-mem */
    enum unplugged_inaccessible inaccessible;
    uint64_t label_size;            /* of nvdimm, bytes at the end of its memory that are no RAM of the guest */
    bool unarmed;
    char uuid[UUID_SIZE];           /* lower case; "": none */
    bool hotplugged;                /* came after the machine was built */
};

/* The first two rows are the same in each kind's table. */
enum {
    DEVICE_P_ID, DEVICE_P_MEMDEV,
    DIMM_P_NODE, DIMM_P_SLOT, DIMM_P_ADDR,
    NVDIMM_P_LABEL_SIZE, NVDIMM_P_UNARMED, NVDIMM_P_UUID,
    PMEM_P_MEMADDR = DIMM_P_NODE,
    VIRTIO_MEM_P_NODE = DIMM_P_NODE, VIRTIO_MEM_P_MEMADDR, VIRTIO_MEM_P_BLOCK_SIZE, VIRTIO_MEM_P_REQUESTED_SIZE,
    VIRTIO_MEM_P_PREALLOC, VIRTIO_MEM_P_UNPLUGGED_INACCESSIBLE, VIRTIO_MEM_P_DYNAMIC_MEMSLOTS,
    VIRTIO_MEM_P_EARLY_MIGRATION,
};
extern const struct property dimm_properties[], nvdimm_properties[], virtio_pmem_properties[], virtio_mem_properties[];
const struct property *memory_device_properties(enum memory_device_kind kind);
bool memory_device_has_slot(enum memory_device_kind kind);
/* Fills '*ret' from parsed values; checks what needs no other part of the machine.  Error: ARGUMENT. */
bool memory_device_read(enum memory_device_kind kind, const struct values *v, struct memory_device *ret, GError **error);
/* The guest physical memory that it is, in bytes: the backend's without labels, whole pages of 'page' bytes. */
uint64_t memory_device_size(const struct memory_device *d, const struct backend_options *backend, uint64_t page);
bool memory_device_equal(const struct memory_device *a, const struct memory_device *b);
/* Appends what both sides of a migration must have alike beside kind, size, place and block size. */
void memory_device_describe(const struct memory_device *d, GString *out);
/* Sizes of a virtio-mem or nvdimm against each other and its backend.  Error: ARGUMENT. */
bool memory_device_check_sizes(const struct memory_device *d, const struct backend_options *backend, GError **error);
/* Appends "device_add KIND,id=ID,..." with what is not the default. */
void memory_device_save(const struct memory_device *d, GString *out);
/* How messages name it: its id, or its backend's where it has none. */
const char *memory_device_label(const struct memory_device *d);

/* What there is for memory devices. */
struct device_room {
    unsigned slots, node_count;     /* node_count 0: no NUMA */
    uint64_t base, size;            /* guest physical addresses */
    uint64_t limit;                 /* bytes of all devices together */
};
/* Where a device is. */
struct device_place {
    const struct memory_device *device;         /* borrowed */
    uint64_t addr, size;            /* bytes */
    uint64_t align;
    int slot;                       /* -1: it needs none */
};
/* 'ram' bytes at the start, devices up to 'maxmem' together with it. */
struct device_room device_room_for(uint64_t ram, uint64_t maxmem, unsigned slots, unsigned node_count);
/* Finds slot and address of one more device beside 'others': what it asks for, else the first that is free.  'ret' has
 * device, size and align set.  Error: ARGUMENT, STATE or LIMIT with the numbers. */
bool device_place_find(const struct device_room *room, const struct device_place *others, unsigned count,
                       struct device_place *ret, GError **error);

/* --- pages that were never there -------------------------------------------------------------------------------- */

struct presence {
    int pagemap;                    /* of this process; -1: nothing is known of private memory */
    const struct block *block;      /* of which a stretch of pages is known to be there: from 'data' to 'data_end' */
    uint64_t data, data_end;
};
void presence_init(struct presence *p);
void presence_release(struct presence *p);
/* Sets bit i of 'absent' if page first + i is known to be zero without having to be read, and clears the others. */
void presence_absent(struct presence *p, const struct block *b, uint64_t first, uint64_t count,
                     uint64_t *absent);

/* --- dirty pages: one hub, many subscribers --------------------------------------------------------------------- */

/* How an accelerator logs the guest's writes; AUTO: the way that costs the guest least of those it has. */
enum dirty_log { DIRTY_LOG_AUTO, DIRTY_LOG_BITMAP, DIRTY_LOG_MANUAL, DIRTY_LOG_RING };
extern const char *const dirty_log_names[];         /* "auto", "bitmap", "manual", "ring", NULL */
/* Entries (pages) of a vCPU's ring: a power of two. */
enum { DIRTY_RING_MIN = 1024, DIRTY_RING_MAX = 65536 };

/* Who can tell which pages changed.  Accelerators implement it; unit tests use an array.  The hub calls with its lock
 * held. */
struct dirty_source {
    bool (*start)(void *self, GError **error);
    /* ORs the pages of 'block' written since they were last cleared into 'words'. */
    bool (*collect)(void *self, struct block *block, uint64_t *words, GError **error);
    /* Of a log that protects late, else NULL: the next write to these pages will be reported again.  They are the
     * pages set in 'words', whose bit 0 is page 'first', a multiple of 64; it has 'count' bits. */
    bool (*clear)(void *self, struct block *block, uint64_t first, uint64_t count, const uint64_t *words,
                  GError **error);
    void (*stop)(void *self);
    void *self;
    bool starts_full;               /* once started, it reports every page until that is cleared (with 'clear' only) */
    bool tells_cpus;                /* it says by hub_wrote, or hub_mark_by, which vCPU wrote a page */
};

struct hub;
struct subscriber;

/* 'source' may have NULL functions: then only marks count (synthetic vCPUs mark every page they write). */
struct hub *hub_new(struct guest_map *map, struct dirty_source source);
void hub_free(struct hub *hub);         /* while the map is still there and nobody marks */
/* A block more (less) while the guest does not run.  'change' puts 'b' into the map (takes it out), with what belongs
 * to it in the accelerator, while nobody collects; it may fail, and nothing has changed then.  All pages of a new
 * block are dirty for every subscriber.  None goes (STATE) while a subscriber remembers who writes. */
bool hub_add_block(struct hub *hub, const struct block *b, bool (*change)(void *self, GError **error), void *self,
                   GError **error);
bool hub_remove_block(struct hub *hub, unsigned index, bool (*change)(void *self, GError **error), void *self,
                      GError **error);
/* Starts logging with the first subscriber.  Its bitmaps start clear; every mark after the return is in them, and
 * the content of every write whose mark came too early is visible to the caller.  Error: HOST, or LIMIT (16). */
struct subscriber *hub_subscribe(struct hub *hub, const char *who, GError **error);
/* The same for one that begins by reading every page: its bitmaps start with all bits set, so that a log which
 * protects late need not protect them all at once. */
struct subscriber *hub_subscribe_full(struct hub *hub, const char *who, GError **error);
void hub_unsubscribe(struct hub *hub, struct subscriber *s);        /* stops logging with the last; NULL is fine */
/* Collects the accelerator's log of every block and ORs it into every subscriber.  Any thread; rank 20. */
bool hub_sync(struct hub *hub, GError **error);
/* The subscriber's bitmap of a block: one bit a page; others set bits in it at any time. */
_Atomic uint64_t *subscriber_words(struct subscriber *s, const struct block *b);
/* For a reader of pages: clears the bits of the range in the subscriber's bitmap (acquire), lets the log report the
 * next write, and returns in '*ret_set' how many were set.  Only then may the pages be read.  Nothing else may clear
 * bits of a subscriber. */
bool hub_clear(struct hub *hub, struct subscriber *s, struct block *b, uint64_t first, uint64_t count,
               uint64_t *ret_set, GError **error);
/* The same, and says as presence_absent which of the pages need not be read.  Who calls takes them to be zero: the
 * next hub_sync looks whether they have come, and reports those that came with something in them. */
bool hub_clear_there(struct hub *hub, struct subscriber *s, struct block *b, uint64_t first, uint64_t count,
                     uint64_t *absent, uint64_t *ret_set, GError **error);
/* As hub_clear for all pages of all blocks, for who only counts them.  No block comes or goes meanwhile: from threads
 * that have no list of their own.  Rank 20. */
bool hub_clear_all(struct hub *hub, struct subscriber *s, GError **error);
/* For a writer that no page protection sees: call AFTER writing.  Release order.  Any thread, no lock. */
void hub_mark(struct hub *hub, const struct block *b, uint64_t first, uint64_t count);
/* The same by guest physical address, over section borders; what is not RAM is passed over. */
void hub_mark_gpa(struct hub *hub, uint64_t gpa, uint64_t size);
bool hub_active(const struct hub *hub);

/* Which vCPU wrote.  CPUs from HUB_CPUS on are not told apart. */
enum { HUB_CPUS = 256 };
/* True if the accelerator tells: KVM with a dirty ring, synthetic. */
bool hub_tells_cpus(const struct hub *hub);
/* As hub_mark for one page that a vCPU wrote; returns true if the page was clean for some subscriber. */
bool hub_mark_by(struct hub *hub, const struct block *b, uint64_t page, unsigned cpu);
/* A log's news that a vCPU wrote a page, which collect will report.  Any thread. */
void hub_wrote(struct hub *hub, const struct block *b, uint64_t page, unsigned cpu);
/* Pages that a vCPU made dirty since the subscription; one counts again each time that it was clean before. */
uint64_t subscriber_cpu_pages(const struct subscriber *s, unsigned cpu);
/* From now on the last vCPU to make each page dirty is remembered for this subscriber.  Error: HOST, no memory. */
bool subscriber_watch_writers(struct hub *hub, struct subscriber *s, GError **error);
/* That vCPU, or -1: none did since, or it is not known. */
int subscriber_writer(const struct subscriber *s, const struct block *b, uint64_t page);
/* 1 if a subscriber has the page as dirty, after collecting the log; 0 if none has; -1 if nobody logs.  Any thread. */
int hub_dirty(struct hub *hub, const struct block *b, uint64_t page);

/* --- what the host has left -------------------------------------------------------------------------------------- */

/* The least of what it says is available and of what each memory cgroup of this process still allows. */
struct memory_left {
    bool known;
    uint64_t bytes;
    char where[192];                /* "the host", "memory cgroup /a/b" */
};
/* 'root': "", or in tests a folder with /proc and what is mounted.  Any thread. */
void memory_left(const char *root, struct memory_left *ret);

/* --- the dirty rate --------------------------------------------------------------------------------------------- */

enum dirty_rate_mode { DIRTY_RATE_SAMPLING, DIRTY_RATE_BITMAP, DIRTY_RATE_RING };
extern const char *const dirty_rate_mode_names[];   /* "page-sampling", "dirty-bitmap", "dirty-ring", NULL */

struct dirty_rate_node { int node; uint64_t pages; };       /* node -1: RAM of a machine without nodes */
struct dirty_rate_result {
    uint64_t passed_us;             /* between beginning and end */
    uint64_t pages;                 /* written in that time; from samples an estimate */
    GArray *nodes;                  /* struct dirty_rate_node, by rising address; owned */
    GArray *cpus;                   /* uint64_t pages by the vCPU that wrote last; RING only, else empty; owned */
};
void dirty_rate_result_release(struct dirty_rate_result *result);

struct dirty_rate;
/* Begins: one more subscriber of the hub, or 'samples_per_gib' pages' checksums.  The map must not change until it is
 * freed.  May take long.  Any thread.  Error: HOST, LIMIT. */
struct dirty_rate *dirty_rate_begin(const struct guest_map *map, struct hub *hub, enum dirty_rate_mode mode,
                                    uint64_t samples_per_gib, unsigned cpus, GError **error);
/* What was written since.  May take long.  Any thread.  Error: HOST. */
bool dirty_rate_end(struct dirty_rate *r, struct dirty_rate_result *ret, GError **error);
void dirty_rate_free(struct dirty_rate *r);         /* NULL is fine */

#endif
