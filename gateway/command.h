/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands of the windgate program. A command is one row: its names, its options, its help and
 * its function. The parser, --help and the manual are made from the rows, so they can't disagree.
 */
#ifndef WG_COMMAND_H
#define WG_COMMAND_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { WG_CMD_OPTIONS_MAX = 32, WG_CMD_OPERANDS_MAX = 24, WG_CMD_REPEAT_MAX = 16 };

/* Exit statuses, as other daemons and sysexits.h have them. */
enum { WG_EXIT_OK = 0, WG_EXIT_FAILED = 1, WG_EXIT_USAGE = 2 };

struct wg_cmd_option {
    const char *name;  /* "listen": given as --listen VALUE or --listen=VALUE */
    const char *arg;   /* what the value is called in the help; NULL: a flag */
    const char *value; /* the default, as text; NULL: none */
    const char *help;  /* one sentence, with the unit */
};

struct wg_args {
    const struct wg_command *command;
    const char *value[WG_CMD_OPTIONS_MAX][WG_CMD_REPEAT_MAX]; /* by row; given order */
    unsigned count[WG_CMD_OPTIONS_MAX];
    const char *operand[WG_CMD_OPERANDS_MAX];
    unsigned noperands;
};

struct wg_command {
    const char *name;     /* one or two words: "brick", "user add" */
    const char *operands; /* "DIR", or "" */
    unsigned min_operands, max_operands;
    const char *help;     /* one line */
    const char *about;    /* paragraphs of its --help and the manual; may be NULL */
    const struct wg_cmd_option *options; /* ends with a NULL name; may be NULL */
    int (*run)(const struct wg_args *args); /* returns the exit status */
};

/* All commands, ending with a NULL name (main.c). */
extern const struct wg_command *const wg_commands[];

/*
 * Reads argv (after the command's own words). 0; or WG_EXIT_USAGE after one line on stderr; or
 * -1 when --help was asked for and printed.
 */
int wg_args_parse(const struct wg_command *c, int argc, char **argv, struct wg_args *ret);

/* Option values. The name must be in the command's table. NULL when not given and no default. */
const char *wg_arg(const struct wg_args *a, const char *name);
bool wg_arg_given(const struct wg_args *a, const char *name);
/* The i-th value of an option that may be repeated, or NULL. */
const char *wg_arg_nth(const struct wg_args *a, const char *name, unsigned i);
/* A whole number within bounds, into *ret; else EINVAL after one line on stderr. */
int wg_arg_int(const struct wg_args *a, const char *name, int64_t min, int64_t max, int64_t *ret);

#define WG_CONFIG_OPTION \
    { "config", "FILE", WG_SYSCONFDIR "/windgate/windgate.conf", "Configuration file." }

/* Translators above those that are always there, given as on a line of the configuration. */
#define WG_LAYER_OPTION \
    { "layer", "LAYER", NULL, "Translator to add, as [NAME=]TYPE[:OPTION=VALUE,...], such as debug/trace or " \
      "nlc=performance/nl-cache:ttl=5s; may be repeated, top first." }, \
    { "module-path", "DIR", NULL, "Directory of translators that are no part of the program, CATEGORY/NAME.so in it; " \
      "may be repeated." }
/* Writes the values of --layer as the setting layers; nothing when there are none. 0, or an errno after a message. */
int wg_arg_layers(const struct wg_args *a, FILE *f);
/* The same of --module-path; at the file's own level. */
void wg_arg_module_path(const struct wg_args *a, FILE *f);

/* The help of one command, and the list of all. */
void wg_command_help(const struct wg_command *c, FILE *out);
void wg_commands_help(FILE *out);
/* The manual page (roff), made from the tables: "windgate help --man". */
void wg_commands_man(FILE *out);

/* "windgate: " and a line on stderr; returns WG_EXIT_FAILED. */
int wg_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

extern const struct wg_command wg_cmd_gateway, wg_cmd_brick, wg_cmd_serve, wg_cmd_status,
    wg_cmd_statedump, wg_cmd_top, wg_cmd_trace, wg_cmd_profile, wg_cmd_log, wg_cmd_drain, wg_cmd_graph, wg_cmd_graph_show, wg_cmd_graph_set,
    wg_cmd_graph_insert, wg_cmd_graph_remove, wg_cmd_graph_load, wg_cmd_check_config,
    wg_cmd_user_add, wg_cmd_user_list, wg_cmd_user_remove, wg_cmd_key_add, wg_cmd_key_remove, wg_cmd_certs_ca, wg_cmd_certs_node,
    wg_cmd_certs_revoke, wg_cmd_certs_show;

#endif
