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
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

/*
 * A guard page for each stack would split the mapping and meet the kernel's limit of maps at
 * some 32,000 stacks. So stacks are cut from slabs with one guard page below each slab, and
 * each stack has a word at its end that is checked at every switch.
 */
#define SLAB_STACKS 64
#define GUARD 4096
#define SHALLOW (32u << 10) /* pages of a pooled stack that are not given back */
#define MARK 0x57494e4447415445u

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct wg_stack *pool;
static size_t nstacks, nfree;

/* The worker's side of a switch; one coroutine runs on a thread at a time. */
static __thread ucontext_t home;
static __thread const void *home_base;
static __thread size_t home_size;
static __thread void *home_fiber;

static uint64_t *end_mark(const struct wg_stack *s)
{
    return s->base;
}

static uint64_t *shallow_mark(const struct wg_stack *s)
{
    return (uint64_t *)((char *)s->base + WG_STACK_BYTES - SHALLOW);
}

static int add_slab(void)
{
    char *base = mmap(NULL, GUARD + SLAB_STACKS * (size_t)WG_STACK_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    struct wg_stack *stacks = calloc(SLAB_STACKS, sizeof *stacks);

    if (base == MAP_FAILED || !stacks) {
        free(stacks);
        if (base != MAP_FAILED)
            munmap(base, GUARD + SLAB_STACKS * (size_t)WG_STACK_BYTES);
        return -1;
    }
    mprotect(base, GUARD, PROT_NONE);
    for (int i = 0; i < SLAB_STACKS; i++) {
        struct wg_stack *s = &stacks[i];

        s->base = base + GUARD + (size_t)i * WG_STACK_BYTES;
        s->next = pool;
        pool = s;
    }
    nstacks += SLAB_STACKS;
    nfree += SLAB_STACKS;
    return 0;
}

struct wg_stack *wg_stack_get(void)
{
    struct wg_stack *s = NULL;

    pthread_mutex_lock(&lock);
    if (pool || add_slab() == 0) {
        s = pool;
        pool = s->next;
        nfree--;
    }
    pthread_mutex_unlock(&lock);
    if (!s)
        return NULL;
    *end_mark(s) = MARK;
    *shallow_mark(s) = MARK;
    if (!s->valgrind)
        s->valgrind = 1 + VALGRIND_STACK_REGISTER(s->base, (char *)s->base + WG_STACK_BYTES);
#ifdef __SANITIZE_THREAD__
    if (!s->fiber)
        s->fiber = __tsan_create_fiber(0);
#endif
    return s;
}

void wg_stack_put(struct wg_stack *s)
{
#ifdef __SANITIZE_ADDRESS__
    ASAN_UNPOISON_MEMORY_REGION(s->base, WG_STACK_BYTES);
#endif
    if (*shallow_mark(s) != MARK)
        madvise(s->base, WG_STACK_BYTES - SHALLOW, MADV_DONTNEED);
    pthread_mutex_lock(&lock);
    s->next = pool;
    pool = s;
    nfree++;
    pthread_mutex_unlock(&lock);
}

void wg_stack_prepare(struct wg_stack *s, void (*entry)(void))
{
    getcontext(&s->context);
    s->context.uc_stack.ss_sp = s->base;
    s->context.uc_stack.ss_size = WG_STACK_BYTES;
    s->context.uc_link = NULL;
    s->fake = NULL;
    makecontext(&s->context, entry, 0);
}

void wg_stack_enter(struct wg_stack *s)
{
    void *fake = NULL;

#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&fake, s->base, WG_STACK_BYTES);
#endif
#ifdef __SANITIZE_THREAD__
    home_fiber = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(s->fiber, 0);
#endif
    swapcontext(&home, &s->context);
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
    if (*end_mark(s) != MARK) {
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
    swapcontext(&s->context, &home);
    wg_stack_arrived(s);
}

void wg_stack_counts(size_t *ret_stacks, size_t *ret_free)
{
    pthread_mutex_lock(&lock);
    *ret_stacks = nstacks;
    *ret_free = nfree;
    pthread_mutex_unlock(&lock);
}
