/* SPDX-License-Identifier: Apache-2.0 */
/* A graph as the text of a volfile, as it is or with one edit: what the commands on running graphs are made of. */
#ifndef WG_EDIT_H
#define WG_EDIT_H

#include "graph.h"

struct wg_edit_option {
    const char *name, *value;
};

struct wg_edit {
    enum { WG_EDIT_NOTHING, WG_EDIT_SET, WG_EDIT_INSERT, WG_EDIT_REMOVE } what;
    const char *name;           /* of the translator; insert: of the new one, NULL: made from the type */
    const char *type;           /* insert */
    const char *above, *below;  /* insert: beside which; neither: on top, but below a door */
    const struct wg_edit_option *options; /* set, insert */
    unsigned noptions;
};

/*
 * The volfile of g after the edit e (may be NULL). Allocated. NULL: can't be done, why says in one line why.
 * Types and options are checked when the text is parsed.
 */
char *wg_edit_text(const struct wg_graph *g, const struct wg_edit *e, char *why, size_t size);

#endif
