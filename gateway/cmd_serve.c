/* SPDX-License-Identifier: Apache-2.0 */
/* windgate serve: both front doors in one process over a local directory. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "appliance.h"
#include "command.h"
#include "frontends/s3/users.h"
#include "settings.h"

struct serve {
    const struct wg_args *args;
    char directory[PATH_MAX];
    char access[WG_ACCESS_KEY_MAX + 1], secret[WG_SECRET_MAX + 1]; /* of a user made just now */
};

static void setting(FILE *f, const char *name, const char *value, const char *after)
{
    char text[PATH_MAX + 100], *quoted;

    if (!value)
        return;
    snprintf(text, sizeof text, "%s%s", value, after);
    quoted = wg_settings_quote(text);
    if (quoted)
        fprintf(f, "    %s = %s;\n", name, quoted);
    free(quoted);
}

static int number(FILE *f, const struct serve *v, const char *option, const char *name)
{
    int64_t n;

    if (wg_arg_int(v->args, option, 0, 65535, &n))
        return EINVAL;
    fprintf(f, "    %s = %d;\n", name, (int)n);
    return 0;
}

static int write_settings(FILE *f, const struct serve *v)
{
    const struct wg_args *a = v->args;
    const char *listen = wg_arg(a, "listen");
    int err = 0;

    setting(f, "state", v->directory, "/.windgate/serve");
    setting(f, "control", wg_arg(a, "control") ? wg_arg(a, "control") : v->directory,
            wg_arg(a, "control") ? "" : "/.windgate/serve/control.sock");
    wg_arg_module_path(a, f);
    fputs("log = {\n", f);
    setting(f, "level", wg_arg(a, "log"), "");
    fputs("};\nvolumes = ( {\n    name = \"data\";\n", f);
    setting(f, "directory", v->directory, "");
    err |= wg_arg_layers(a, f);
    fputs("} );\nexports = ( {\n    volume = \"data\";\n", f);
    setting(f, "path", wg_arg(a, "export"), "");
    setting(f, "squash", wg_arg(a, "squash"), "");
    fprintf(f, "    privileged-port = %s;\n} );\nnfs = {\n",
            wg_arg_given(a, "any-port") ? "false" : "true");
    setting(f, "listen", listen, "");
    err |= number(f, v, "nfs-port", "port");
    err |= number(f, v, "mount-port", "mount-port");
    fprintf(f, "    rpcbind = %s;\n};\ns3 = {\n", wg_arg_given(a, "rpcbind") ? "true" : "false");
    setting(f, "listen", listen, "");
    err |= number(f, v, "s3-port", "port");
    err |= number(f, v, "s3-tls-port", "tls-port");
    setting(f, "certificate", wg_arg(a, "certificate"), "");
    setting(f, "key", wg_arg(a, "key"), "");
    setting(f, "region", wg_arg(a, "region"), "");
    fprintf(f, "    enabled = %s;\n};\n", wg_arg_given(a, "no-s3") ? "false" : "true");
    return err;
}

static struct wg_settings *settings_of(const struct serve *v)
{
    struct wg_settings *s = NULL;
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);
    int err = f ? write_settings(f, v) : ENOMEM;

    if (f && fclose(f) == 0 && !err)
        s = wg_settings_parse("options", text, len, wg_settings_complain, NULL);
    free(text);
    if (s && wg_settings_check_gateway(s, wg_settings_complain, NULL)) {
        wg_settings_free(s);
        return NULL;
    }
    return s;
}

static struct wg_settings *again(void *arg)
{
    return settings_of(arg);
}

/* The first start makes a user, so that S3 works at once; it owns what the one who starts it owns. */
static int first_user(void *arg, const struct wg_settings *s)
{
    struct serve *v = arg;
    struct wg_user_new demo = { .name = "demo", .uid = getuid(), .gid = getgid() };
    char path[PATH_MAX + 32], why[300];
    struct wg_users *users;
    struct stat st;
    int err;

    snprintf(path, sizeof path, "%s/users.db", s->state);
    err = wg_users_open(path, &users);
    if (err)
        return err;
    if (wg_users_count(users) == 0) {
        if (getuid() == 0 && stat(v->directory, &st) == 0) {
            demo.uid = st.st_uid;
            demo.gid = st.st_gid;
        }
        err = wg_users_add(users, &demo, v->access, v->secret, why, sizeof why);
        if (err)
            wg_fail("user demo: %s", why);
    }
    wg_users_close(users);
    return err;
}

static void ready(void *arg, const struct wg_settings *s, const struct wg_appliance_ports *p)
{
    const struct serve *v = arg;
    const struct wg_set_export *e = s->exports.items;

    printf("Serving %s. Ctrl-C stops.\n\n", v->directory);
    printf("  mount -t nfs -o vers=3,proto=tcp,port=%u,mountport=%u,mountproto=tcp,nolock "
           "127.0.0.1:%s /mnt\n", p->nfs, p->mount, e[0].path);
    if (v->access[0])
        printf("  export AWS_ACCESS_KEY_ID=%s AWS_SECRET_ACCESS_KEY=%s AWS_DEFAULT_REGION=%s\n",
               v->access, v->secret, s->s3.region);
    if (p->http)
        printf("  aws --endpoint-url http://127.0.0.1:%u s3 mb s3://bucket\n", p->http);
    if (p->https)
        printf("  aws --endpoint-url https://127.0.0.1:%u s3 ls\n", p->https);
    printf("\nUsers: windgate user add NAME --users %s/users.db\n", s->state);
    if (getuid() != 0)
        printf("Not root: every file belongs to uid %u, whoever makes it.\n", getuid());
    fflush(stdout);
}

static int run(const struct wg_args *args)
{
    static struct serve v;
    struct wg_appliance_run run = { .role = "serve", .again = again, .prepare = first_user,
                                    .ready = ready, .arg = &v };
    struct wg_settings *s;

    v.args = args;
    if (mkdir(args->operand[0], 0755) && errno != EEXIST)
        return wg_fail("%s: %s", args->operand[0], strerror(errno));
    if (!realpath(args->operand[0], v.directory))
        return wg_fail("%s: %s", args->operand[0], strerror(errno));
    s = settings_of(&v);
    return s ? wg_appliance_run(s, &run) : WG_EXIT_FAILED;
}

static const struct wg_cmd_option options[] = {
    { "listen", "ADDRESS", NULL, "Address to listen on; without it, all." },
    { "export", "PATH", "/data", "What NFS clients mount." },
    { "squash", "WHO", "root", "Users that act as nobody: none, root or all." },
    { "any-port", NULL, NULL, "Serve NFS clients whose port is 1024 or above, too." },
    { "nfs-port", "PORT", "2049", "TCP port of NFS; 0 takes any." },
    { "mount-port", "PORT", "20048", "TCP port of MOUNT; 0: the port of NFS." },
    { "rpcbind", NULL, NULL, "Register with the host's rpcbind." },
    { "no-s3", NULL, NULL, "NFS only." },
    { "s3-port", "PORT", "9000", "Port of http; 0: none." },
    { "s3-tls-port", "PORT", "0", "Port of https; 0: none." },
    { "certificate", "FILE", NULL, "Certificate of https (PEM)." },
    { "key", "FILE", NULL, "Its private key (PEM)." },
    { "region", "NAME", "us-east-1", "Region that S3 clients sign for." },
    WG_LAYER_OPTION,
    { "control", "PATH", NULL, "Control socket; without it, DIR/.windgate/serve/control.sock." },
    { "log", "LEVELS", "notice", "Log levels, as in \"info,s3=debug\"." },
    { NULL }
};

const struct wg_command wg_cmd_serve = {
    .name = "serve", .operands = "DIR", .min_operands = 1, .max_operands = 1, .options = options,
    .run = run,
    .help = "Serves a local directory through NFS and S3, in one process.",
    .about = "Makes DIR when it is missing. What it needs to remember is in DIR/.windgate; the files "
             "themselves are plain files. The first start makes an S3 user, demo, and prints its key.",
};
