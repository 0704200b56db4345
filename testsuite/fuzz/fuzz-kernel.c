/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Any bytes as a kernel file: recognised or refused, never read outside. */
#include "../../src/boot/boot-private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is to be loaded lies in the file and does not wrap. */
static void
check_image(const struct file_bytes *file, const struct kernel_image *image)
{
    for (unsigned i = 0; i < image->segment_count; i++) {
        const struct segment *s = &image->segments[i];

        g_assert(s->offset <= file->size && s->file_size <= file->size - s->offset);
        g_assert(s->file_size <= s->memory_size && s->gpa + s->memory_size >= s->gpa);
        g_assert(s->gpa + s->memory_size <= image->end);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct file_bytes file = { "fuzz", data, size };
    struct multiboot_header header;
    struct kernel_image image;

    if (elf_recognise(&file) && elf_read(&file, &image, NULL))
        check_image(&file, &image);
    if (multiboot_find(&file, &header) && multiboot_read(&file, &header, &image, NULL))
        check_image(&file, &image);
    return 0;
}
