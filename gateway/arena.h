/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arena: the memory of one call. Everything comes from it and goes with it; nothing is freed
 * on error paths. The release list runs when the arena ends, last registered first.
 * Allocation is safe from several threads at once (a fan-out's completions).
 */
#ifndef WG_ARENA_H
#define WG_ARENA_H

#include <stdatomic.h>
#include <stddef.h>

#include "types.h"

struct wg_release {
    void (*fn)(void *arg);
    void *arg;
    struct wg_release *next;
};

struct wg_arena {
    atomic_flag lock;
    char *at, *end;
    struct wg_block *blocks; /* newest first; beyond the owner's first memory */
    struct wg_release *releases;
    size_t bytes;
};

/* Zeroed, aligned to 16. NULL when memory is out (callers answer ENOMEM). */
void *wg_alloc(struct wg_arena *a, size_t size);
/*
 * For the core, which links a frame into its call under the same short hold: spins, so nothing that may block
 * is done between the two.
 */
void wg_arena_lock(struct wg_arena *a);
void *wg_alloc_locked(struct wg_arena *a, size_t size);
void wg_arena_unlock(struct wg_arena *a);
/* Copies len bytes and adds a NUL after them. */
char *wg_memdup(struct wg_arena *a, const void *p, size_t len);
int wg_strdup(struct wg_arena *a, struct wg_str from, struct wg_str *ret);
char *wg_printf(struct wg_arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Registers fn(arg) for the arena's end. On ENOMEM it runs fn(arg) at once and returns ENOMEM. */
int wg_on_release(struct wg_arena *a, void (*fn)(void *), void *arg);
/* Hands the caller's reference of buf to the arena. The same error rule. */
int wg_keep_iobuf(struct wg_arena *a, struct wg_iobuf *buf);

/*
 * first: memory of the arena's owner used before any block is allocated (NULL, 0: none); it must
 * be aligned to 16 and outlive the arena.
 */
void wg_arena_init(struct wg_arena *a, void *first, size_t size);
/* Runs the releases, frees the blocks. The arena may be initialised again. */
void wg_arena_fini(struct wg_arena *a);

#define WG_NEW(arena, type) ((type *)wg_alloc((arena), sizeof(type)))

#endif
