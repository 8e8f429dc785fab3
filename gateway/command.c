/* SPDX-License-Identifier: Apache-2.0 */
#include "command.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"

int wg_fail(const char *fmt, ...)
{
    va_list ap;

    fputs("windgate: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return WG_EXIT_FAILED;
}

static int usage(const struct wg_command *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static int usage(const struct wg_command *c, const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "windgate %s: ", c->name);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "; see windgate %s --help\n", c->name);
    return WG_EXIT_USAGE;
}

static int find_option(const struct wg_command *c, const char *name, size_t len)
{
    for (int i = 0; c->options && c->options[i].name; i++)
        if (strlen(c->options[i].name) == len && memcmp(c->options[i].name, name, len) == 0)
            return i;
    return -1;
}

static int unknown_option(const struct wg_command *c, const char *given)
{
    struct wg_nearest n = { 0 };
    char word[64];

    snprintf(word, sizeof word, "%.*s", (int)strcspn(given, "="), given);
    n = (struct wg_nearest){ .word = word };
    for (int i = 0; c->options && c->options[i].name; i++)
        wg_nearest(&n, c->options[i].name);
    return usage(c, "unknown option --%s%s", word, wg_nearest_hint(&n));
}

/* One option at argv[*at]; *at moves over its value. */
static int take_option(const struct wg_command *c, int argc, char **argv, int *at,
                       struct wg_args *ret)
{
    const char *name = argv[*at] + 2, *eq = strchr(name, '=');
    int row = find_option(c, name, eq ? (size_t)(eq - name) : strlen(name));
    const char *value = eq ? eq + 1 : NULL;

    if (row < 0)
        return unknown_option(c, name);
    if (!c->options[row].arg && value)
        return usage(c, "--%s takes no value", c->options[row].name);
    if (c->options[row].arg && !value) {
        if (*at + 1 >= argc)
            return usage(c, "--%s needs a value (%s)", c->options[row].name, c->options[row].arg);
        value = argv[++*at];
    }
    if (ret->count[row] == WG_CMD_REPEAT_MAX)
        return usage(c, "--%s is given more than %d times", c->options[row].name,
                     WG_CMD_REPEAT_MAX);
    ret->value[row][ret->count[row]++] = value ? value : "yes";
    return 0;
}

int wg_args_parse(const struct wg_command *c, int argc, char **argv, struct wg_args *ret)
{
    bool options = true;

    *ret = (struct wg_args){ .command = c };
    for (int i = 0; i < argc; i++) {
        int err;

        if (options && strcmp(argv[i], "--") == 0) {
            options = false;
            continue;
        }
        if (options && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)) {
            wg_command_help(c, stdout);
            return -1;
        }
        if (options && strncmp(argv[i], "--", 2) == 0) {
            err = take_option(c, argc, argv, &i, ret);
            if (err)
                return err;
            continue;
        }
        if (options && argv[i][0] == '-' && argv[i][1])
            return usage(c, "unknown option %s", argv[i]);
        if (ret->noperands == c->max_operands)
            return usage(c, "'%s' is one argument too many", argv[i]);
        ret->operand[ret->noperands++] = argv[i];
    }
    if (ret->noperands < c->min_operands)
        return usage(c, "%s is missing", c->operands);
    return 0;
}

static int row_of(const struct wg_args *a, const char *name)
{
    int row = find_option(a->command, name, strlen(name));

    assert(row >= 0);
    return row;
}

const char *wg_arg(const struct wg_args *a, const char *name)
{
    int row = row_of(a, name);

    /* The last one given counts, as in most programs. */
    return a->count[row] ? a->value[row][a->count[row] - 1] : a->command->options[row].value;
}

bool wg_arg_given(const struct wg_args *a, const char *name)
{
    return a->count[row_of(a, name)] > 0;
}

const char *wg_arg_nth(const struct wg_args *a, const char *name, unsigned i)
{
    int row = row_of(a, name);

    return i < a->count[row] ? a->value[row][i] : NULL;
}

int wg_arg_int(const struct wg_args *a, const char *name, int64_t min, int64_t max, int64_t *ret)
{
    const char *text = wg_arg(a, name);
    char *end;

    errno = 0;
    *ret = text ? strtoll(text, &end, 10) : 0;
    if (text && *text && !*end && !errno && *ret >= min && *ret <= max)
        return 0;
    usage(a->command, "--%s must be a whole number from %" PRId64 " to %" PRId64 ", not '%s'",
          name, min, max, text ? text : "");
    return EINVAL;
}

/* Text in lines of at most 78 columns, each after indent spaces. */
static void paragraph(FILE *out, int indent, const char *text)
{
    int column = 0;

    while (*text) {
        int word = (int)strcspn(text, " \n");

        if (column == 0 || column + 1 + word > 78) {
            fprintf(out, "%s%*s", column ? "\n" : "", indent, "");
            column = indent;
        } else {
            fputc(' ', out);
            column++;
        }
        fprintf(out, "%.*s", word, text);
        column += word;
        text += word;
        if (*text == '\n') {
            fputc('\n', out);
            column = 0;
            text++;
            if (*text == '\n')
                fputc('\n', out), text++;
        } else if (*text == ' ') {
            text++;
        }
    }
    if (column)
        fputc('\n', out);
}

void wg_command_help(const struct wg_command *c, FILE *out)
{
    fprintf(out, "usage: windgate %s%s%s%s\n\n", c->name, c->options ? " [OPTION]..." : "",
            *c->operands ? " " : "", c->operands);
    paragraph(out, 0, c->help);
    if (c->about) {
        fputc('\n', out);
        paragraph(out, 0, c->about);
    }
    fprintf(out, "\noptions:\n");
    for (const struct wg_cmd_option *o = c->options; o && o->name; o++) {
        char text[512];

        fprintf(out, "  --%s%s%s\n", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
        snprintf(text, sizeof text, "%s%s%s%s", o->help, o->value ? " Default: " : "",
                 o->value ? o->value : "", o->value ? "." : "");
        paragraph(out, 8, text);
    }
    fprintf(out, "  --help\n        Prints this.\n");
}

void wg_commands_help(FILE *out)
{
    fputs("usage: windgate COMMAND [OPTION]... [ARGUMENT]...\n\n"
          "A storage gateway: one namespace, mounted through NFSv3, reached by programs\n"
          "through S3, on a local directory or on bricks reached over TLS.\n\n"
          "commands:\n", out);
    for (const struct wg_command *const *c = wg_commands; *c; c++)
        fprintf(out, "  %-14s %s\n", (*c)->name, (*c)->help);
    fputs("  help COMMAND   The options of a command.\n"
          "  help --settings  Every setting of a configuration file.\n"
          "  help --man     The manual page.\n"
          "\n  --help         Prints this.\n  --version      Prints the version.\n", out);
}

static void man_text(FILE *out, const char *text)
{
    bool line_start = true;

    for (; *text; text++) {
        if (line_start && (*text == '.' || *text == '\''))
            fputs("\\&", out);
        if (*text == '\\' || *text == '-')
            fputc('\\', out);
        line_start = *text == '\n';
        if (line_start && text[1] == '\n') {
            fputs("\n.PP", out);
            continue;
        }
        fputc(*text, out);
    }
    fputc('\n', out);
}

void wg_commands_man(FILE *out)
{
    fputs(".\\\" SPDX-License-Identifier: Apache-2.0\n"
          ".\\\" Made by \"windgate help --man\" from the tables of the program; do not edit.\n"
          ".TH WINDGATE 8\n.SH NAME\nwindgate \\- NFSv3 and S3 storage gateway\n"
          ".SH SYNOPSIS\n.B windgate\n.I COMMAND\n[\\fIOPTION\\fR]... [\\fIARGUMENT\\fR]...\n"
          ".SH COMMANDS\n", out);
    for (const struct wg_command *const *c = wg_commands; *c; c++) {
        fprintf(out, ".SS windgate %s%s%s\n", (*c)->name, *(*c)->operands ? " " : "", (*c)->operands);
        man_text(out, (*c)->help);
        if ((*c)->about) {
            fputs(".PP\n", out);
            man_text(out, (*c)->about);
        }
        for (const struct wg_cmd_option *o = (*c)->options; o && o->name; o++) {
            fprintf(out, ".TP\n\\fB\\-\\-%s\\fR%s%s\n", o->name, o->arg ? " " : "",
                    o->arg ? o->arg : "");
            man_text(out, o->help);
            if (o->value)
                fprintf(out, "Default: %s.\n", o->value);
        }
    }
}
