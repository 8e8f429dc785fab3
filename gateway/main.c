/* SPDX-License-Identifier: Apache-2.0 */
/* The windgate program: finds the command in the table and runs it. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "options.h"
#include "settings.h"

const struct wg_command *const wg_commands[] = {
    &wg_cmd_gateway,
    &wg_cmd_brick,
    &wg_cmd_serve,
    &wg_cmd_status,
    &wg_cmd_statedump,
    &wg_cmd_top,
    &wg_cmd_trace,
    &wg_cmd_profile,
    &wg_cmd_log,
    &wg_cmd_drain,
    &wg_cmd_graph_show, /* two words come before the one they begin with */
    &wg_cmd_graph_set,
    &wg_cmd_graph_insert,
    &wg_cmd_graph_remove,
    &wg_cmd_graph_load,
    &wg_cmd_graph,
    &wg_cmd_check_config,
    &wg_cmd_user_add,
    &wg_cmd_user_list,
    &wg_cmd_user_remove,
    &wg_cmd_key_add,
    &wg_cmd_key_remove,
    &wg_cmd_certs_ca,
    &wg_cmd_certs_node,
    &wg_cmd_certs_revoke,
    &wg_cmd_certs_show,
    NULL,
};

/* The command that argv names; *ret_words is how many of them it took. */
static const struct wg_command *find(int argc, char **argv, int *ret_words)
{
    char two[64];

    snprintf(two, sizeof two, "%s %s", argv[0], argc > 1 ? argv[1] : "");
    for (const struct wg_command *const *c = wg_commands; *c; c++) {
        *ret_words = strchr((*c)->name, ' ') ? 2 : 1;
        if (strcmp((*c)->name, *ret_words == 2 ? two : argv[0]) == 0)
            return *c;
    }
    return NULL;
}

/* "windgate user": the commands that begin with that word. 0 when there are none. */
static int list_family(const char *word, FILE *out)
{
    size_t len = strlen(word);
    int n = 0;

    for (const struct wg_command *const *c = wg_commands; *c; c++)
        if (strncmp((*c)->name, word, len) == 0 && (*c)->name[len] == ' ')
            fprintf(out, "%s  windgate %s%s%s\n        %s\n", n++ ? "" : "commands:\n", (*c)->name,
                    *(*c)->operands ? " " : "", (*c)->operands, (*c)->help);
    return n;
}

static int unknown(int argc, char **argv)
{
    struct wg_nearest n = { 0 };
    char two[64];

    if (argc == 1 || argv[1][0] == '-')
        if (list_family(argv[0], argc > 1 && strcmp(argv[1], "--help") == 0 ? stdout : stderr))
            return argc > 1 && strcmp(argv[1], "--help") == 0 ? WG_EXIT_OK : WG_EXIT_USAGE;
    snprintf(two, sizeof two, "%s %s", argv[0], argc > 1 ? argv[1] : "");
    n = (struct wg_nearest){ .word = argv[0] };
    for (const struct wg_command *const *c = wg_commands; *c; c++)
        wg_nearest(&n, (*c)->name);
    if (!n.best && argc > 1) {
        n = (struct wg_nearest){ .word = two };
        for (const struct wg_command *const *c = wg_commands; *c; c++)
            wg_nearest(&n, (*c)->name);
    }
    fprintf(stderr, "windgate: unknown command '%s'%s; see windgate --help\n",
            argc > 1 && argv[1][0] != '-' && n.best && strchr(n.best, ' ') ? two : argv[0],
            wg_nearest_hint(&n));
    return WG_EXIT_USAGE;
}

static int help(int argc, char **argv)
{
    const struct wg_command *c;
    int words;

    if (argc == 0 || strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "help") == 0) {
        wg_commands_help(stdout);
        return WG_EXIT_OK;
    }
    if (strcmp(argv[0], "--man") == 0) {
        wg_commands_man(stdout);
        wg_settings_man(stdout);
        return WG_EXIT_OK;
    }
    if (strcmp(argv[0], "--settings") == 0) {
        wg_settings_help(stdout);
        return WG_EXIT_OK;
    }
    c = find(argc, argv, &words);
    if (!c)
        return list_family(argv[0], stdout) ? WG_EXIT_OK : unknown(argc, argv);
    wg_command_help(c, stdout);
    return WG_EXIT_OK;
}

int main(int argc, char **argv)
{
    const struct wg_command *c;
    struct wg_args args;
    int words, err;

    if (argc < 2) {
        wg_commands_help(stderr);
        return WG_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts(PACKAGE_STRING);
        return WG_EXIT_OK;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return help(0, NULL);
    if (strcmp(argv[1], "help") == 0)
        return help(argc - 2, argv + 2);
    c = find(argc - 1, argv + 1, &words);
    if (!c)
        return unknown(argc - 1, argv + 1);
    err = wg_args_parse(c, argc - 1 - words, argv + 1 + words, &args);
    if (err)
        return err < 0 ? WG_EXIT_OK : err;
    return c->run(&args);
}
