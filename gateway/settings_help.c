/* SPDX-License-Identifier: Apache-2.0 */
/* Prints the table of settings. */
#include <inttypes.h>

#include "settings_table.h"

static const char *const type_names[] = {
    [WG_SET_STR] = "string", [WG_SET_WORD] = "word", [WG_SET_PATH] = "path",
    [WG_SET_STRS] = "list of strings", [WG_SET_PATHS] = "list of strings", [WG_SET_INT] = "number", [WG_SET_MS] = "time",
    [WG_SET_BOOL] = "true or false", [WG_SET_TUNE] = "group",
    [WG_SET_LAYERS] = "list of groups",
};

static void one(FILE *out, const struct wg_set_row *r)
{
    fprintf(out, "  %-16s %s", r->name, type_names[r->type]);
    if (r->type == WG_SET_INT)
        fprintf(out, ", %" PRId64 " to %" PRId64, r->min, r->max);
    if (r->must)
        fputs("; must be given", out);
    else if (r->value)
        fprintf(out, "; default %s", r->value);
    fprintf(out, "\n        %s\n", r->help);
}

void wg_settings_help(FILE *out)
{
    for (const struct wg_set_section *s = wg_set_sections; s->name; s++) {
        fprintf(out, "%s%s%s\n    %s\n\n", s->name, *s->name ? "" : "(top level)",
                s->list ? " = ( { ... }, ... )" : *s->name ? " = { ... }" : "", s->help);
        for (const struct wg_set_row *r = s->rows; r->name; r++)
            one(out, r);
        fputc('\n', out);
    }
}

static void roff(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '-' || *text == '\\')
            fputc('\\', out);
        fputc(*text, out);
    }
    fputc('\n', out);
}

void wg_settings_man(FILE *out)
{
    fputs(".SH CONFIGURATION\nThe file has the syntax of libconfig. Relative paths are relative to "
          "the file's directory.\n", out);
    for (const struct wg_set_section *s = wg_set_sections; s->name; s++) {
        fprintf(out, ".SS %s%s\n", *s->name ? s->name : "top level", s->list ? " (a list)" : "");
        roff(out, s->help);
        for (const struct wg_set_row *r = s->rows; r->name; r++) {
            fputs(".TP\n.B ", out);
            roff(out, r->name);
            roff(out, r->help);
            if (r->value)
                fprintf(out, "Default: %s.\n", r->value);
        }
    }
}
