/* SPDX-License-Identifier: Apache-2.0 */
/* windgate graph show, set, insert, remove, load: the graphs of a running daemon. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cmd_control.h"

#define FILE_MAX (48 * 1024) /* a request to the control socket has at most 64 KiB */

/* Sends it and prints the answer: as JSON, or the line done. */
static int send_and_print(const struct wg_args *args, cJSON *request, const char *done)
{
    cJSON *answer = wg_ask(args, "graph", request);

    if (!answer)
        return WG_EXIT_FAILED;
    if (wg_arg_given(args, "json"))
        wg_print_answer(answer);
    else if (done)
        printf("%s\n", done);
    cJSON_Delete(answer);
    return WG_EXIT_OK;
}

static cJSON *request_of(const char *action)
{
    cJSON *request = cJSON_CreateObject();

    cJSON_AddStringToObject(request, "action", action);
    return request;
}

/* VOLUME/NAME, or NAME alone where the daemon has one volume. */
static void add_target(cJSON *request, const char *target)
{
    const char *slash = strchr(target, '/');
    char volume[256];

    if (slash) {
        snprintf(volume, sizeof volume, "%.*s", (int)(slash - target), target);
        cJSON_AddStringToObject(request, "volume", volume);
    }
    cJSON_AddStringToObject(request, "name", slash ? slash + 1 : target);
}

static void add(cJSON *request, const struct wg_args *args, const char *option)
{
    if (wg_arg(args, option))
        cJSON_AddStringToObject(request, option, wg_arg(args, option));
}

/* --- show --- */

static void print_graph(const cJSON *item)
{
    const char *graph = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "graph"));
    const cJSON *volume = cJSON_GetObjectItemCaseSensitive(item, "volume");
    const cJSON *draining = cJSON_GetObjectItemCaseSensitive(item, "draining");
    const cJSON *changes = cJSON_GetObjectItemCaseSensitive(item, "changes");

    printf("# volume %s, changed %.0f times; %.0f graphs of before have calls under way\n%s",
           cJSON_IsString(volume) ? volume->valuestring : "?", cJSON_IsNumber(changes) ? changes->valuedouble : 0,
           cJSON_IsNumber(draining) ? draining->valuedouble : 0, graph ? graph : "");
}

static int run_show(const struct wg_args *args)
{
    cJSON *request = request_of("show"), *answer, *item;

    if (args->noperands)
        cJSON_AddStringToObject(request, "volume", args->operand[0]);
    if (wg_arg_given(args, "json"))
        return send_and_print(args, request, NULL);
    answer = wg_ask(args, "graph", request);
    if (!answer)
        return WG_EXIT_FAILED;
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(answer, "graphs"))
        print_graph(item);
    cJSON_Delete(answer);
    return WG_EXIT_OK;
}

/* --- changes --- */

static int run_set(const struct wg_args *args)
{
    cJSON *request = request_of("set");

    add_target(request, args->operand[0]);
    cJSON_AddStringToObject(request, "option", args->operand[1]);
    cJSON_AddStringToObject(request, "value", args->operand[2]);
    return send_and_print(args, request, "set");
}

static int run_insert(const struct wg_args *args)
{
    cJSON *request = request_of("insert"), *options = cJSON_AddObjectToObject(request, "options");

    cJSON_AddStringToObject(request, "volume", args->operand[0]);
    cJSON_AddStringToObject(request, "type", args->operand[1]);
    add(request, args, "name");
    add(request, args, "above");
    add(request, args, "below");
    for (unsigned i = 2; i < args->noperands; i++) {
        const char *eq = strchr(args->operand[i], '=');
        char name[128];

        if (!eq || eq == args->operand[i] || eq - args->operand[i] >= (int)sizeof name) {
            cJSON_Delete(request);
            return wg_fail("graph insert: '%s' must be OPTION=VALUE", args->operand[i]);
        }
        snprintf(name, sizeof name, "%.*s", (int)(eq - args->operand[i]), args->operand[i]);
        cJSON_AddStringToObject(options, name, eq + 1);
    }
    return send_and_print(args, request, "inserted");
}

static int run_remove(const struct wg_args *args)
{
    cJSON *request = request_of("remove");

    add_target(request, args->operand[0]);
    return send_and_print(args, request, "removed");
}

static char *read_file(const char *file)
{
    FILE *f = fopen(file, "re");
    char *text = f ? malloc(FILE_MAX + 1) : NULL;
    size_t n = text ? fread(text, 1, FILE_MAX + 1, f) : 0;

    if (!text || ferror(f) || n > FILE_MAX || memchr(text, '\0', n)) {
        wg_fail("%s: %s", file, !text || ferror(f) ? strerror(errno) : n > FILE_MAX ? "larger than 48 KiB"
                                                                                    : "it holds a NUL byte");
        free(text);
        text = NULL;
    } else {
        text[n] = '\0';
    }
    if (f)
        fclose(f);
    return text;
}

static int run_load(const struct wg_args *args)
{
    char *text = read_file(args->operand[1]);
    cJSON *request;

    if (!text)
        return WG_EXIT_FAILED;
    request = request_of("load");
    cJSON_AddStringToObject(request, "volume", args->operand[0]);
    cJSON_AddStringToObject(request, "file", args->operand[1]);
    cJSON_AddStringToObject(request, "text", text);
    free(text);
    return send_and_print(args, request, "loaded");
}

/* --- the commands --- */

#define COMMON_OPTIONS \
    WG_CONTROL_OPTION, { "json", NULL, NULL, "The answer as JSON." }, WG_TIMEOUT_OPTION, { NULL }

#define CALLS_END "Calls under way end in the graph they began in. A change lasts until the daemon stops, or until the " \
                  "configuration gives the volume another graph."

static const struct wg_cmd_option options[] = { COMMON_OPTIONS };

static const struct wg_cmd_option insert_options[] = {
    { "name", "NAME", NULL, "What it is called; without it, the last word of its type." },
    { "above", "NAME", NULL, "Put it directly above this one; without --above and --below it comes on top." },
    { "below", "NAME", NULL, "Put it directly below this one." },
    COMMON_OPTIONS
};

const struct wg_command wg_cmd_graph_show = {
    .name = "graph show", .operands = "[VOLUME]", .max_operands = 1, .options = options, .run = run_show,
    .help = "Prints the graphs of a running daemon, as volfiles.",
};

const struct wg_command wg_cmd_graph_set = {
    .name = "graph set", .operands = "VOLUME/NAME OPTION VALUE", .min_operands = 3, .max_operands = 3,
    .options = options, .run = run_set, .help = "Gives an option of a running translator another value.",
    .about = "VOLUME/ may be left out where there is one. Options that a translator can't change while it runs give it a new "
             "instance beside the old one; where that is impossible (a store's directory, say) the change is "
             "refused. " CALLS_END,
};

const struct wg_command wg_cmd_graph_insert = {
    .name = "graph insert", .operands = "VOLUME TYPE [OPTION=VALUE]...", .min_operands = 2,
    .max_operands = WG_CMD_OPERANDS_MAX, .options = insert_options, .run = run_insert,
    .help = "Puts a translator into a running graph.", .about = CALLS_END,
};

const struct wg_command wg_cmd_graph_remove = {
    .name = "graph remove", .operands = "VOLUME/NAME", .min_operands = 1, .max_operands = 1, .options = options,
    .run = run_remove, .help = "Takes a translator out of a running graph.",
    .about = "VOLUME/ may be left out where there is one. " CALLS_END,
};

const struct wg_command wg_cmd_graph_load = {
    .name = "graph load", .operands = "VOLUME FILE", .min_operands = 2, .max_operands = 2, .options = options,
    .run = run_load, .help = "Replaces a running graph by the one of a volfile.",
    .about = "What has the same name, type, options and subvolumes goes on as it is. \"windgate graph show\" prints a file to "
             "begin with. " CALLS_END,
};
