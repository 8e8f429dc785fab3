/* SPDX-License-Identifier: Apache-2.0 */
/* What the files that read windgate.conf share; of nobody else. */
#ifndef WG_SETTINGS_READ_H
#define WG_SETTINGS_READ_H

#include <libconfig.h>

#include "arena.h"
#include "settings.h"

/* One reading: where errors go, and how many there were. */
struct wg_set_reader {
    struct wg_settings *s;
    wg_set_error *err;
    void *arg;
    int errors;
    const char *section; /* that is being read, "" for the file's own level */
};

/* One error, as "file:line: what". */
void wg_set_complain(struct wg_set_reader *r, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The memory of the settings; what comes from it goes with them. */
struct wg_arena *wg_set_arena(struct wg_set_reader *r);
/* A copy in it; NULL after an error. */
const char *wg_set_keep(struct wg_set_reader *r, const char *text);
/* Says so; returns NULL. */
void *wg_set_out_of_memory(struct wg_set_reader *r);

/* The settings that name translators (settings_layers.c). */
void wg_set_put_tune(struct wg_set_reader *r, config_setting_t *c, struct wg_set_tunes *ret);
void wg_set_put_layers(struct wg_set_reader *r, config_setting_t *c, struct wg_set_layers *ret);

#endif
