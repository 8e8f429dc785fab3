/* SPDX-License-Identifier: Apache-2.0 */
/* windgate drain: ends a daemon gently. */
#include "cmd_control.h"

static int run(const struct wg_args *args)
{
    cJSON *answer = wg_ask(args, "drain", NULL);

    cJSON_Delete(answer);
    return answer ? WG_EXIT_OK : WG_EXIT_FAILED;
}

static const struct wg_cmd_option options[] = {
    WG_CONTROL_OPTION,
    WG_TIMEOUT_OPTION,
    { NULL }
};

const struct wg_command wg_cmd_drain = {
    .name = "drain", .operands = "", .options = options, .run = run,
    .help = "Makes a running daemon finish its requests and stop.",
    .about = "The same as SIGTERM: no new connections, requests under way end, then the daemon stops.",
};
