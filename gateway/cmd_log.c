/* SPDX-License-Identifier: Apache-2.0 */
/* windgate log: levels of a running daemon. */
#include "cmd_control.h"

static int run(const struct wg_args *args)
{
    cJSON *more = cJSON_CreateObject(), *answer;

    cJSON_AddStringToObject(more, "levels", args->operand[0]);
    answer = wg_ask(args, "log", more);
    cJSON_Delete(answer);
    return answer ? WG_EXIT_OK : WG_EXIT_FAILED;
}

static const struct wg_cmd_option options[] = {
    WG_CONTROL_OPTION,
    WG_TIMEOUT_OPTION,
    { NULL }
};

const struct wg_command wg_cmd_log = {
    .name = "log", .operands = "LEVELS", .min_operands = 1, .max_operands = 1, .options = options,
    .run = run,
    .help = "Sets the log levels of a running daemon.",
    .about = "LEVELS is one level for all parts, and others for single parts: "
             "\"info,transport=debug,nfs=trace\". Levels are error, warning, notice, info, debug "
             "and trace. A reload sets what the configuration says again.",
};
