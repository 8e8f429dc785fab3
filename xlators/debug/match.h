/* SPDX-License-Identifier: Apache-2.0 */
/* Which fops a debug translator acts on: the options that they share. */
#ifndef WG_DEBUG_MATCH_H
#define WG_DEBUG_MATCH_H

#include "xlator.h"
#include "xlators/debug/names.h"

struct wg_match {
    uint64_t ops;       /* a bit each */
    char *client, *path; /* patterns; NULL: any */
};

#define WG_MATCH_OPTIONS                                                                          \
    { "fops", WG_OPT_STR, 0, 0, "any", "Fops to act on, separated by commas or blanks: names as "  \
      "'write', or 'any', 'reads' (those that modify nothing), 'writes' (the others).", true },   \
    { "client", WG_OPT_STR, 0, 0, "*", "Only calls of clients whose address matches this pattern " \
      "of a shell.", true },                                                                      \
    { "path", WG_OPT_STR, 0, 0, "*", "Only fops on what matches this pattern of a shell: a path "   \
      "from the volume's root when it has a '/' ('*' matches '/' too), else a last name. Paths are " \
      "learnt from the lookups, creates and keys that pass while the translator is on; until then " \
      "a fop by gfid matches by the gfid's text only.", true }

/* Reads the three options. 0; EINVAL after a log line; ENOMEM. */
int wg_match_init(struct wg_match *m, const struct wg_xlator *xl);
void wg_match_fini(struct wg_match *m);

static inline bool wg_match_op(const struct wg_match *m, unsigned op)
{
    return m->ops >> op & 1;
}

/* Whether f is meant. names is needed (and asked) only with a path. Any thread. */
bool wg_match_frame(const struct wg_match *m, struct wg_names *names, const struct wg_frame *f);

/* "EIO", "enospc": its errno; 0 when there is none of the name. */
int wg_match_errno(const char *name, size_t len);
/* "25%", "0.1": of a hundred, as a share of 2^32. EINVAL when it is none from 0 to 100. */
int wg_match_percent(const char *text, uint64_t *ret);
/*
 * The first xlator below xl that fops reach has threads of its own, or needs none; false: what goes
 * on after a delay blocks its thread, so it must not be a worker.
 */
bool wg_match_may_block(const struct wg_xlator *xl);

/*
 * The options of such a translator are a set: this, and its own after it. New options make a new set; a frame goes on
 * with the one that it began with, so they all stay until the translator goes.
 */
struct wg_set {
    struct wg_match match;
    bool enabled;
    struct wg_names *names; /* one of all sets; NULL: no path was ever asked for */
    struct wg_set *older;
};

/* First in the translator's own struct, xl->priv. */
struct wg_sets {
    _Atomic(struct wg_set *) now;
};

/*
 * For init and reload: a set of size bytes, zeroed, becomes the one of now. read fills in what is the class's own: 0, or
 * an errno after a log line. learns: it wants names whether a path is given or not. On an error all is as it was.
 */
int wg_sets_put(struct wg_xlator *xl, size_t size, int (*read)(struct wg_set *s, const struct wg_xlator *xl), bool learns);
void wg_sets_free(struct wg_sets *sets);
/* EINVAL, after a log line: the option's value is not what it takes. */
int wg_set_refuse(const struct wg_xlator *xl, const char *option, const char *takes);
/* Passes f on, and learns names from its answer if the set needs them. */
void wg_set_pass(const struct wg_set *s, struct wg_frame *f);

#endif
