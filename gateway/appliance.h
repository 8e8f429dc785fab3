/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A running gateway: graphs of its volumes, the NFS and S3 front doors above them, the control
 * socket. "windgate gateway" and "windgate serve" differ only in where their settings come from.
 */
#ifndef WG_APPLIANCE_H
#define WG_APPLIANCE_H

#include "settings.h"

struct wg_appliance_ports {
    uint16_t nfs, mount, http, https; /* in use; 0: not served */
};

struct wg_appliance_run {
    const char *role;     /* "gateway", "serve" */
    const char *control;  /* NULL: what the settings say */
    /* Settings again, at SIGHUP; NULL when they can't be read (the old ones stay). */
    struct wg_settings *(*again)(void *arg);
    void *arg;
    /* Before the front doors open, with the state directory there; 0 or an errno. May be NULL. */
    int (*prepare)(void *arg, const struct wg_settings *s);
    /* Once everything answers; may be NULL. */
    void (*ready)(void *arg, const struct wg_settings *s, const struct wg_appliance_ports *p);
};

/* Runs until a signal ends it; takes over s. Returns the exit status. Main thread, once. */
int wg_appliance_run(struct wg_settings *s, const struct wg_appliance_run *run);

/* The same for a brick server. */
int wg_brick_run(struct wg_settings *s, const struct wg_appliance_run *run);

#endif
