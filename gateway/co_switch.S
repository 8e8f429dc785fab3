/* SPDX-License-Identifier: Apache-2.0 */
/*
 * void wg_switch(void **save, void *to): saves what a called function must preserve on the
 * present stack and its stack pointer in *save, and goes on where `to` was saved.
 *
 * swapcontext does the same and two system calls for the signal mask, which no coroutine has of its own.
 * Shadow stacks (x86 CET, arm64 GCS): a return to another stack is what they forbid, so this file is not
 * marked as fit for them and a program that links it runs without. It is marked for IBT and BTI.
 * co_stack.c lays out a fresh stack as if it had been saved here; it knows these frames.
 */
#include "co_stack.h"

#ifdef WG_SWITCH_OWN

#if defined(__x86_64__)

    .text
    .globl wg_switch
    .hidden wg_switch
    .type wg_switch, @function
    .p2align 4
wg_switch:
    .cfi_startproc
    endbr64
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    subq $8, %rsp
    stmxcsr (%rsp)
    fnstcw 4(%rsp)
    .cfi_def_cfa_offset 64
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    ldmxcsr (%rsp)
    fldcw 4(%rsp)
    addq $8, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    .cfi_def_cfa_offset 8
    ret
    .cfi_endproc
    .size wg_switch, . - wg_switch

    .section .note.gnu.property, "a"
    .p2align 3
    .long 4, 16, 5
    .asciz "GNU"
    .long 0xc0000002, 4, 1, 0 /* X86_FEATURE_1_AND: IBT, not SHSTK */

#elif defined(__aarch64__)

    .text
    .globl wg_switch
    .hidden wg_switch
    .type wg_switch, %function
    .p2align 4
wg_switch:
    .cfi_startproc
    hint #34 /* bti c */
    sub sp, sp, #160
    .cfi_def_cfa_offset 160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    .cfi_def_cfa_offset 0
    ret
    .cfi_endproc
    .size wg_switch, . - wg_switch

    .section .note.gnu.property, "a"
    .p2align 3
    .long 4, 16, 5
    .asciz "GNU"
    .long 0xc0000000, 4, 1, 0 /* AARCH64_FEATURE_1_AND: BTI, not GCS */

#endif
#endif

    .section .note.GNU-stack, "", %progbits
