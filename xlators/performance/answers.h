/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bounded table of answers that a store has promised to call back (gateway/lease.h): what nl-cache
 * and md-cache are made of. An entry is a key, a value, and its grounds: the lease, and what it uses.
 * It is given out only while the lease holds, nothing that it uses has changed, and it is younger than
 * the time to live (which bounds what an edit behind the store's back can do).
 *
 * Any thread. One lock a shard, a leaf, held for a search or a copy.
 */
#ifndef WG_ANSWERS_H
#define WG_ANSWERS_H

#include "lease.h"

struct wg_answers;
struct wg_dump;

/* The key of an answer: kind of question, who asks (permissions differ), the inode, and more bytes. */
struct wg_answer_key {
    uint64_t hash;
    uint32_t len;
    uint8_t bytes[1 + 16 + 16 + WG_KEY_MAX + 1];
};

/*
 * cred NULL: the answer is the same for everybody. more.len beyond the room, which no question of a
 * client's has: false, and the answer must not be kept.
 */
bool wg_answer_key(struct wg_answer_key *ret, uint8_t kind, const struct wg_cred *cred, const wg_gfid *gfid,
                   struct wg_str more);

/* "." and "..", which no change is reported under. */
static inline bool wg_is_dots(struct wg_str name)
{
    return wg_str_eq(name, WG_STR(".")) || wg_str_eq(name, WG_STR(".."));
}

/* NULL when memory is out. bytes bounds keys, values and their overhead. */
struct wg_answers *wg_answers_new(uint64_t bytes, uint64_t ttl_ns);
void wg_answers_free(struct wg_answers *a);
/* The bound and the age may change at any time. */
void wg_answers_limit(struct wg_answers *a, uint64_t bytes, uint64_t ttl_ns);

/* Take it before winding what wg_answers_put will keep. */
uint64_t wg_answers_seen(struct wg_answers *a);

/* Looks up; true: the value was copied to ret, which has room for max bytes (longer is a miss). ret_len may be NULL. */
bool wg_answers_get(struct wg_answers *a, const struct wg_answer_key *key, void *ret, uint32_t max,
                    uint32_t *ret_len);

/*
 * Keeps the answer of f, if its store promised anything: f->lease and f->uses are those of the answer.
 * An allocation that fails only means that it is not kept.
 */
void wg_answers_put(struct wg_answers *a, const struct wg_frame *f, uint64_t seen,
                    const struct wg_answer_key *key, const void *value, uint32_t len);

/*
 * The same for a part of the answer that depends on one thing alone (an inode's attributes inside a
 * lookup's answer): kept when that thing is among f->uses.
 */
void wg_answers_put_on(struct wg_answers *a, const struct wg_frame *f, uint64_t seen, const wg_gfid *gfid,
                       struct wg_str name, const struct wg_answer_key *key, const void *value, uint32_t len);

/* For the class's event. */
void wg_answers_event(struct wg_answers *a, const struct wg_event *ev);
/* Forgets everything. */
void wg_answers_clear(struct wg_answers *a);
/* Entries, bytes, hits, misses, outdated, evicted, refused (no promise), as one object. */
void wg_answers_dump(struct wg_answers *a, struct wg_dump *d, const char *name);

#endif
