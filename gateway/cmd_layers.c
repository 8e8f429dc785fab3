/* SPDX-License-Identifier: Apache-2.0 */
/* --layer and --module-path of serve and brick, as text of the configuration. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "settings.h"

#define NAME_BYTES "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

static int put(FILE *f, const char *name, const char *text, size_t len)
{
    char *copy = strndup(text, len), *quoted = copy ? wg_settings_quote(copy) : NULL;

    if (quoted)
        fprintf(f, "%s = %s; ", name, quoted);
    free(copy);
    free(quoted);
    return quoted ? 0 : ENOMEM;
}

/* Where the value ends: at a comma after which a name and '=' follow, so that a value may hold commas. */
static size_t value_length(const char *text)
{
    const char *comma = text;

    while ((comma = strchr(comma, ','))) {
        size_t name = strspn(++comma, NAME_BYTES);

        if (name > 0 && comma[name] == '=')
            return (size_t)(comma - 1 - text);
    }
    return strlen(text);
}

static int put_options(FILE *f, const char *layer, const char *text)
{
    int err = 0;

    fputs("options = { ", f);
    while (*text && !err) {
        size_t name = strspn(text, NAME_BYTES), len;
        char word[64];

        if (name == 0 || name >= sizeof word || text[name] != '=') {
            wg_fail("--layer %s: OPTION=VALUE is expected at '%s'", layer, text);
            return EINVAL;
        }
        snprintf(word, sizeof word, "%.*s", (int)name, text);
        text += name + 1;
        len = value_length(text);
        err = put(f, word, text, len);
        text += len + (text[len] == ',');
    }
    fputs("}; ", f);
    return err;
}

static int put_layer(FILE *f, const char *layer)
{
    size_t name = strspn(layer, NAME_BYTES "."), type;
    const char *at = layer;
    int err = 0;

    fputs("{ ", f);
    if (at[name] == '=') {
        err = put(f, "name", at, name);
        at += name + 1;
    }
    type = strcspn(at, ":");
    if (!err)
        err = put(f, "type", at, type);
    if (!err && at[type] == ':')
        err = put_options(f, layer, at + type + 1);
    fputs("}", f);
    return err;
}

int wg_arg_layers(const struct wg_args *a, FILE *f)
{
    const char *layer;
    int err = 0;

    if (!wg_arg_given(a, "layer"))
        return 0;
    fputs("    layers = ( ", f);
    for (unsigned i = 0; !err && (layer = wg_arg_nth(a, "layer", i)); i++) {
        fputs(i ? ",\n        " : "", f);
        err = put_layer(f, layer);
    }
    fputs(" );\n", f);
    return err;
}

void wg_arg_module_path(const struct wg_args *a, FILE *f)
{
    const char *directory;
    char *quoted;

    fputs("module-path = ( ", f);
    for (unsigned i = 0; (directory = wg_arg_nth(a, "module-path", i)); i++) {
        quoted = wg_settings_quote(directory);
        fprintf(f, "%s%s", i ? ", " : "", quoted ? quoted : "\"\"");
        free(quoted);
    }
    fputs(" );\n", f);
}
