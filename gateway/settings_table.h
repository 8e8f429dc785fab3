/* SPDX-License-Identifier: Apache-2.0 */
/* The shape of the table of settings; settings.c fills it, settings_help.c prints it. */
#ifndef WG_SETTINGS_TABLE_H
#define WG_SETTINGS_TABLE_H

#include "settings.h"

enum wg_set_type {
    WG_SET_STR,  /* const char * */
    WG_SET_WORD, /* the same, one of the words in choices, separated by '|' */
    WG_SET_PATH, /* the same; made absolute */
    WG_SET_STRS, /* struct wg_set_strs: a string, or [ "a", "b" ] */
    WG_SET_PATHS, /* the same; made absolute */
    WG_SET_INT,  /* int64_t */
    WG_SET_MS,   /* int64_t, milliseconds; text with ms, s, m, h, d */
    WG_SET_BOOL, /* bool */
    WG_SET_TUNE, /* struct wg_set_tunes */
    WG_SET_LAYERS, /* struct wg_set_layers */
};

struct wg_set_row {
    const char *name;
    enum wg_set_type type;
    size_t at;           /* offset in the section's struct */
    int64_t min, max;
    const char *value;   /* the default as text; NULL: none (see must) */
    bool must;           /* an entry without it is an error */
    const char *help;    /* one sentence with the unit */
    const char *choices;
    /* Of a text, or each of a list: NULL when it will do, else what it must be. */
    const char *(*wants)(const char *text);
};

const char *wg_set_wants_endpoint(const char *text); /* host:port */
const char *wg_set_wants_address(const char *text);  /* numeric, without port */
const char *wg_set_wants_host(const char *text);     /* the same, or localhost, or in brackets */
const char *wg_set_wants_clients(const char *text);  /* of an export */
const char *wg_set_wants_levels(const char *text);   /* of the log */
const char *wg_set_wants_uuid(const char *text);
const char *wg_set_wants_absolute(const char *text); /* path */
const char *wg_set_wants_text(const char *text);     /* any but the empty one */

struct wg_set_section {
    const char *name;    /* "" for the file's own level */
    bool list;           /* ( { ... }, { ... } ) */
    size_t at, size;     /* in struct wg_settings; of an item */
    const struct wg_set_row *rows;
    const char *help;
};

extern const struct wg_set_section wg_set_sections[];

#endif
