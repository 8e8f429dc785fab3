/* SPDX-License-Identifier: Apache-2.0 */
/* Volfiles from settings: users write windgate.conf, never a volfile. */
#ifndef WG_VOLGEN_H
#define WG_VOLGEN_H

#include <stdint.h>

#include "settings.h"

struct wg_graph;

/* The graph of a volume in a gateway, and of the brick in a brick server. Allocated; NULL: ENOMEM. */
char *wg_volgen_volume(const struct wg_settings *s, const struct wg_set_volume *v);
char *wg_volgen_brick(const struct wg_settings *s);

/*
 * The volume's id: the UUID given, or one made from the name, so that gateways and bricks agree
 * without asking each other. 0, or EINVAL when text is no UUID.
 */
int wg_volgen_id(const char *name, const char *uuid, uint8_t ret[16]);

/* Generates and parses; errors go to err. NULL after an error. */
struct wg_graph *wg_volgen_graph(const struct wg_settings *s, const struct wg_set_volume *v,
                                 wg_set_error *err, void *arg);
struct wg_graph *wg_volgen_brick_graph(const struct wg_settings *s, wg_set_error *err, void *arg);

#endif
