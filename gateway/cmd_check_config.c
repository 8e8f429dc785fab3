/* SPDX-License-Identifier: Apache-2.0 */
/* windgate check-config: tells every mistake of a configuration, and starts nothing. */
#include "command.h"
#include "graph.h"
#include "settings.h"
#include "volgen.h"

static int check_gateway(const struct wg_settings *s)
{
    const struct wg_set_volume *v = s->volumes.items;
    int errors = wg_settings_check_gateway(s, wg_settings_complain, NULL);

    for (unsigned i = 0; !errors && i < s->volumes.n; i++) {
        struct wg_graph *g = wg_volgen_graph(s, &v[i], wg_settings_complain, NULL);

        errors += !g;
        if (g)
            wg_graph_free(g);
    }
    return errors;
}

static int check_brick(const struct wg_settings *s)
{
    int errors = wg_settings_check_brick(s, wg_settings_complain, NULL);
    struct wg_graph *g = NULL;

    if (!errors) {
        g = wg_volgen_brick_graph(s, wg_settings_complain, NULL);
        errors += !g;
    }
    if (g)
        wg_graph_free(g);
    return errors;
}

static int run(const struct wg_args *args)
{
    struct wg_settings *s = wg_settings_load(wg_arg(args, "config"), wg_settings_complain, NULL);
    int errors = 0;

    if (!s)
        return WG_EXIT_FAILED;
    /* One file may serve a brick, a gateway, or both on one machine. */
    if (s->brick.line)
        errors += check_brick(s);
    if (s->volumes.n || !s->brick.line)
        errors += check_gateway(s);
    wg_settings_free(s);
    return errors ? WG_EXIT_FAILED : WG_EXIT_OK;
}

static const struct wg_cmd_option options[] = {
    WG_CONFIG_OPTION,
    { NULL }
};

const struct wg_command wg_cmd_check_config = {
    .name = "check-config", .operands = "", .options = options, .run = run,
    .help = "Checks a configuration file without starting anything.",
    .about = "Each mistake is one line, file:line: what. The exit status is 1 when there is one. "
             "\"windgate help --settings\" lists every setting.",
};
