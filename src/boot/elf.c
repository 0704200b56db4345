/* SPDX-License-Identifier: GPL-3.0-or-later */
/* ELF32 and ELF64 kernels (System V ABI, chapters 4 and 5).  The file is hostile: every number is checked before it
 * is used, and nothing is read outside the file. */
#include "boot-private.h"

#include <elf.h>
#include <string.h>

enum { NOTE_PHYS32_ENTRY = 18 };        /* XEN_ELFNOTE_PHYS32_ENTRY: xen/include/public/elfnote.h */

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

static bool
inside(const struct file_bytes *file, uint64_t offset, uint64_t size)
{
    return offset <= file->size && size <= file->size - offset;
}

/* A little-endian number at a place known to be inside. */
static uint64_t
number_at(const struct file_bytes *file, uint64_t offset, unsigned size)
{
    uint64_t n = 0;

    for (unsigned i = size; i-- > 0; )
        n = n << 8 | file->bytes[offset + i];
    return n;
}

static bool
fail_file(const struct file_bytes *file, GError **error, const char *what)
{
    return fail(error, NUMON_ERROR_ARGUMENT, "cannot load kernel '%s': %s", file->name, what);
}

bool
elf_recognise(const struct file_bytes *file)
{
    return file->size >= SELFMAG && memcmp(file->bytes, ELFMAG, SELFMAG) == 0;
}

bool
image_add(struct kernel_image *image, const struct file_bytes *file, const struct segment *s, GError **error)
{
    if (!inside(file, s->offset, s->file_size) || s->file_size > s->memory_size)
        return fail(error, NUMON_ERROR_ARGUMENT,
                    "cannot load kernel '%s': %" PRIu64 " bytes at offset %" PRIu64 " are not in the file (%" PRIu64
                    " bytes)", file->name, s->file_size, s->offset, file->size);
    if (s->gpa < BOOT_HIGH_RAM || s->memory_size > UINT64_MAX - s->gpa)
        return fail(error, NUMON_ERROR_ARGUMENT, "cannot load kernel '%s': it wants %" PRIu64 " bytes at 0x%" PRIx64
                    ", numon loads kernels at 1 MiB and above", file->name, s->memory_size, s->gpa);
    if (image->segment_count == KERNEL_SEGMENTS)
        return fail(error, NUMON_ERROR_LIMIT, "cannot load kernel '%s': it has more than %d segments", file->name,
                    KERNEL_SEGMENTS);
    image->segments[image->segment_count++] = *s;
    image->end = MAX(image->end, s->gpa + s->memory_size);
    return true;
}

/* Looks for the PVH entry among the notes in [at, end); wrong notes end the search. */
static bool
find_pvh_note(const struct file_bytes *file, uint64_t at, uint64_t end, uint32_t *ret)
{
    while (end - at >= 12) {
        uint64_t name_size = number_at(file, at, 4), size = number_at(file, at + 4, 4);
        uint64_t name = at + 12, data = name + (name_size + 3) / 4 * 4;

        if (data > end || size > end - data)
            return false;
        if (number_at(file, at + 8, 4) == NOTE_PHYS32_ENTRY && name_size == 4 && size >= 4 &&
            memcmp(file->bytes + name, "Xen", 4) == 0) {
            *ret = (uint32_t)number_at(file, data, 4);
            return true;
        }
        at = MIN(end, data + (size + 3) / 4 * 4);
    }
    return false;
}

static bool
read_segment(const struct file_bytes *file, const struct elf_class *c, uint64_t at, struct kernel_image *image,
             GError **error)
{
    struct segment s = {
        .offset = number_at(file, at + c->offset, c->address_size),
        .gpa = number_at(file, at + c->gpa, c->address_size),
        .file_size = number_at(file, at + c->file_size, c->address_size),
        .memory_size = number_at(file, at + c->memory_size, c->address_size),
    };

    switch (number_at(file, at, 4)) {
    case PT_LOAD:
        return s.memory_size == 0 || image_add(image, file, &s, error);
    case PT_NOTE:
        if (inside(file, s.offset, s.file_size) &&
            find_pvh_note(file, s.offset, s.offset + s.file_size, &image->entry))
            image->kind = KERNEL_PVH;
        return true;
    default:
        return true;
    }
}

static const struct elf_class *
read_class(const struct file_bytes *file, GError **error)
{
    const struct elf_class *c;
    uint64_t machine;

    if (file->size < EI_NIDENT || file->bytes[EI_DATA] != ELFDATA2LSB ||
        (file->bytes[EI_CLASS] != ELFCLASS32 && file->bytes[EI_CLASS] != ELFCLASS64)) {
        fail_file(file, error, "it is not a little-endian ELF file");
        return NULL;
    }
    c = file->bytes[EI_CLASS] == ELFCLASS64 ? &elf64 : &elf32;
    if (file->size < c->header_size) {
        fail_file(file, error, "it ends within its ELF header");
        return NULL;
    }
    machine = number_at(file, offsetof(Elf64_Ehdr, e_machine), 2);
    if ((machine != EM_386 && machine != EM_X86_64) || number_at(file, offsetof(Elf64_Ehdr, e_type), 2) != ET_EXEC) {
        fail_file(file, error, "it is not an x86 ELF executable with fixed addresses");
        return NULL;
    }
    return c;
}

bool
elf_read(const struct file_bytes *file, struct kernel_image *ret, GError **error)
{
    const struct elf_class *c = read_class(file, error);
    uint64_t at, count, entry;

    if (!c)
        return false;
    *ret = (struct kernel_image) { .kind = KERNEL_MULTIBOOT };
    at = number_at(file, c->program_offset, c->address_size);
    count = number_at(file, c->program_count, 2);
    if (number_at(file, c->program_size, 2) != c->segment_size || !inside(file, at, count * c->segment_size))
        return fail_file(file, error, "its ELF program headers are not in the file");
    for (uint64_t i = 0; i < count; i++)
        if (!read_segment(file, c, at + i * c->segment_size, ret, error))
            return false;
    if (ret->segment_count == 0)
        return fail_file(file, error, "it has nothing to load");
    entry = number_at(file, c->entry, c->address_size);
    if (ret->kind == KERNEL_MULTIBOOT)
        ret->entry = (uint32_t)entry;
    if (ret->kind == KERNEL_MULTIBOOT && entry > UINT32_MAX)
        return fail_file(file, error, "its entry lies above 4 GiB");
    return true;
}
