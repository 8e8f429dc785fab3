/* SPDX-License-Identifier: Apache-2.0 */
/* windgate certs: a CA and node certificates for people who have none. */
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "certs.h"
#include "command.h"

enum { SANS_MAX = 64 };

static int read_options(const struct wg_args *a, struct wg_certs_opts *ret)
{
    int64_t days;

    if (wg_arg_int(a, "days", 1, 36500, &days))
        return WG_EXIT_USAGE;
    *ret = (struct wg_certs_opts){ .days = (int)days, .overwrite = wg_arg_given(a, "replace") };
    return 0;
}

static int ca(const struct wg_args *a)
{
    struct wg_certs_opts opts;
    char why[300] = "";

    if (read_options(a, &opts))
        return WG_EXIT_USAGE;
    if (wg_certs_make_ca(wg_arg(a, "dir"), wg_arg(a, "name"), &opts, why, sizeof why))
        return wg_fail("%s", why);
    printf("made %s/ca.pem and its key %s/ca.key, which signs everything: keep it safe\n",
           wg_arg(a, "dir"), wg_arg(a, "dir"));
    return WG_EXIT_OK;
}

/* Every --san may hold several, with commas between them. */
static unsigned split_sans(const struct wg_args *a, char *copy, size_t size, const char **sans)
{
    unsigned n = 0;
    size_t used = 0;
    const char *text;
    char *save = NULL;

    for (unsigned i = 0; (text = wg_arg_nth(a, "san", i)); i++)
        used += (size_t)snprintf(copy + used, used < size ? size - used : 0, "%s,", text);
    if (used >= size)
        return UINT32_MAX;
    copy[used] = '\0';
    for (char *w = strtok_r(copy, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
        if (n == SANS_MAX)
            return UINT32_MAX;
        sans[n++] = w;
    }
    return n;
}

static int node(const struct wg_args *a)
{
    const char *name = a->operand[0], *dir = wg_arg(a, "dir"), *sans[SANS_MAX];
    struct wg_certs_opts opts;
    char why[300] = "", copy[8192] = "";
    unsigned n;

    if (read_options(a, &opts))
        return WG_EXIT_USAGE;
    n = split_sans(a, copy, sizeof copy, sans);
    if (n == UINT32_MAX)
        return wg_fail("--san: more than %d names", SANS_MAX);
    if (wg_certs_make_node(dir, name, sans, n, &opts, why, sizeof why))
        return wg_fail("%s", why);
    printf("made %s/%s.pem and %s/%s.key\n", dir, name, dir, name);
    return WG_EXIT_OK;
}

static int revoke(const struct wg_args *a)
{
    char why[300] = "";
    int64_t days;

    if (wg_arg_int(a, "days", 1, 36500, &days))
        return WG_EXIT_USAGE;
    if (wg_certs_revoke(wg_arg(a, "dir"), a->operand[0], (int)days, why, sizeof why))
        return wg_fail("%s", why);
    printf("revoked in %s/ca.crl; daemons see it after a reload (SIGHUP)\n", wg_arg(a, "dir"));
    return WG_EXIT_OK;
}

static void date(int64_t t, char *buf, size_t size)
{
    time_t when = (time_t)t;
    struct tm tm;

    strftime(buf, size, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&when, &tm));
}

static void show_json(const struct wg_cert_info *c, const char *from, const char *to)
{
    cJSON *j = cJSON_CreateObject();
    char *text;

    cJSON_AddStringToObject(j, "subject", c->subject);
    cJSON_AddStringToObject(j, "issuer", c->issuer);
    cJSON_AddStringToObject(j, "names", c->names);
    cJSON_AddStringToObject(j, "serial", c->serial);
    cJSON_AddStringToObject(j, "sha256", c->sha256);
    cJSON_AddStringToObject(j, "not_before", from);
    cJSON_AddStringToObject(j, "not_after", to);
    cJSON_AddBoolToObject(j, "ca", c->is_ca);
    text = cJSON_Print(j);
    puts(text ? text : "null");
    cJSON_free(text);
    cJSON_Delete(j);
}

static int show(const struct wg_args *a)
{
    struct wg_cert_info c;
    char why[300] = "", from[40], to[40];

    if (wg_certs_info(a->operand[0], &c, why, sizeof why))
        return wg_fail("%s", why);
    date(c.not_before, from, sizeof from);
    date(c.not_after, to, sizeof to);
    if (wg_arg_given(a, "json"))
        show_json(&c, from, to);
    else
        printf("subject  %s%s\nissuer   %s\nnames    %s\nserial   %s\nvalid    %s to %s%s\nsha256   %s\n",
               c.subject, c.is_ca ? " (a CA)" : "", c.issuer, c.names, c.serial, from, to,
               c.not_after < time(NULL) ? " (EXPIRED)" : "", c.sha256);
    return WG_EXIT_OK;
}

#define DIR_OPTION { "dir", "DIR", "certs", "Directory of the CA and the certificates." }
#define REPLACE_OPTION { "replace", NULL, NULL, "Replace what is there; without it that is an error." }

static const struct wg_cmd_option ca_options[] = {
    DIR_OPTION,
    { "name", "NAME", "Windgate CA", "Name of the CA." },
    { "days", "DAYS", "3650", "Validity." },
    REPLACE_OPTION,
    { NULL }
};

static const struct wg_cmd_option node_options[] = {
    DIR_OPTION,
    { "san", "NAMES", NULL, "Further names and addresses, as DNS:host or IP:10.0.0.1, with commas between "
      "them; may be repeated." },
    { "days", "DAYS", "825", "Validity." },
    REPLACE_OPTION,
    { NULL }
};

static const struct wg_cmd_option revoke_options[] = {
    DIR_OPTION,
    { "days", "DAYS", "3650", "Validity of the list." },
    { NULL }
};

static const struct wg_cmd_option show_options[] = {
    { "json", NULL, NULL, "JSON instead of text." },
    { NULL }
};

const struct wg_command wg_cmd_certs_ca = {
    .name = "certs ca", .operands = "", .options = ca_options, .run = ca,
    .help = "Makes a certificate authority.",
};

const struct wg_command wg_cmd_certs_node = {
    .name = "certs node", .operands = "NAME", .min_operands = 1, .max_operands = 1,
    .options = node_options, .run = node,
    .help = "Makes a certificate for a gateway or a brick.",
    .about = "NAME is what bricks allow and gateways expect (brick.allow, bricks.peer-name).",
};

const struct wg_command wg_cmd_certs_revoke = {
    .name = "certs revoke", .operands = "FILE", .min_operands = 1, .max_operands = 1,
    .options = revoke_options, .run = revoke,
    .help = "Revokes a certificate.",
    .about = "It counts where tls.crl names DIR/ca.crl.",
};

const struct wg_command wg_cmd_certs_show = {
    .name = "certs show", .operands = "FILE", .min_operands = 1, .max_operands = 1,
    .options = show_options, .run = show,
    .help = "Prints what a certificate says.",
};
