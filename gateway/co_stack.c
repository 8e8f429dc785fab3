/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "co_stack.h"

#ifdef HAVE_VALGRIND_VALGRIND_H
#include <valgrind/valgrind.h>
#else
#define VALGRIND_STACK_REGISTER(a, b) 0
#endif
#ifdef __has_feature /* clang's way to say what gcc says by macros */
#if __has_feature(address_sanitizer) && !defined(__SANITIZE_ADDRESS__)
#define __SANITIZE_ADDRESS__ 1
#endif
#if __has_feature(thread_sanitizer) && !defined(__SANITIZE_THREAD__)
#define __SANITIZE_THREAD__ 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

/*
 * Stacks are cut from slabs. A guard page below each splits the mapping, and the kernel has a
 * limit of maps at 65,530: so the first GUARDED stacks have one, later ones only the lowest of a slab;
 * those are watched by a look at the stack pointer at every switch. Nothing is written to a stack but what
 * its owner pushes: a coroutine that sleeps near its start costs one page.
 */
#define SLAB_STACKS 64
#define GUARD 4096
#define GUARDED 16384
#define WARM 64  /* pooled stacks that keep the pages they have touched */
#define LOW 1024 /* bytes that must be left at a switch */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct wg_stack *warm, *cold; /* pools */
static size_t nstacks, nfree, nwarm;

/* The worker's side of a switch; one coroutine runs on a thread at a time. */
#ifdef WG_SWITCH_OWN
void wg_switch(void **save, void *to);
static __thread void *home;
#define SWITCH(save, to) wg_switch((save), *(to))
#else
static __thread ucontext_t home;
#define SWITCH(save, to) swapcontext((save), (to))
#endif
static __thread const void *home_base;
static __thread size_t home_size;
static __thread void *home_fiber;

static int add_slab(void)
{
    size_t size = SLAB_STACKS * (size_t)WG_STACK_BYTES;
    char *base = mmap(NULL, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    struct wg_stack *stacks = calloc(SLAB_STACKS, sizeof *stacks);

    if (base == MAP_FAILED || !stacks) {
        free(stacks);
        if (base != MAP_FAILED)
            munmap(base, size);
        return -1;
    }
    madvise(base, size, MADV_NOHUGEPAGE);
    for (int i = 0; i < SLAB_STACKS; i++) {
        struct wg_stack *s = &stacks[i];
        char *low = base + (size_t)i * WG_STACK_BYTES;

        if (i == 0 || nstacks < GUARDED)
            mprotect(low, GUARD, PROT_NONE);
        s->base = low + GUARD;
        s->size = WG_STACK_BYTES - GUARD;
        s->next = cold;
        cold = s;
    }
    nstacks += SLAB_STACKS;
    nfree += SLAB_STACKS;
    return 0;
}

static struct wg_stack *take(struct wg_stack **pool)
{
    struct wg_stack *s = *pool;

    if (s) {
        *pool = s->next;
        nfree--;
    }
    return s;
}

struct wg_stack *wg_stack_get(void)
{
    struct wg_stack *s;

    pthread_mutex_lock(&lock);
    s = take(&warm);
    nwarm -= s != NULL;
    if (!s && (cold || add_slab() == 0))
        s = take(&cold);
    pthread_mutex_unlock(&lock);
    if (!s)
        return NULL;
    if (!s->valgrind)
        s->valgrind = 1 + VALGRIND_STACK_REGISTER(s->base, s->base + s->size);
#ifdef __SANITIZE_THREAD__
    if (!s->fiber)
        s->fiber = __tsan_create_fiber(0);
#endif
    return s;
}

void wg_stack_put(struct wg_stack *s)
{
    bool keep;

#ifdef __SANITIZE_ADDRESS__
    ASAN_UNPOISON_MEMORY_REGION(s->base, s->size);
#endif
    pthread_mutex_lock(&lock);
    keep = nwarm < WARM;
    nwarm += keep;
    pthread_mutex_unlock(&lock);
    if (!keep)
        madvise(s->base, s->size, MADV_DONTNEED);
    pthread_mutex_lock(&lock);
    s->next = keep ? warm : cold;
    *(keep ? &warm : &cold) = s;
    nfree++;
    pthread_mutex_unlock(&lock);
}

#ifdef WG_SWITCH_OWN

/* As wg_switch leaves a stack: what it pops, the address it returns to, and one for a debugger to stop at. */
void wg_stack_prepare(struct wg_stack *s, void (*entry)(void))
{
    uint64_t *top = (uint64_t *)((uintptr_t)(s->base + s->size) & ~(uintptr_t)15);

    s->fake = NULL;
#if defined(__x86_64__)
    uint64_t *frame = top - 9;
    uint32_t mxcsr;
    uint16_t fcw;

    __asm__("stmxcsr %0" : "=m"(mxcsr));
    __asm__("fnstcw %0" : "=m"(fcw));
    memset(frame, 0, 9 * sizeof *frame);
    frame[0] = (uint64_t)fcw << 32 | mxcsr;
    frame[7] = (uintptr_t)entry; /* frame[8], entry's return address, lies at 8 modulo 16 as after a call */
#else
    uint64_t *frame = top - 20;

    memset(frame, 0, 20 * sizeof *frame);
    frame[11] = (uintptr_t)entry; /* x30 */
#endif
    s->context = frame;
}

#else

void wg_stack_prepare(struct wg_stack *s, void (*entry)(void))
{
    getcontext(&s->context);
    s->context.uc_stack.ss_sp = s->base;
    s->context.uc_stack.ss_size = s->size;
    s->context.uc_link = NULL;
    s->fake = NULL;
    makecontext(&s->context, entry, 0);
}

#endif

void wg_stack_enter(struct wg_stack *s)
{
    void *fake = NULL;

#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&fake, s->base, s->size);
#endif
#ifdef __SANITIZE_THREAD__
    home_fiber = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(s->fiber, 0);
#endif
    SWITCH(&home, &s->context);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fake, NULL, NULL);
#endif
    (void)fake;
    (void)home_fiber;
}

/* On s's own stack, right after a switch to it. */
void wg_stack_arrived(struct wg_stack *s)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(s->fake, &home_base, &home_size);
#endif
    (void)s;
    (void)home_base;
    (void)home_size;
}

void wg_stack_leave(struct wg_stack *s, bool last)
{
    if ((char *)__builtin_frame_address(0) < s->base + LOW) {
        fprintf(stderr, "windgate: a coroutine overflowed its stack of %u KiB\n", WG_STACK_BYTES >> 10);
        abort();
    }
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(last ? NULL : &s->fake, home_base, home_size);
#endif
#ifdef __SANITIZE_THREAD__
    __tsan_switch_to_fiber(home_fiber, 0);
#endif
    (void)last;
    SWITCH(&s->context, &home);
    wg_stack_arrived(s);
}

void wg_stack_counts(size_t *ret_stacks, size_t *ret_free)
{
    pthread_mutex_lock(&lock);
    *ret_stacks = nstacks;
    *ret_free = nfree;
    pthread_mutex_unlock(&lock);
}
