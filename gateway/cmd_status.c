/* SPDX-License-Identifier: Apache-2.0 */
/* windgate status: what a daemon serves, and how it is. */
#include <inttypes.h>
#include <string.h>

#include "cmd_control.h"

static void print(const cJSON *item, int depth);

static void print_value(const cJSON *v)
{
    if (cJSON_IsString(v))
        printf("%s\n", v->valuestring);
    else if (cJSON_IsNumber(v))
        printf("%.0f\n", v->valuedouble);
    else
        printf("%s\n", cJSON_IsTrue(v) ? "yes" : cJSON_IsFalse(v) ? "no" : "-");
}

/* An object's members, a line each; groups are indented. */
static void print(const cJSON *item, int depth)
{
    const cJSON *c;

    cJSON_ArrayForEach(c, item) {
        if (c->string && strcmp(c->string, "ok") == 0 && depth == 0)
            continue;
        const char *name = c->string ? c->string : "-";

        if (cJSON_IsArray(c) || cJSON_IsObject(c)) {
            printf("%*s%s\n", depth * 2, "", name);
            print(c, depth + 1);
        } else {
            printf("%*s%-*s ", depth * 2, "", c->string ? 16 - depth * 2 : 1, name);
            print_value(c);
        }
    }
}

static int run(const struct wg_args *args)
{
    cJSON *answer = wg_ask(args, "status", NULL);

    if (!answer)
        return WG_EXIT_FAILED;
    if (wg_arg_given(args, "json"))
        wg_print_answer(answer);
    else
        print(answer, 0);
    cJSON_Delete(answer);
    return WG_EXIT_OK;
}

static const struct wg_cmd_option options[] = {
    WG_CONTROL_OPTION,
    { "json", NULL, NULL, "JSON instead of text." },
    WG_TIMEOUT_OPTION,
    { NULL }
};

const struct wg_command wg_cmd_status = {
    .name = "status", .operands = "", .options = options, .run = run,
    .help = "Says what a running daemon serves and how it is.",
};
