/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands that talk to a daemon's control socket share. */
#ifndef WG_CMD_CONTROL_H
#define WG_CMD_CONTROL_H

#include <cjson/cJSON.h>

#include "command.h"

#define WG_CONTROL_DEFAULT "/run/windgate/gateway.sock"

/* The row of the option, the same in each of them. */
#define WG_CONTROL_OPTION                                                                       \
    { "control", "PATH", NULL, "Control socket of the daemon; without it $WG_CONTROL, or "      \
      WG_CONTROL_DEFAULT "." }
#define WG_TIMEOUT_OPTION \
    { "timeout", "SECONDS", "5", "How long to wait for the answer." }

/*
 * Sends {"command": name} with what more holds (may be NULL; freed) and returns the answer when
 * it is "ok"; else NULL after a line on stderr. The caller frees it.
 */
cJSON *wg_ask(const struct wg_args *args, const char *name, cJSON *more);
/* Prints an answer as JSON on stdout, without its "ok", which is taken out of it. */
void wg_print_answer(cJSON *answer);

#endif
