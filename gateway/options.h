/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of options: what an xlator's volfile block and the configuration file share. */
#ifndef WG_OPTIONS_H
#define WG_OPTIONS_H

#include "xlator.h"

/* An option's value in an xlator: as given, or the default. */
struct wg_kv {
    const struct wg_option *option;
    char *text;
    int64_t number; /* INT; SIZE in bytes; TIME in ms; BOOL 0 or 1 */
    bool given;
    struct wg_kv *next;
    struct wg_past *past; /* texts of before: who read one keeps it as long as the xlator */
};

/*
 * Gives an option of a running xlator another value; text was checked with wg_option_parse, which gave
 * number. One caller at a time; readers need no lock. 0 or ENOMEM.
 */
int wg_kv_set(struct wg_kv *kv, const char *text, int64_t number, bool given);
struct wg_kv *wg_kv_find(const struct wg_xlator *xl, const char *name);
void wg_kv_free(struct wg_kv *kv);

const struct wg_option *wg_option_find(const struct wg_option *table, const char *name);
/* 0 and the number (0 for STR and PATH); EINVAL: not of the type; ERANGE: outside the bounds. */
int wg_option_parse(const struct wg_option *o, const char *text, int64_t *ret);
/* "a size in bytes (K, M, G, T may follow)", with the bounds; returns buf. For messages. */
const char *wg_option_expects(const struct wg_option *o, char *buf, size_t size);

/* Finds the candidate nearest to word: set word, call once for each, read best (may be NULL). */
struct wg_nearest {
    const char *word;
    const char *best;
    unsigned distance;
};
void wg_nearest(struct wg_nearest *n, const char *candidate);
/* " (did you mean 'best'?)", or "" when nothing is near enough to say so. Of this thread, until its next call. */
const char *wg_nearest_hint(const struct wg_nearest *n);

#endif
