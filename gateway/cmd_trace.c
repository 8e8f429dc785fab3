/* SPDX-License-Identifier: Apache-2.0 */
/* windgate trace: the lines that debug/trace keeps in memory. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd_control.h"

enum { TRACES_MAX = 16 };

/* How far each translator's lines have been shown. */
struct shown {
    char name[128];
    double last;
};

static double *last_of(struct shown *s, const char *name)
{
    for (int i = 0; i < TRACES_MAX; i++) {
        if (!s[i].name[0])
            snprintf(s[i].name, sizeof s[i].name, "%s", name);
        if (strcmp(s[i].name, name) == 0)
            return &s[i].last;
    }
    return NULL;
}

static void show(const cJSON *answer, struct shown *s)
{
    const cJSON *t, *l;

    cJSON_ArrayForEach(t, cJSON_GetObjectItemCaseSensitive(answer, "traces")) {
        const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(t, "xlator"));
        double *last = name ? last_of(s, name) : NULL;

        cJSON_ArrayForEach(l, cJSON_GetObjectItemCaseSensitive(t, "lines")) {
            const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(l, "line"));
            double n = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(l, "n"));

            if (!text || (last && n <= *last))
                continue;
            puts(text);
            if (last)
                *last = n;
        }
    }
    fflush(stdout);
}

static cJSON *ask(const struct wg_args *args, int64_t max, const struct shown *s)
{
    cJSON *more = cJSON_CreateObject();
    double after = -1;

    /* With several rings, from the one that was read least: the others' lines are told apart by number. */
    for (int i = 0; s && i < TRACES_MAX && s[i].name[0]; i++)
        if (after < 0 || s[i].last < after)
            after = s[i].last;
    if (wg_arg(args, "name"))
        cJSON_AddStringToObject(more, "xlator", wg_arg(args, "name"));
    if (after >= 0)
        cJSON_AddNumberToObject(more, "after", after);
    cJSON_AddNumberToObject(more, "max", (double)max);
    return wg_ask(args, "trace", more);
}

static int run(const struct wg_args *args)
{
    struct shown shown[TRACES_MAX] = { 0 };
    bool follow = wg_arg_given(args, "follow"), first = true;
    int64_t lines;
    cJSON *answer;

    if (wg_arg_int(args, "lines", 1, 2000, &lines))
        return WG_EXIT_USAGE;
    do {
        if (!first)
            usleep(500000);
        answer = ask(args, first ? lines : 2000, first ? NULL : shown);
        if (!answer)
            return WG_EXIT_FAILED;
        if (wg_arg_given(args, "json") && !follow) {
            char *text = cJSON_Print(cJSON_GetObjectItemCaseSensitive(answer, "traces"));

            puts(text ? text : "null");
            cJSON_free(text);
        } else {
            show(answer, shown);
        }
        cJSON_Delete(answer);
        first = false;
    } while (follow);
    return WG_EXIT_OK;
}

static const struct wg_cmd_option options[] = {
    WG_CONTROL_OPTION,
    { "name", "XLATOR", NULL, "Only this translator of type debug/trace." },
    { "lines", "N", "100", "The newest N lines of each." },
    { "follow", NULL, NULL, "Goes on with new lines until interrupted." },
    { "json", NULL, NULL, "JSON instead of text." },
    WG_TIMEOUT_OPTION,
    { NULL }
};

const struct wg_command wg_cmd_trace = {
    .name = "trace", .operands = "", .options = options, .run = run,
    .help = "Prints the fops that translators of type debug/trace have noted.",
    .about = "Each line has the time of the answer, the translator, call, client, uid, fop, path as far as "
             "it is known, result, duration, arguments and results. What is noted, and whether, is set by "
             "the translator's options (fops, client, path, errors, slower-than), also on a running graph.",
};
