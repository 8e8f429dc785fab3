/* SPDX-License-Identifier: Apache-2.0 */
/* What one setting alone can't tell: names that refer to others, and what each daemon needs. */
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "settings.h"

struct checker {
    const struct wg_settings *s;
    wg_set_error *err;
    void *arg;
    int errors;
};

static void complain(struct checker *k, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void complain(struct checker *k, int line, const char *fmt, ...)
{
    char what[512], text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    /* A group that the file leaves out has no line. */
    snprintf(text, sizeof text, "%s:%d: %s", k->s->file, line > 0 ? line : 1, what);
    wg_one_line(text);
    k->errors++;
    k->err(k->arg, text);
}

const struct wg_set_volume *wg_settings_volume(const struct wg_settings *s, const char *name)
{
    const struct wg_set_volume *v = s->volumes.items;

    for (unsigned i = 0; i < s->volumes.n; i++)
        if (strcmp(v[i].name, name) == 0)
            return &v[i];
    return NULL;
}

const struct wg_set_remote *wg_settings_remote(const struct wg_settings *s, const char *name)
{
    const struct wg_set_remote *b = s->bricks.items;

    for (unsigned i = 0; i < s->bricks.n; i++)
        if (strcmp(b[i].name, name) == 0)
            return &b[i];
    return NULL;
}

static void readable(struct checker *k, int line, const char *what, const char *path)
{
    if (path && access(path, R_OK))
        complain(k, line, "%s: can't read %s: %m", what, path);
}

static void check_tls(struct checker *k, int line, const char *who)
{
    const struct wg_set_tls *t = &k->s->tls;

    if (!t->certificate || !t->key || !t->ca)
        complain(k, line, "%s needs certificate, key and ca in tls (or plain = true)", who);
    readable(k, t->line, "tls.certificate", t->certificate);
    readable(k, t->line, "tls.key", t->key);
    readable(k, t->line, "tls.ca", t->ca);
    readable(k, t->line, "tls.crl", t->crl);
}

bool wg_settings_is_name(const char *name)
{
    size_t len = strlen(name);

    return len > 0 && len <= 64 && strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                                "0123456789-_.") == len;
}

/* The graph has other translators than the layers: volgen's, and the brick's by its name. */
static void check_layers(struct checker *k, const struct wg_set_layers *in, const char *brick)
{
    for (unsigned i = 0; brick && i < in->n; i++)
        if (strcmp(in->l[i].name, brick) == 0)
            complain(k, in->l[i].line, "layer %s (%s) has the name of the brick: give it another with name",
                     in->l[i].name, in->l[i].type);
}

static void check_volumes(struct checker *k)
{
    const struct wg_set_volume *v = k->s->volumes.items;

    if (k->s->volumes.n == 0)
        complain(k, 1, "volumes is missing: there is nothing to serve");
    for (unsigned i = 0; i < k->s->volumes.n; i++) {
        if (!wg_settings_is_name(v[i].name))
            complain(k, v[i].line, "'%s' is no name for a volume (letters, digits, '-', '_', '.')",
                     v[i].name);
        if (wg_settings_volume(k->s, v[i].name) != &v[i])
            complain(k, v[i].line, "there are two volumes '%s'", v[i].name);
        if (!v[i].brick == !v[i].directory)
            complain(k, v[i].line, "volume %s needs either brick or directory", v[i].name);
        if (v[i].brick && !wg_settings_remote(k->s, v[i].brick))
            complain(k, v[i].line, "volume %s: there is no brick '%s'", v[i].name, v[i].brick);
        check_layers(k, &v[i].layers, v[i].brick);
    }
}

static void check_bricks(struct checker *k)
{
    const struct wg_set_remote *b = k->s->bricks.items;
    bool tls = false;

    for (unsigned i = 0; i < k->s->bricks.n; i++) {
        if (!wg_settings_is_name(b[i].name))
            complain(k, b[i].line, "'%s' is no name for a brick (letters, digits, '-', '_', '.')",
                     b[i].name);
        if (wg_settings_remote(k->s, b[i].name) != &b[i])
            complain(k, b[i].line, "there are two bricks '%s'", b[i].name);
        if (!b[i].plain && !tls)
            check_tls(k, b[i].line, "a brick");
        tls = tls || !b[i].plain;
    }
}

static void check_exports(struct checker *k)
{
    const struct wg_set_export *e = k->s->exports.items;

    for (unsigned i = 0; i < k->s->exports.n; i++) {
        size_t len = strlen(e[i].path);

        if (e[i].path[0] != '/' || len > 1023 || (len > 1 && e[i].path[len - 1] == '/'))
            complain(k, e[i].line, "export path '%s' must begin with '/', not end with one, and be "
                     "at most 1023 bytes", e[i].path);
        if (!wg_settings_volume(k->s, e[i].volume))
            complain(k, e[i].line, "export %s: there is no volume '%s'", e[i].path, e[i].volume);
        for (unsigned j = 0; j < i; j++)
            if (strcmp(e[i].path, e[j].path) == 0)
                complain(k, e[i].line, "there are two exports '%s'", e[i].path);
    }
}

static void check_s3(struct checker *k)
{
    const struct wg_set_s3 *s3 = &k->s->s3;
    const char *cert = s3->certificate ? s3->certificate : k->s->tls.certificate;
    const char *key = s3->key ? s3->key : k->s->tls.key;

    if (!s3->enabled)
        return;
    if (s3->volume && !wg_settings_volume(k->s, s3->volume))
        complain(k, s3->line, "s3.volume: there is no volume '%s'", s3->volume);
    for (unsigned i = 0; i < s3->volumes.n; i++)
        if (!wg_settings_volume(k->s, s3->volumes.s[i]))
            complain(k, s3->line, "s3.volumes: there is no volume '%s'", s3->volumes.s[i]);
    if (s3->volumes.n > 32)
        complain(k, s3->line, "s3.volumes has more than 32 volumes");
    if (s3->tls_port && (!cert || !key))
        complain(k, s3->line, "s3.tls-port needs certificate and key, in s3 or tls");
    if (s3->tls_port && s3->tls_port == s3->port)
        complain(k, s3->line, "s3.port and s3.tls-port are the same");
    if (!s3->port && !s3->tls_port)
        complain(k, s3->line, "s3 needs port or tls-port (or enabled = false)");
    if (!s3->users && !k->s->state)
        complain(k, s3->line, "s3 needs users, or state for the default file of users");
    readable(k, s3->line, "s3.certificate", s3->certificate);
    readable(k, s3->line, "s3.key", s3->key);
}

int wg_settings_check_gateway(const struct wg_settings *s, wg_set_error *err, void *arg)
{
    struct checker k = { .s = s, .err = err, .arg = arg };

    check_volumes(&k);
    check_bricks(&k);
    check_exports(&k);
    check_s3(&k);
    if (!s->nfs.enabled && !s->s3.enabled)
        complain(&k, 1, "neither nfs nor s3 is enabled");
    if (!s->state)
        complain(&k, 1, "state is missing: the directory of the gateway's own state");
    return k.errors;
}

static void check_peers(struct checker *k)
{
    const struct wg_set_brick *b = &k->s->brick;

    check_bricks(k);
    for (unsigned i = 0; i < b->peers.n; i++) {
        const struct wg_set_remote *r = wg_settings_remote(k->s, b->peers.s[i]);

        if (!r)
            complain(k, b->line, "brick.peers: there is no brick '%s' in bricks", b->peers.s[i]);
        else if (!r->volume)
            complain(k, r->line, "brick %s needs volume, since brick.peers names it", r->name);
        for (unsigned j = 0; j < i; j++)
            if (strcmp(b->peers.s[i], b->peers.s[j]) == 0)
                complain(k, b->line, "brick.peers has '%s' twice", b->peers.s[i]);
    }
}

int wg_settings_check_brick(const struct wg_settings *s, wg_set_error *err, void *arg)
{
    struct checker k = { .s = s, .err = err, .arg = arg };

    if (!s->brick.line) {
        complain(&k, 1, "brick is missing: what to serve");
        return k.errors;
    }
    if (!wg_settings_is_name(s->brick.name) || !wg_settings_is_name(s->brick.volume))
        complain(&k, s->brick.line, "brick needs a name and a volume of letters, digits, '-', '_', "
                 "'.'");
    if (!s->brick.plain) {
        check_tls(&k, s->brick.line, "the brick");
        if (s->brick.allow.n == 0)
            complain(&k, s->brick.line, "brick.allow is empty: no gateway may connect");
    }
    check_peers(&k);
    return k.errors;
}
