/* SPDX-License-Identifier: Apache-2.0 */
/* What gateway and brick daemons share: logs, and the commands of the control socket. */
#ifndef WG_PROCESS_H
#define WG_PROCESS_H

#include "control.h"
#include "settings.h"

struct wg_process {
    const char *role;
    /* Adds what is served to the answer of status; may be NULL. */
    void (*status)(struct cJSON *answer, void *arg);
    void *arg;
};

/* Log file and levels as the settings say. 0 or an errno after a message. */
int wg_process_logs(const struct wg_settings *s);
/* Makes a directory of mode 0700 when it is missing. 0 or an errno after a message. */
int wg_process_directory(const char *path);
/* Waits until no call is left, at most ms. 0 or ETIMEDOUT. */
int wg_process_drain(int64_t ms);

/* The control socket with status, statedump, log and drain. p outlives it. */
int wg_process_control(const struct wg_process *p, const char *path);

#endif
