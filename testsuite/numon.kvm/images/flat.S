/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A flat binary: begins in real mode with all segments at its first byte and a stack; says so, and ends with
 * status 1. */
    .set SERIAL, 0x3f8
    .set EXIT, 0xf4

    .text
    .code16
image:
    push    %cs
    pop     %ax
    mov     %ds, %bx
    cmp     %ax, %bx
    jne     bad
    mov     %ss, %bx
    cmp     %ax, %bx
    jne     bad
    mov     $(text - image), %si
    mov     $SERIAL, %dx
1:  lodsb
    test    %al, %al
    jz      2f
    out     %al, %dx
    jmp     1b
2:  xor     %al, %al
    jmp     leave
bad:
    mov     $1, %al
leave:
    out     %al, $EXIT
3:  hlt
    jmp     3b
text:   .asciz "flat in real mode\n"
