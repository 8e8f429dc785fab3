/* SPDX-License-Identifier: Apache-2.0 */
/* windgate graph: the translators that a configuration makes, as a volfile. */
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "settings.h"
#include "volgen.h"

static int print(char *text)
{
    if (!text)
        return wg_fail("out of memory");
    fputs(text, stdout);
    free(text);
    return WG_EXIT_OK;
}

static int run(const struct wg_args *args)
{
    struct wg_settings *s = wg_settings_load(wg_arg(args, "config"), wg_settings_complain, NULL);
    const struct wg_set_volume *v = s ? s->volumes.items : NULL;
    const char *only = wg_arg(args, "volume");
    int status = WG_EXIT_OK;
    bool any = false;

    if (!s)
        return WG_EXIT_FAILED;
    for (unsigned i = 0; i < s->volumes.n && status == WG_EXIT_OK; i++) {
        if (only && strcmp(only, v[i].name) != 0)
            continue;
        any = true;
        if (v[i].brick && !wg_settings_remote(s, v[i].brick))
            status = wg_fail("%s:%d: there is no brick '%s'", s->file, v[i].line, v[i].brick);
        else
            status = print(wg_volgen_volume(s, &v[i]));
    }
    if (!only && s->brick.line && status == WG_EXIT_OK)
        status = print(wg_volgen_brick(s));
    if (only && !any)
        status = wg_fail("%s: there is no volume '%s'", s->file, only);
    wg_settings_free(s);
    return status;
}

static const struct wg_cmd_option options[] = {
    WG_CONFIG_OPTION,
    { "volume", "NAME", NULL, "Only this volume." },
    { NULL }
};

const struct wg_command wg_cmd_graph = {
    .name = "graph", .operands = "", .options = options, .run = run,
    .help = "Prints the graph of translators that a configuration makes.",
    .about = "\"windgate graph show\" prints those that run; set, insert, remove and load change them.",
};
