/* SPDX-License-Identifier: Apache-2.0 */
#include "volgen.h"

#include <errno.h>
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

static void option(FILE *f, const char *name, const char *value)
{
    if (!value)
        return;
    fprintf(f, "    option %s ", name);
    word(f, value);
    fputc('\n', f);
}

static void option_int(FILE *f, const char *name, int64_t value)
{
    fprintf(f, "    option %s %lld\n", name, (long long)value);
}

static void option_list(FILE *f, const char *name, const struct wg_set_strs *list)
{
    char *text = NULL;
    size_t len;
    FILE *m = list->n ? open_memstream(&text, &len) : NULL;

    for (unsigned i = 0; m && i < list->n; i++)
        fprintf(m, "%s%s", i ? "," : "", list->s[i]);
    if (m && fclose(m) == 0)
        option(f, name, text);
    free(text);
}

static void begin(FILE *f, const char *name, const char *type)
{
    fprintf(f, "volume %s\n    type %s\n", name, type);
}

/* The user's own options come last, so that they win over those above. */
static void end(FILE *f, const char *type, const struct wg_set_tunes *tune, const char *below)
{
    for (unsigned i = 0; i < tune->n; i++)
        if (strcmp(tune->t[i].type, type) == 0)
            option(f, tune->t[i].option, tune->t[i].value);
    if (below)
        fprintf(f, "    subvolumes %s\n", below);
    fputs("end-volume\n\n", f);
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
static void option_ids(FILE *f, const char *volume, const char *uuid, const char *brick)
{
    uint8_t id[16];
    char text[37], name[200];

    if (wg_volgen_id(volume, uuid, id))
        return;
    uuid_unparse_lower(id, text);
    option(f, "volume-id", text);
    snprintf(name, sizeof name, "%s brick %s", text, brick);
    if (wg_volgen_id(name, NULL, id))
        return;
    uuid_unparse_lower(id, text);
    option(f, "brick-id", text);
}

static void option_tls(FILE *f, const struct wg_settings *s, bool plain)
{
    if (plain) {
        option(f, "tls", "off");
        return;
    }
    option(f, "tls-cert", s->tls.certificate);
    option(f, "tls-key", s->tls.key);
    option(f, "tls-ca", s->tls.ca);
    option(f, "tls-crl", s->tls.crl);
}

static void store(FILE *f, const char *volume, const char *id, const char *directory,
                  const char *brick, bool init, const struct wg_set_tunes *tune)
{
    begin(f, "store", "storage/posix");
    option(f, "directory", directory);
    option_ids(f, volume, id, brick);
    option(f, "init", init ? "yes" : NULL);
    end(f, "storage/posix", tune, NULL);
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
    FILE *f = open_memstream(&text, &len);

    if (!f)
        return NULL;
    fprintf(f, "# volume %s, from %s\n", v->name, s->file);
    if (b) {
        const char *peer = b->peer_name ? b->peer_name : b->name;

        begin(f, b->name, "protocol/client");
        option(f, "remote", b->address);
        option_ids(f, v->name, v->id, b->name);
        option_int(f, "lanes", b->lanes);
        option_tls(f, s, b->plain);
        if (!b->plain) {
            option(f, "peer-name", peer);
            option(f, "tls-allow", peer);
        }
        end(f, "protocol/client", &v->tune, NULL);
    } else {
        /* Making the private directory is harmless here: there is no other machine's disk to miss. */
        store(f, v->name, v->id, v->directory, "local", true, &v->tune);
        begin(f, "io-threads", "performance/io-threads");
        end(f, "performance/io-threads", &v->tune, "store");
    }
    return finish(f, &text);
}

char *wg_volgen_brick(const struct wg_settings *s)
{
    const struct wg_set_brick *b = &s->brick;
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    if (!f)
        return NULL;
    fprintf(f, "# brick %s of volume %s, from %s\n", b->name, b->volume, s->file);
    store(f, b->volume, b->volume_id, b->directory, b->name, b->init, &b->tune);
    begin(f, "io-threads", "performance/io-threads");
    end(f, "performance/io-threads", &b->tune, "store");
    begin(f, "server", "protocol/server");
    option(f, "listen", b->listen);
    option_ids(f, b->volume, b->volume_id, b->name);
    option_tls(f, s, b->plain);
    if (!b->plain)
        option_list(f, "tls-allow", &b->allow);
    end(f, "protocol/server", &b->tune, "io-threads");
    return finish(f, &text);
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
