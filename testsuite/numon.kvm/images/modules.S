/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A kernel that says what its modules are told and hold, by Multiboot 1 (flat, its header has addresses) or, with PVH
 * defined, as an ELF file with that note; then it ends with exit status 1. */
    .set SERIAL, 0x3f8
    .set EXIT, 0xf4
#ifdef PVH
    .set BASE, 0x101000                 /* the file's headers are loaded below */
#else
    .set BASE, 0x100000
#endif

    .text
    .code32
    .globl _start
image:
#ifndef PVH
    .balign 4
    .long   0x1badb002, 0x10003, -(0x1badb002 + 0x10003)
    .long   BASE, BASE, 0, BASE + memory_end - image, BASE + _start - image
#endif
_start:
    mov     $(BASE + memory_end - image), %esp
    cld
#ifdef PVH
    .set NEXT, 32                       /* struct hvm_modlist_entry */
    cmpl    $0x336ec578, (%ebx)
    jne     bad
    mov     12(%ebx), %ebp              /* how many */
    mov     16(%ebx), %edi              /* where */
#else
    .set NEXT, 16
    cmp     $0x2badb002, %eax
    jne     bad
    xor     %ebp, %ebp
    testl   $8, (%ebx)
    jz      next
    mov     20(%ebx), %ebp
    mov     24(%ebx), %edi
#endif
next:
    test    %ebp, %ebp
    jz      good
#ifdef PVH
    mov     (%edi), %esi
    mov     8(%edi), %ecx
#else
    mov     8(%edi), %esi
    call    say
    mov     $':', %al
    call    say_byte
    mov     (%edi), %esi
    mov     4(%edi), %ecx
    sub     %esi, %ecx
#endif
    call    say_bytes
    mov     $'\n', %al
    call    say_byte
    add     $NEXT, %edi
    dec     %ebp
    jmp     next
good:
    mov     $'.', %al
    call    say_byte
    xor     %eax, %eax
    jmp     leave
bad:
    mov     $1, %al
leave:
    out     %al, $EXIT
1:  hlt
    jmp     1b

say_byte:
    mov     $SERIAL, %edx
    out     %al, (%dx)
    ret

say:
    lodsb
    test    %al, %al
    jz      1f
    call    say_byte
    jmp     say
1:  ret

say_bytes:
    jecxz   1f
    lodsb
    call    say_byte
    dec     %ecx
    jmp     say_bytes
1:  ret

    .balign 16
    .skip   256
memory_end:

#ifdef PVH
    .section .note.pvh, "a", @note
    .balign 4
    .long   4, 4, 18                    /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz  "Xen"
    .long   BASE + _start - image
#endif
