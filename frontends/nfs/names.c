/* SPDX-License-Identifier: Apache-2.0 */
#include <isa-l/crc64.h>
#include <stdatomic.h>

#include "call.h"
#include "names.h"

enum { SLOTS = 1 << 14, KEEP_S = 3 };

/*
 * A slot is read and written word by word. check is the other words combined, so what two
 * threads mixed up is taken for empty.
 */
static struct slot {
    _Atomic uint64_t check, g0, g1, second;
} slots[SLOTS];

static uint64_t key_of(wg_gfid dir, struct wg_str name)
{
    uint64_t k = crc64_ecma_refl(~0ull, dir.b, sizeof dir.b);

    return crc64_ecma_refl(k, (const unsigned char *)name.s, name.len);
}

static uint64_t now_s(void)
{
    return wg_now_coarse_ns() / 1000000000u + 1;
}

static void store(uint64_t key, uint64_t g0, uint64_t g1, uint64_t second)
{
    struct slot *s = &slots[key % SLOTS];

    atomic_store_explicit(&s->g0, g0, memory_order_relaxed);
    atomic_store_explicit(&s->g1, g1, memory_order_relaxed);
    atomic_store_explicit(&s->second, second, memory_order_relaxed);
    atomic_store_explicit(&s->check, key ^ g0 ^ g1 ^ second, memory_order_relaxed);
}

void nfs_names_put(wg_gfid dir, struct wg_str name, wg_gfid g)
{
    uint64_t w[2];

    if (wg_gfid_is_zero(g))
        return;
    memcpy(w, g.b, sizeof w);
    store(key_of(dir, name), w[0], w[1], now_s());
}

void nfs_names_forget(wg_gfid dir, struct wg_str name)
{
    store(key_of(dir, name), 0, 0, 0);
}

bool nfs_names_get(wg_gfid dir, struct wg_str name, wg_gfid *ret)
{
    uint64_t key = key_of(dir, name);
    struct slot *s = &slots[key % SLOTS];
    uint64_t check = atomic_load_explicit(&s->check, memory_order_relaxed);
    uint64_t second = atomic_load_explicit(&s->second, memory_order_relaxed);
    uint64_t w[2] = { atomic_load_explicit(&s->g0, memory_order_relaxed),
                      atomic_load_explicit(&s->g1, memory_order_relaxed) };

    if ((check ^ w[0] ^ w[1] ^ second) != key || second + KEEP_S < now_s())
        return false;
    memcpy(ret->b, w, sizeof w);
    return true;
}
