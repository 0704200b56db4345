/* SPDX-License-Identifier: GPL-3.0-or-later */
/* ELF32 and ELF64 kernels (System V ABI, chapters 4 and 5).  The file is hostile: every number is checked before it
 * is used, and nothing is read outside the file.  Headers and notes are read once; what is checked is used. */
#include "boot-private.h"

#include <elf.h>
#include <string.h>

enum {
    NOTE_PHYS32_ENTRY = 18,             /* XEN_ELFNOTE_PHYS32_ENTRY: xen/include/public/elfnote.h */
    NOTES_MAX = 64 * 1024,              /* bytes of a segment of notes that are looked at */
    HEADERS_MAX = 1024,                 /* program headers; a kernel has about five */
};

/* Where the fields lie, for each class. */
struct elf_class {
    unsigned header_size, entry, program_offset, program_size, program_count, address_size;
    unsigned segment_size, offset, gpa, file_size, memory_size;
};

static const struct elf_class elf32 = {
    .header_size = sizeof(Elf32_Ehdr), .address_size = 4, .entry = offsetof(Elf32_Ehdr, e_entry),
    .program_offset = offsetof(Elf32_Ehdr, e_phoff), .program_size = offsetof(Elf32_Ehdr, e_phentsize),
    .program_count = offsetof(Elf32_Ehdr, e_phnum), .segment_size = sizeof(Elf32_Phdr),
    .offset = offsetof(Elf32_Phdr, p_offset), .gpa = offsetof(Elf32_Phdr, p_paddr),
    .file_size = offsetof(Elf32_Phdr, p_filesz), .memory_size = offsetof(Elf32_Phdr, p_memsz),
};

static const struct elf_class elf64 = {
    .header_size = sizeof(Elf64_Ehdr), .address_size = 8, .entry = offsetof(Elf64_Ehdr, e_entry),
    .program_offset = offsetof(Elf64_Ehdr, e_phoff), .program_size = offsetof(Elf64_Ehdr, e_phentsize),
    .program_count = offsetof(Elf64_Ehdr, e_phnum), .segment_size = sizeof(Elf64_Phdr),
    .offset = offsetof(Elf64_Phdr, p_offset), .gpa = offsetof(Elf64_Phdr, p_paddr),
    .file_size = offsetof(Elf64_Phdr, p_filesz), .memory_size = offsetof(Elf64_Phdr, p_memsz),
};

/* Two segments in one place would be loaded in an order that nobody stated. */
static bool
overlaps(const struct kernel_image *image, const struct segment *s)
{
    for (unsigned i = 0; i < image->segment_count; i++) {
        const struct segment *o = &image->segments[i];

        if (s->gpa < o->gpa + o->memory_size && o->gpa < s->gpa + s->memory_size)
            return true;
    }
    return false;
}

bool
image_add(struct kernel_image *image, const struct bootfile *file, const struct segment *s, GError **error)
{
    if (!bootfile_has(file, s->offset, s->file_size))
        return fail_file(file, error, "it is truncated: %" PRIu64 " bytes at offset %" PRIu64 " are not in the file "
                         "(%" PRIu64 " bytes)", s->file_size, s->offset, file->size);
    if (s->file_size > s->memory_size)
        return fail_file(file, error, "a segment of %" PRIu64 " bytes is to be loaded into %" PRIu64, s->file_size,
                         s->memory_size);
    if (s->gpa < BOOT_HIGH_RAM || s->memory_size > UINT64_MAX - s->gpa)
        return fail_file(file, error, "it wants %" PRIu64 " bytes at 0x%" PRIx64 ", numon loads kernels at 1 MiB and "
                         "above", s->memory_size, s->gpa);
    if (overlaps(image, s))
        return fail_file(file, error, "two of its segments are to lie at 0x%" PRIx64, s->gpa);
    if (image->segment_count == KERNEL_SEGMENTS)
        return fail(error, NUMON_ERROR_LIMIT, "cannot load kernel '%s': it has more than %d segments", file->name,
                    KERNEL_SEGMENTS);
    image->segments[image->segment_count++] = *s;
    image->end = MAX(image->end, s->gpa + s->memory_size);
    return true;
}

bool
image_check_entry(const struct kernel_image *image, const struct bootfile *file, GError **error)
{
    for (unsigned i = 0; i < image->segment_count; i++) {
        const struct segment *s = &image->segments[i];

        if (image->entry >= s->gpa && image->entry - s->gpa < s->memory_size)
            return true;
    }
    return fail_file(file, error, "it is to be entered at 0x%" PRIx64 ", where nothing of it is loaded",
                     image->entry);
}

/* Looks for the PVH entry among notes; wrong notes end the search. */
static bool
find_pvh_note(const uint8_t *notes, uint64_t end, uint64_t *ret)
{
    uint64_t at = 0;

    while (end - at >= 12) {
        uint64_t name_size = number_at(notes, at, 4), size = number_at(notes, at + 4, 4);
        uint64_t name = at + 12, data = name + (name_size + 3) / 4 * 4;

        if (data > end || size > end - data)
            return false;
        if (number_at(notes, at + 8, 4) == NOTE_PHYS32_ENTRY && name_size == 4 && size >= 4 &&
            memcmp(notes + name, "Xen", 4) == 0) {
            *ret = number_at(notes, data, 4);
            return true;
        }
        at = MIN(end, data + (size + 3) / 4 * 4);
    }
    return false;
}

static bool
read_notes(const struct bootfile *file, const struct segment *s, struct kernel_image *image, GError **error)
{
    uint64_t size = MIN(s->file_size, NOTES_MAX);
    g_autofree uint8_t *notes = NULL;

    if (!bootfile_has(file, s->offset, size))
        return true;
    notes = g_malloc(size + 1);
    if (!bootfile_read(file, s->offset, notes, size, error))
        return false;
    if (find_pvh_note(notes, size, &image->entry))
        image->kind = KERNEL_PVH;
    return true;
}

static bool
read_segment(const struct bootfile *file, const struct elf_class *c, const uint8_t *header, bool notes,
             struct kernel_image *image, GError **error)
{
    struct segment s = {
        .offset = number_at(header, c->offset, c->address_size),
        .gpa = number_at(header, c->gpa, c->address_size),
        .file_size = number_at(header, c->file_size, c->address_size),
        .memory_size = number_at(header, c->memory_size, c->address_size),
    };

    switch (number_at(header, 0, 4)) {
    case PT_LOAD:
        return s.memory_size == 0 || image_add(image, file, &s, error);
    case PT_NOTE:
        return !notes || read_notes(file, &s, image, error);
    default:
        return true;
    }
}

static const struct elf_class *
read_class(const struct bootfile *file, const uint8_t *head, uint64_t size, GError **error)
{
    const struct elf_class *c;
    uint64_t machine;

    if (size < EI_NIDENT || head[EI_DATA] != ELFDATA2LSB ||
        (head[EI_CLASS] != ELFCLASS32 && head[EI_CLASS] != ELFCLASS64)) {
        fail_file(file, error, "it is not a little-endian ELF file");
        return NULL;
    }
    c = head[EI_CLASS] == ELFCLASS64 ? &elf64 : &elf32;
    if (size < c->header_size) {
        fail_file(file, error, "it is truncated: it ends within its ELF header");
        return NULL;
    }
    machine = number_at(head, offsetof(Elf64_Ehdr, e_machine), 2);
    if ((machine != EM_386 && machine != EM_X86_64) || number_at(head, offsetof(Elf64_Ehdr, e_type), 2) != ET_EXEC) {
        fail_file(file, error, "it is not an x86 ELF executable with fixed addresses");
        return NULL;
    }
    return c;
}

/* All program headers; NULL with an error.  Caller frees. */
static uint8_t *
read_headers(const struct bootfile *file, const struct elf_class *c, const uint8_t *head, uint64_t *ret_count,
             GError **error)
{
    uint64_t at = number_at(head, c->program_offset, c->address_size);
    uint64_t count = number_at(head, c->program_count, 2), size = count * c->segment_size;
    g_autofree uint8_t *headers = NULL;

    if (number_at(head, c->program_size, 2) != c->segment_size || count > HEADERS_MAX) {
        fail_file(file, error, "it has %" PRIu64 " ELF program headers of %" PRIu64 " bytes; numon takes up to %d of "
                  "%u", count, number_at(head, c->program_size, 2), HEADERS_MAX, c->segment_size);
        return NULL;
    }
    if (!bootfile_has(file, at, size)) {
        fail_file(file, error, "it is truncated: its ELF program headers, %" PRIu64 " bytes at offset %" PRIu64
                  ", are not in the file (%" PRIu64 " bytes)", size, at, file->size);
        return NULL;
    }
    headers = g_malloc(size + 1);
    if (!bootfile_read(file, at, headers, size, error))
        return NULL;
    *ret_count = count;
    return g_steal_pointer(&headers);
}

bool
elf_read(const struct bootfile *file, const uint8_t *head, uint64_t head_size, bool multiboot,
         struct kernel_image *ret, GError **error)
{
    const struct elf_class *c = read_class(file, head, head_size, error);
    g_autofree uint8_t *headers = NULL;
    uint64_t count;

    if (!c)
        return false;
    *ret = (struct kernel_image) { .kind = KERNEL_MULTIBOOT };
    headers = read_headers(file, c, head, &count, error);
    if (!headers)
        return false;
    for (uint64_t i = 0; i < count; i++)
        if (!read_segment(file, c, headers + i * c->segment_size, !multiboot || c == &elf64, ret, error))
            return false;
    if (ret->segment_count == 0)
        return fail_file(file, error, "it has nothing to load");
    if (ret->kind == KERNEL_MULTIBOOT)
        ret->entry = number_at(head, c->entry, c->address_size);
    if (ret->entry > UINT32_MAX)
        return fail_file(file, error, "its entry lies above 4 GiB");
    return image_check_entry(ret, file, error);
}
