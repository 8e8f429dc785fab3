/* SPDX-License-Identifier: Apache-2.0 */
/* Stacks and switches of coroutines, with what the sanitizers and Valgrind must be told. */
#ifndef WG_CO_STACK_H
#define WG_CO_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <ucontext.h>

#define WG_STACK_BYTES (256u << 10)

/* One stack and the machine context that is saved when its owner is switched out. */
struct wg_stack {
    struct wg_stack *next; /* the pool's */
    void *base;            /* the lowest address */
    ucontext_t context;
    void *fake;            /* AddressSanitizer's */
    void *fiber;           /* ThreadSanitizer's; kept with the stack, since there are few */
    unsigned valgrind;
};

/* A stack from the pool, or a new slab; NULL when memory is out. Any thread. */
struct wg_stack *wg_stack_get(void);
/* Gives it back; pages touched below the first 32 KiB go back to the kernel. */
void wg_stack_put(struct wg_stack *s);
/* Prepares s so that the next switch to it runs entry(). */
void wg_stack_prepare(struct wg_stack *s, void (*entry)(void));
/* From the worker's own stack into s, and back when s switches out. Same thread only. */
void wg_stack_enter(struct wg_stack *s);
/* From s to the worker; last: s will not be entered again. Aborts when s overflowed. */
void wg_stack_leave(struct wg_stack *s, bool last);
/* First thing on a fresh stack. */
void wg_stack_arrived(struct wg_stack *s);

void wg_stack_counts(size_t *ret_stacks, size_t *ret_free);

#endif
