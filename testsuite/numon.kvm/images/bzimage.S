/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The smallest bzImage: says on the serial port what it finds by Linux's 64-bit boot protocol (boot.rst), then ends
 * with exit status 1. */
    .set SECTORS, 1
    .set SERIAL, 0x3f8
    .set EXIT, 0xf4

    .text
    .code64
image:
    .org    0x1f1
    .byte   SECTORS                     /* setup_sects */
    .word   0
    .long   (end - code) / 16           /* syssize */
    .word   0, 0, 0
    .word   0xaa55                      /* boot_flag */
    .byte   0xeb, header_end - 0x202    /* jump */
    .ascii  "HdrS"
    .word   0x20f                       /* version */
    .org    0x211
    .byte   1                           /* loadflags: LOADED_HIGH */
    .org    0x22c
    .long   0x7fffffff                  /* initrd_addr_max */
    .long   0x200000                    /* kernel_alignment */
    .byte   1, 21                       /* relocatable_kernel, min_alignment */
    .word   1                           /* xloadflags: XLF_KERNEL_64 */
    .long   255                         /* cmdline_size */
    .org    0x258
    .quad   0x400000                    /* pref_address */
    .long   0x100000                    /* init_size */
header_end:

    .org    (SECTORS + 1) * 512
code:
    .org    (SECTORS + 1) * 512 + 0x200
    cld
    mov     %rsi, %rbp                  /* the zero page */
    lea     text_command(%rip), %rsi
    call    say
    mov     0x228(%rbp), %esi
    call    say
    lea     text_initrd(%rip), %rsi
    call    say
    mov     0x218(%rbp), %esi
    mov     0x21c(%rbp), %ecx
    call    say_bytes
    lea     text_rsdp(%rip), %rsi
    call    say
    mov     0x070(%rbp), %rsi
    mov     $7, %ecx
    call    say_bytes
    lea     text_map(%rip), %rsi
    call    say
    mov     0x1e8(%rbp), %al
    add     $'0', %al
    call    say_byte
    lea     text_home(%rip), %rsi
    lea     code(%rip), %rax
    cmp     0x214(%rbp), %eax
    je      1f
    lea     text_astray(%rip), %rsi
1:  call    say
    xor     %eax, %eax
    out     %al, $EXIT
2:  hlt
    jmp     2b

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
    jrcxz   1f
    lodsb
    call    say_byte
    dec     %rcx
    jmp     say_bytes
1:  ret

text_command:   .asciz "command line: "
text_initrd:    .asciz "\ninitrd: "
text_rsdp:      .asciz "\nrsdp: "
text_map:       .asciz "\nmap entries: "
text_home:      .asciz "\nloaded where it is told\n"
text_astray:    .asciz "\nloaded elsewhere\n"
    .balign 16
end:
