/* SPDX-License-Identifier: Apache-2.0 */
/* windgate profile: where the time goes. */
#include <string.h>

#include "cmd_control.h"

static double number(const cJSON *item, const char *name)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(item, name);

    return cJSON_IsNumber(v) ? v->valuedouble : 0;
}

static const char *text(const cJSON *item, const char *name)
{
    const char *s = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, name));

    return s ? s : "";
}

static void head(const char *what)
{
    printf("\n%-40s %10s %8s %10s %10s %10s %10s\n", what, "calls", "errors", "avg us", "p50 us", "p99 us",
           "max us");
}

static void line(const char *label, const cJSON *s)
{
    printf("%-40s %10.0f %8.0f %10.1f %10.1f %10.1f %10.1f\n", label, number(s, "calls"), number(s, "errors"),
           number(s, "avg_us"), number(s, "p50_us"), number(s, "p99_us"), number(s, "max_us"));
}

static void print_requests(const cJSON *answer, const char *list, const char *key, const char *title)
{
    const cJSON *item, *items = cJSON_GetObjectItemCaseSensitive(answer, list);

    if (cJSON_GetArraySize(items) == 0)
        return;
    head(title);
    cJSON_ArrayForEach(item, items)
        line(text(item, key), item);
}

static void print_xlators(const cJSON *answer)
{
    const cJSON *xl, *fop, *list = cJSON_GetObjectItemCaseSensitive(answer, "xlators");

    if (cJSON_GetArraySize(list) == 0)
        return;
    head("translator, fop");
    cJSON_ArrayForEach(xl, list)
        cJSON_ArrayForEach(fop, cJSON_GetObjectItemCaseSensitive(xl, "fops")) {
            char label[100];

            snprintf(label, sizeof label, "%.60s %.30s", text(xl, "xlator"), text(fop, "fop"));
            line(label, fop);
        }
}

static void print(const cJSON *answer)
{
    bool on = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(answer, "on"));

    printf("profile %s, %.1f s\n", on ? "on" : "off", number(answer, "seconds"));
    print_requests(answer, "operations", "operation", "requests by operation");
    print_requests(answer, "clients", "client", "requests by client");
    print_requests(answer, "shares", "share", "requests by export or bucket");
    print_xlators(answer);
}

static int run(const struct wg_args *args)
{
    const char *action = args->noperands ? args->operand[0] : "show";
    cJSON *more = cJSON_CreateObject(), *answer;

    cJSON_AddStringToObject(more, "action", action);
    cJSON_AddBoolToObject(more, "histograms", wg_arg_given(args, "json"));
    answer = wg_ask(args, "profile", more);
    if (!answer)
        return WG_EXIT_FAILED;
    if (strcmp(action, "show") == 0) {
        if (wg_arg_given(args, "json"))
            wg_print_answer(answer);
        else
            print(answer);
    }
    cJSON_Delete(answer);
    return WG_EXIT_OK;
}

static const struct wg_cmd_option options[] = {
    WG_CONTROL_OPTION,
    { "json", NULL, NULL, "JSON instead of text, with the histograms." },
    WG_TIMEOUT_OPTION,
    { NULL }
};

const struct wg_command wg_cmd_profile = {
    .name = "profile", .operands = "[start|stop|show|reset]", .max_operands = 1, .options = options, .run = run,
    .help = "Measures how long requests and fops take, and shows it.",
    .about = "start begins anew and times every frame (some 50 ns each); stop ends that and keeps the "
             "figures; show, also without a word, prints them; reset forgets them. Requests are shown by "
             "operation, by client and by export or bucket, fops by translator: a translator's time "
             "includes those below it. p50 and p99 are at most an eighth off. Errors count every result "
             "but success, absent names too.",
};
