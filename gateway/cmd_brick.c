/* SPDX-License-Identifier: Apache-2.0 */
/* windgate brick: serves one directory to gateways. */
#include <stdlib.h>
#include <string.h>

#include "appliance.h"
#include "command.h"
#include "settings.h"

/* A setting of the generated text: name = "value";  Nothing when value is NULL. */
static void setting(FILE *f, const char *name, const char *prefix, const char *value)
{
    char path[4096], *quoted;

    if (!value)
        return;
    snprintf(path, sizeof path, "%s%s", prefix, value);
    quoted = wg_settings_quote(path);
    if (quoted)
        fprintf(f, "    %s = %s;\n", name, quoted);
    free(quoted);
}

/* The options as the text of a configuration file, so that there is one way to read them. */
static struct wg_settings *from_options(const struct wg_args *a)
{
    const char *certs = wg_arg(a, "certs"), *name = wg_arg(a, "name"), *allow;
    struct wg_settings *s = NULL;
    char *text = NULL, file[300];
    size_t len;
    FILE *f = open_memstream(&text, &len);
    int err;

    if (!f)
        return NULL;
    setting(f, "control", "", wg_arg(a, "control"));
    if (certs) {
        fputs("tls = {\n", f);
        snprintf(file, sizeof file, "/%s.pem", name);
        setting(f, "certificate", certs, file);
        snprintf(file, sizeof file, "/%s.key", name);
        setting(f, "key", certs, file);
        setting(f, "ca", certs, "/ca.pem");
        fputs("};\n", f);
    }
    wg_arg_module_path(a, f);
    fputs("log = {\n", f);
    setting(f, "level", "", wg_arg(a, "log"));
    fputs("};\nbrick = {\n", f);
    setting(f, "name", "", name);
    setting(f, "volume", "", wg_arg(a, "volume"));
    setting(f, "volume-id", "", wg_arg(a, "volume-id"));
    setting(f, "directory", "", wg_arg(a, "directory"));
    setting(f, "listen", "", wg_arg(a, "listen"));
    err = wg_arg_layers(a, f);
    fputs("    allow = ( ", f);
    for (unsigned i = 0; (allow = wg_arg_nth(a, "allow", i)); i++) {
        char *quoted = wg_settings_quote(allow);

        fprintf(f, "%s%s", i ? ", " : "", quoted ? quoted : "\"\"");
        free(quoted);
    }
    fprintf(f, " );\n    plain = %s;\n    init = %s;\n};\n",
            wg_arg_given(a, "plain") ? "true" : "false", wg_arg_given(a, "init") ? "true" : "false");
    if (fclose(f) == 0 && !err)
        s = wg_settings_parse("options", text, len, wg_settings_complain, NULL);
    free(text);
    return s;
}

/* What is missing is said in the words of the command line, not in those of a file that nobody wrote. */
static const char *missing(const struct wg_args *a)
{
    if (wg_arg(a, "config"))
        return NULL;
    if (!wg_arg(a, "directory"))
        return "--directory or --config";
    if (wg_arg_given(a, "plain"))
        return NULL;
    if (!wg_arg(a, "certs"))
        return "--certs (or --plain)";
    return wg_arg_nth(a, "allow", 0) ? NULL : "--allow";
}

static struct wg_settings *load(const struct wg_args *a, wg_set_error *err)
{
    struct wg_settings *s;
    const char *option = missing(a);

    if (option) {
        fprintf(stderr, "windgate brick: %s is missing; see windgate brick --help\n", option);
        return NULL;
    }
    s = wg_arg(a, "config") ? wg_settings_load(wg_arg(a, "config"), err, NULL)
                            : from_options(a);
    if (s && wg_arg_given(a, "init"))
        s->brick.init = true;
    if (s && wg_settings_check_brick(s, err, NULL) == 0)
        return s;
    wg_settings_free(s);
    return NULL;
}

static struct wg_settings *again(void *arg)
{
    return load(arg, wg_settings_log);
}

static int run(const struct wg_args *args)
{
    struct wg_settings *s = load(args, wg_settings_complain);
    struct wg_appliance_run run = { .role = "brick", .control = wg_arg(args, "control"),
                                    .again = again, .arg = (void *)(uintptr_t)args };

    return s ? wg_brick_run(s, &run) : WG_EXIT_FAILED;
}

static const struct wg_cmd_option options[] = {
    { "config", "FILE", NULL, "Configuration file with a group brick, instead of the options below." },
    { "directory", "DIR", NULL, "Directory that holds the files." },
    { "init", NULL, NULL, "Prepare a directory that is no brick yet; without it such a directory is "
      "refused, since it may be an unmounted disk." },
    { "listen", "ADDRESS", "0.0.0.0:24010", "host:port or [v6]:port to listen on; port 0 takes any." },
    { "name", "NAME", "brick1", "Name of the brick in its volume." },
    { "volume", "NAME", "volume1", "Name of the volume it belongs to." },
    { "volume-id", "UUID", NULL, "The volume's id; without it, one that follows from the name." },
    { "certs", "DIR", NULL, "Directory with ca.pem, NAME.pem and NAME.key." },
    { "allow", "NAME", NULL, "Name in the certificate of a gateway that may connect; may be repeated." },
    { "plain", NULL, NULL, "Without TLS: whoever reaches the port is trusted." },
    WG_LAYER_OPTION,
    { "control", "PATH", NULL, "Control socket to make." },
    { "log", "LEVELS", "info", "Log levels, as in \"info,transport=debug\"." },
    { NULL }
};

const struct wg_command wg_cmd_brick = {
    .name = "brick", .operands = "", .options = options, .run = run,
    .help = "Serves a directory to gateways.",
    .about = "Stays in the foreground. SIGHUP reads certificates and lists of names again and reopens "
             "the log; SIGTERM stops.",
};
