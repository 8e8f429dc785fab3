/* SPDX-License-Identifier: Apache-2.0 */
/* Stacks and switches of coroutines, with what the sanitizers and Valgrind must be told. */
#ifndef WG_CO_STACK_H
#define WG_CO_STACK_H

/* Machines with a switch of our own (co_switch.S); WG_CO_UCONTEXT asks for the portable one all the same. */
#if !defined(WG_CO_UCONTEXT) && defined(__ELF__) && defined(__LP64__) && \
    (defined(__x86_64__) || defined(__aarch64__))
#define WG_SWITCH_OWN 1
#endif

#ifndef __ASSEMBLER__

#include <stdbool.h>
#include <stddef.h>
#ifndef WG_SWITCH_OWN
#include <ucontext.h>
#endif

#define WG_STACK_BYTES (256u << 10)

/* One stack and the machine context that is saved when its owner is switched out. */
struct wg_stack {
    struct wg_stack *next; /* the pool's */
    char *base;            /* the lowest address that may be used */
    size_t size;
#ifdef WG_SWITCH_OWN
    void *context;         /* its stack pointer; the rest is saved there */
#else
    ucontext_t context;
#endif
    void *fake;            /* AddressSanitizer's */
    void *fiber;           /* ThreadSanitizer's; kept with the stack, since there are few */
    unsigned valgrind;
};

/* A stack from the pool, or a new slab; NULL when memory is out. Any thread. */
struct wg_stack *wg_stack_get(void);
/* Gives it back. Beyond a few, its memory goes back to the kernel. */
void wg_stack_put(struct wg_stack *s);
/* Prepares s so that the next switch to it runs entry(), which must not return. */
void wg_stack_prepare(struct wg_stack *s, void (*entry)(void));
/* From the worker's own stack into s, and back when s switches out. Same thread only. */
void wg_stack_enter(struct wg_stack *s);
/* From s to the worker; last: s will not be entered again. Aborts when s overflowed. */
void wg_stack_leave(struct wg_stack *s, bool last);
/* First thing on a fresh stack. */
void wg_stack_arrived(struct wg_stack *s);

void wg_stack_counts(size_t *ret_stacks, size_t *ret_free);

#endif
#endif
