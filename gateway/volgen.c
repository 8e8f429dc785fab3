/* SPDX-License-Identifier: Apache-2.0 */
#include "volgen.h"

#include <errno.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <uuid/uuid.h>

#include "graph.h"

/* A word of a volfile, quoted. */
static void word(FILE *f, const char *text)
{
    fputc('"', f);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', f);
        fputc(*text, f);
    }
    fputc('"', f);
}

/* A volfile that is being written; the open block's class, and the user's own options. */
struct gen {
    FILE *f;
    const char *type;
    const struct wg_set_tunes *tune;
};

static void put_option(struct gen *g, const char *name, const char *value)
{
    fprintf(g->f, "    option %s ", name);
    word(g->f, value);
    fputc('\n', g->f);
}

static bool tuned(const struct gen *g, const char *name)
{
    for (unsigned i = 0; i < g->tune->n; i++)
        if (strcmp(g->tune->t[i].type, g->type) == 0 && strcmp(g->tune->t[i].option, name) == 0)
            return true;
    return false;
}

/* An option of ours; one that the user gives too is the user's. */
static void option(struct gen *g, const char *name, const char *value)
{
    if (value && !tuned(g, name))
        put_option(g, name, value);
}

static void option_int(struct gen *g, const char *name, int64_t value)
{
    char text[24];

    snprintf(text, sizeof text, "%lld", (long long)value);
    option(g, name, text);
}

static void option_list(struct gen *g, const char *name, const struct wg_set_strs *list)
{
    char *text = NULL;
    size_t len;
    FILE *m = list->n ? open_memstream(&text, &len) : NULL;

    for (unsigned i = 0; m && i < list->n; i++)
        fprintf(m, "%s%s", i ? "," : "", list->s[i]);
    if (m && fclose(m) == 0)
        option(g, name, text);
    free(text);
}

static void begin(struct gen *g, const char *name, const char *type)
{
    g->type = type;
    fprintf(g->f, "volume %s\n    type %s\n", name, type);
}

static void end(struct gen *g, const char *below)
{
    for (unsigned i = 0; i < g->tune->n; i++)
        if (strcmp(g->tune->t[i].type, g->type) == 0)
            put_option(g, g->tune->t[i].option, g->tune->t[i].value);
    if (below)
        fprintf(g->f, "    subvolumes %s\n", below);
    fputs("end-volume\n\n", g->f);
}

int wg_volgen_id(const char *name, const char *uuid, uint8_t ret[16])
{
    uint8_t hash[EVP_MAX_MD_SIZE];
    char text[300];
    int n;

    if (uuid)
        return uuid_parse(uuid, ret) ? EINVAL : 0;
    n = snprintf(text, sizeof text, "windgate volume %.200s", name);
    if (!EVP_Digest(text, (size_t)n, hash, NULL, EVP_sha256(), NULL))
        return EINVAL;
    memcpy(ret, hash, 16);
    ret[6] = (uint8_t)((ret[6] & 0x0f) | 0x80); /* RFC 9562 version 8: made from a name */
    ret[8] = (uint8_t)((ret[8] & 0x3f) | 0x80);
    return 0;
}

/* The ids of volume and brick, which both ends of a connection compare. */
static void option_ids(struct gen *g, const char *volume, const char *uuid, const char *brick)
{
    uint8_t id[16];
    char text[37], name[200];

    if (wg_volgen_id(volume, uuid, id))
        return;
    uuid_unparse_lower(id, text);
    option(g, "volume-id", text);
    snprintf(name, sizeof name, "%s brick %s", text, brick);
    if (wg_volgen_id(name, NULL, id))
        return;
    uuid_unparse_lower(id, text);
    option(g, "brick-id", text);
}

static void option_tls(struct gen *g, const struct wg_settings *s, bool plain)
{
    if (plain) {
        option(g, "tls", "off");
        return;
    }
    option(g, "tls-cert", s->tls.certificate);
    option(g, "tls-key", s->tls.key);
    option(g, "tls-ca", s->tls.ca);
    option(g, "tls-crl", s->tls.crl);
}

/* The store and what belongs to it. served: to other processes, whose locks outlive this one. */
static void store(struct gen *g, const char *volume, const char *id, const char *directory,
                  const char *brick, bool init, bool served)
{
    char *state = NULL;

    begin(g, "store", "storage/posix");
    option(g, "directory", directory);
    option_ids(g, volume, id, brick);
    option(g, "init", init ? "yes" : NULL);
    end(g, NULL);
    begin(g, "io-threads", "performance/io-threads");
    end(g, "store");
    begin(g, "locks", "features/locks");
    if (served && asprintf(&state, "%s/.windgate/locks", directory) > 0)
        option(g, "state", state);
    free(state);
    end(g, "io-threads");
}

/* puller: from a brick, to copy; then name is not the brick's, which could be another translator's. */
static void client(struct gen *g, const struct wg_settings *s, const char *name, const char *volume,
                   const char *volume_id, const struct wg_set_remote *b, bool puller)
{
    const char *peer = b->peer_name ? b->peer_name : b->name;

    begin(g, name, "protocol/client");
    option(g, "remote", b->address);
    option_ids(g, volume, volume_id, b->name);
    option(g, "puller", puller ? "yes" : NULL);
    option_int(g, "lanes", b->lanes);
    option_tls(g, s, b->plain);
    if (!b->plain) {
        option(g, "peer-name", peer);
        option(g, "tls-allow", peer);
    }
    end(g, NULL);
}

/* The user's layers over below; returns what is now on top. */
static const char *add_layers(struct gen *g, const struct wg_set_layers *in, const char *below)
{
    const struct wg_set_tunes *tune = g->tune;

    for (unsigned i = in->n; i-- > 0;) {
        g->tune = &in->l[i].options;
        begin(g, in->l[i].name, in->l[i].type);
        end(g, below);
        below = in->l[i].name;
    }
    g->tune = tune;
    return below;
}

static char *finish(FILE *f, char **text)
{
    if (f && fclose(f) == 0)
        return *text;
    free(*text);
    return NULL;
}

char *wg_volgen_volume(const struct wg_settings *s, const struct wg_set_volume *v)
{
    const struct wg_set_remote *b = v->brick ? wg_settings_remote(s, v->brick) : NULL;
    char *text = NULL;
    size_t len;
    struct gen g = { .f = open_memstream(&text, &len), .tune = &v->tune };

    if (!g.f)
        return NULL;
    fprintf(g.f, "# volume %s, from %s\n", v->name, s->file);
    /* Making the private directory is harmless here: there is no other machine's disk to miss. */
    if (b)
        client(&g, s, b->name, v->name, v->id, b, false);
    else
        store(&g, v->name, v->id, v->directory, "local", true, false);
    add_layers(&g, &v->layers, b ? b->name : "locks");
    return finish(g.f, &text);
}

/* Copies from the brick's peers; above the user's layers, which so see what is written. Returns the top. */
static const char *add_pull(struct gen *g, const struct wg_settings *s, const char *below)
{
    const struct wg_set_strs *peers = &s->brick.peers;
    char *names = NULL, name[80];
    size_t len;
    FILE *f = peers->n ? open_memstream(&names, &len) : NULL;

    if (!f)
        return below;
    fputs(below, f);
    for (unsigned i = 0; i < peers->n; i++) {
        const struct wg_set_remote *b = wg_settings_remote(s, peers->s[i]);

        if (!b)
            continue;
        snprintf(name, sizeof name, "peer-%s", b->name);
        client(g, s, name, b->volume ? b->volume : "", b->volume_id, b, true);
        fprintf(f, " %s", name);
    }
    if (fclose(f) == 0) {
        begin(g, "pull", "features/pull");
        end(g, names);
        below = "pull";
    }
    free(names);
    return below;
}

char *wg_volgen_brick(const struct wg_settings *s)
{
    const struct wg_set_brick *b = &s->brick;
    char *text = NULL;
    size_t len;
    struct gen g = { .f = open_memstream(&text, &len), .tune = &b->tune };
    char cache_file[PATH_MAX + 32];
    const char *below;

    if (!g.f)
        return NULL;
    fprintf(g.f, "# brick %s of volume %s, from %s\n", b->name, b->volume, s->file);
    store(&g, b->volume, b->volume_id, b->directory, b->name, b->init, true);
    below = add_layers(&g, &b->layers, "locks");
    below = add_pull(&g, s, below);
    begin(&g, "server", "protocol/server");
    option(&g, "listen", b->listen);
    option_ids(&g, b->volume, b->volume_id, b->name);
    snprintf(cache_file, sizeof cache_file, "%s/.windgate/leases", b->directory);
    option(&g, "cache-file", cache_file);
    option_tls(&g, s, b->plain);
    if (!b->plain)
        option_list(&g, "tls-allow", &b->allow);
    if (!b->plain && b->pull_allow.n)
        option_list(&g, "pull-allow", &b->pull_allow);
    end(&g, below);
    return finish(g.f, &text);
}

static struct wg_graph *parse(const char *name, char *text, wg_set_error *err, void *arg)
{
    struct wg_graph *g = NULL;

    if (text)
        g = wg_graph_parse(name, text, strlen(text), err, arg);
    else
        err(arg, "out of memory");
    free(text);
    return g;
}

struct wg_graph *wg_volgen_graph(const struct wg_settings *s, const struct wg_set_volume *v,
                                 wg_set_error *err, void *arg)
{
    char name[100];

    snprintf(name, sizeof name, "graph of volume %s", v->name);
    return parse(name, wg_volgen_volume(s, v), err, arg);
}

struct wg_graph *wg_volgen_brick_graph(const struct wg_settings *s, wg_set_error *err, void *arg)
{
    return parse("graph of the brick", wg_volgen_brick(s), err, arg);
}
