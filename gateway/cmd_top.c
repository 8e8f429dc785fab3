/* SPDX-License-Identifier: Apache-2.0 */
/* windgate top: the slowest requests of this moment and who holds each. */
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cmd_control.h"

static const char *text(const cJSON *item, const char *name)
{
    const char *s = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, name));

    return s ? s : "";
}

static double number(const cJSON *item, const char *name)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(item, name);

    return cJSON_IsNumber(v) ? v->valuedouble : 0;
}

static bool is_true(const cJSON *item, const char *name)
{
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(item, name));
}

static void duration(double ms, char *buf, size_t size)
{
    if (ms < 1000)
        snprintf(buf, size, "%.1fms", ms);
    else if (ms < 600000)
        snprintf(buf, size, "%.1fs", ms / 1000);
    else
        snprintf(buf, size, "%.0fmin", ms / 60000);
}

static void print_brick(const cJSON *brick)
{
    printf("; brick %s at %s is %s, the call %s", text(brick, "name"), text(brick, "address"),
           is_true(brick, "out_of_service") ? "out of service"
           : is_true(brick, "reachable") ? "reachable" : "NOT REACHABLE", text(brick, "state"));
    if (cJSON_HasObjectItem(brick, "sent_ms_ago")) {
        char age[32];

        duration(number(brick, "sent_ms_ago"), age, sizeof age);
        printf(" %s ago on lane %.0f", age, number(brick, "lane"));
    }
}

static void print_holder(const cJSON *r)
{
    const cJSON *held = cJSON_GetObjectItemCaseSensitive(r, "held_by");
    const cJSON *brick = cJSON_GetObjectItemCaseSensitive(held, "brick");
    const cJSON *co = cJSON_GetObjectItemCaseSensitive(r, "coroutine");
    char age[32];

    if (text(held, "xlator")[0]) {
        duration(number(held, "ms"), age, sizeof age);
        printf("%s (%s) has %s for %s", text(held, "xlator"), text(held, "type"), text(held, "fop"), age);
        if (number(held, "others") > 0)
            printf(", and %.0f more", number(held, "others"));
        if (brick)
            print_brick(brick);
    } else if (co) {
        printf("coroutine %s, %s%s%s", text(co, "name"), text(co, "state"),
               text(co, "waits_for")[0] ? " for " : "", text(co, "waits_for"));
    } else {
        printf("the client (its data, or taking the answer)");
    }
    putchar('\n');
}

static void print_row(const cJSON *r)
{
    char age[32], what[400];
    const char *share = text(r, "share"), *object = text(r, "object"), *target = text(r, "target");

    duration(number(r, "age_ms"), age, sizeof age);
    if (*share && *object)
        snprintf(what, sizeof what, "%s/%s", share, object);
    else
        snprintf(what, sizeof what, "%s%s%s", share, *share && *target ? " " : "", target);
    printf("%8s  %-8.0f %-6s %-22s %-22s %-12s %s\n", age, number(r, "id"), text(r, "door"), text(r, "operation"),
           text(r, "client"), text(r, "user"), what);
    printf("%8s  held by ", "");
    print_holder(r);
}

static void print(const cJSON *answer)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(answer, "requests"), *r;
    time_t now = time(NULL);
    struct tm tm;
    char clock[16];

    localtime_r(&now, &tm);
    strftime(clock, sizeof clock, "%H:%M:%S", &tm);
    printf("%s  %.0f requests under way\n", clock, number(answer, "live"));
    if (cJSON_GetArraySize(list) > 0)
        printf("%8s  %-8s %-6s %-22s %-22s %-12s %s\n", "AGE", "ID", "DOOR", "OPERATION", "CLIENT", "USER", "WHAT");
    cJSON_ArrayForEach(r, list)
        print_row(r);
    fflush(stdout);
}

static int run(const struct wg_args *args)
{
    bool once = wg_arg_given(args, "once") || wg_arg_given(args, "json") || !isatty(STDOUT_FILENO);
    int64_t seconds, max;

    if (wg_arg_int(args, "interval", 1, 3600, &seconds) || wg_arg_int(args, "requests", 1, 10000, &max))
        return WG_EXIT_USAGE;
    for (;;) {
        cJSON *more = cJSON_CreateObject(), *answer;

        cJSON_AddNumberToObject(more, "max", (double)max);
        answer = wg_ask(args, "top", more);
        if (!answer)
            return WG_EXIT_FAILED;
        if (!once)
            fputs("\033[H\033[2J", stdout); /* home, and an empty screen */
        if (wg_arg_given(args, "json"))
            wg_print_answer(answer);
        else
            print(answer);
        cJSON_Delete(answer);
        if (once)
            return WG_EXIT_OK;
        sleep((unsigned)seconds);
    }
}

static const struct wg_cmd_option options[] = {
    WG_CONTROL_OPTION,
    { "once", NULL, NULL, "Prints once and ends; so it does when the output is no terminal." },
    { "interval", "SECONDS", "2", "How often it looks anew." },
    { "requests", "N", "20", "How many of the oldest requests it shows." },
    { "json", NULL, NULL, "JSON instead of text, once." },
    WG_TIMEOUT_OPTION,
    { NULL }
};

const struct wg_command wg_cmd_top = {
    .name = "top", .operands = "", .options = options, .run = run,
    .help = "Shows the slowest requests under way, and which translator or brick holds each.",
    .about = "A request is held by the deepest of its frames that has not ended. When that is a connection "
             "to a brick, it says whether the brick is reachable and on which lane the call was sent; "
             "when there is no such frame, what the request's coroutine waits for, or that it is the client's turn.",
};
