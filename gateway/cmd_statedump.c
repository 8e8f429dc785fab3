/* SPDX-License-Identifier: Apache-2.0 */
/* windgate statedump: everything a daemon is doing at this moment. */
#include "cmd_control.h"

static int run(const struct wg_args *args)
{
    cJSON *more = cJSON_CreateObject(), *answer;
    const char *text;

    cJSON_AddBoolToObject(more, "json", wg_arg_given(args, "json"));
    if (wg_arg(args, "only"))
        cJSON_AddStringToObject(more, "only", wg_arg(args, "only"));
    answer = wg_ask(args, "statedump", more);
    text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(answer, "dump"));
    if (text)
        fputs(text, stdout);
    cJSON_Delete(answer);
    return text ? WG_EXIT_OK : WG_EXIT_FAILED;
}

static const struct wg_cmd_option options[] = {
    WG_CONTROL_OPTION,
    { "only", "NAME", NULL, "Only this section (calls, queues, coroutines, ...), or the translators of "
      "this name or type." },
    { "json", NULL, NULL, "JSON instead of text." },
    WG_TIMEOUT_OPTION,
    { NULL }
};

const struct wg_command wg_cmd_statedump = {
    .name = "statedump", .operands = "", .options = options, .run = run,
    .help = "Prints every pending call and the state of a running daemon.",
    .about = "Shows each call with its frames (translator, fop, who wound it from which function to "
             "which, for how long), connections, pools, queues and each translator's own state. It "
             "waits for no lock that a call can hold, so it answers while bricks hang.",
};
