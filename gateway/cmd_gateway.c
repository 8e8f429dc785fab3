/* SPDX-License-Identifier: Apache-2.0 */
/* windgate gateway: the front doors over volumes on bricks (or local directories). */
#include "appliance.h"
#include "command.h"
#include "settings.h"

static struct wg_settings *again(void *arg)
{
    return wg_settings_load(arg, wg_settings_log, NULL);
}

static int run(const struct wg_args *args)
{
    const char *file = wg_arg(args, "config");
    struct wg_settings *s = wg_settings_load(file, wg_settings_complain, NULL);
    struct wg_appliance_run run = { .role = "gateway", .control = wg_arg(args, "control"),
                                    .again = again, .arg = (void *)(uintptr_t)file };

    if (!s)
        return WG_EXIT_FAILED;
    if (wg_settings_check_gateway(s, wg_settings_complain, NULL)) {
        wg_settings_free(s);
        return WG_EXIT_FAILED;
    }
    return wg_appliance_run(s, &run);
}

static const struct wg_cmd_option options[] = {
    WG_CONFIG_OPTION,
    { "control", "PATH", NULL, "Control socket to make; without it, the setting control." },
    { NULL }
};

const struct wg_command wg_cmd_gateway = {
    .name = "gateway", .operands = "", .options = options, .run = run,
    .help = "Runs the NFS and S3 front doors.",
    .about = "Stays in the foreground. SIGHUP reads the configuration, users and certificates again "
             "and reopens the log; SIGTERM finishes requests under way and stops; a second one ends "
             "at once.",
};
