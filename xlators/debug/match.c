/* SPDX-License-Identifier: Apache-2.0 */
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define WG_LOG_PART "debug"
#include "log.h"
#include "options.h"
#include "xlators/debug/match.h"

static uint64_t ops_of_kind(char kind)
{
    uint64_t ops = 0;

    for (unsigned op = 0; op < WG_OP_MAX; op++)
        if (wg_fops[op].kind && (kind == 'A' || wg_fops[op].kind == kind))
            ops |= 1ull << op;
    return ops;
}

static uint64_t ops_of_word(const char *word)
{
    if (strcmp(word, "any") == 0)
        return ops_of_kind('A');
    if (strcmp(word, "reads") == 0)
        return ops_of_kind('R');
    if (strcmp(word, "writes") == 0)
        return ops_of_kind('W');
    for (unsigned op = 0; op < WG_OP_MAX; op++)
        if (wg_fops[op].kind && strcmp(wg_fops[op].name, word) == 0)
            return 1ull << op;
    return 0;
}

static int unknown_fop(const struct wg_xlator *xl, const char *word)
{
    struct wg_nearest n = { .word = word };

    for (unsigned op = 0; op < WG_OP_MAX; op++)
        if (wg_fops[op].kind)
            wg_nearest(&n, wg_fops[op].name);
    wg_error("%s: option 'fops': there is no fop '%s'%s", xl->name, word, wg_nearest_hint(&n));
    return EINVAL;
}

static int read_ops(struct wg_match *m, const struct wg_xlator *xl)
{
    const char *at = wg_opt_str(xl, "fops");

    m->ops = 0;
    for (at += strspn(at, ", \t"); *at; at += strspn(at, ", \t")) {
        size_t len = strcspn(at, ", \t");
        char word[32];
        uint64_t ops;

        snprintf(word, sizeof word, "%.*s", (int)len, at);
        ops = ops_of_word(word);
        if (!ops)
            return unknown_fop(xl, word);
        m->ops |= ops;
        at += len;
    }
    if (!m->ops) {
        wg_error("%s: option 'fops' names none", xl->name);
        return EINVAL;
    }
    return 0;
}

/* A pattern that matches everything is none. */
static int read_pattern(char **ret, const struct wg_xlator *xl, const char *option)
{
    const char *text = wg_opt_str(xl, option);

    *ret = NULL;
    if (!*text || strcmp(text, "*") == 0)
        return 0;
    *ret = strdup(text);
    return *ret ? 0 : ENOMEM;
}

int wg_match_init(struct wg_match *m, const struct wg_xlator *xl)
{
    int err;

    *m = (struct wg_match){ 0 };
    err = read_ops(m, xl);
    if (!err)
        err = read_pattern(&m->client, xl, "client");
    if (!err)
        err = read_pattern(&m->path, xl, "path");
    if (err)
        wg_match_fini(m);
    return err;
}

void wg_match_fini(struct wg_match *m)
{
    free(m->client);
    free(m->path);
    *m = (struct wg_match){ 0 };
}

static bool match_client(const struct wg_match *m, const struct wg_frame *f)
{
    struct wg_str c = f->call->client;
    char text[128];

    snprintf(text, sizeof text, "%.*s", (int)c.len, c.len ? c.s : "");
    return fnmatch(m->client, text, 0) == 0;
}

static bool match_path(const char *pattern, struct wg_names *names, const struct wg_frame *f)
{
    char path[1400];
    const char *last;

    wg_names_path(names, f->op, f->in, path, sizeof path);
    last = strrchr(path, '/');
    return fnmatch(pattern, strchr(pattern, '/') || !last ? path : last + 1, 0) == 0;
}

bool wg_match_frame(const struct wg_match *m, struct wg_names *names, const struct wg_frame *f)
{
    return wg_match_op(m, f->op) && (!m->client || match_client(m, f)) &&
           (!m->path || match_path(m->path, names, f));
}

int wg_match_errno(const char *name, size_t len)
{
    for (int err = 1; err < 1100; err++) {
        const char *row = wg_error_name(err);

        if (strlen(row) == len && strncasecmp(row, name, len) == 0)
            return err;
    }
    return 0;
}

int wg_match_percent(const char *text, uint64_t *ret)
{
    char *end;
    double v = strtod(text, &end);

    if (end == text || (*end && strcmp(end, "%") != 0) || !(v >= 0 && v <= 100))
        return EINVAL;
    *ret = (uint64_t)(v / 100 * 4294967296.0);
    return 0;
}

bool wg_match_may_block(const struct wg_xlator *xl)
{
    for (unsigned i = 0; i < xl->nchildren; i++) {
        const struct wg_xlator *c = xl->children[i];

        if (strcmp(c->class->type, "performance/io-threads") == 0 ||
            strcmp(c->class->type, "protocol/client") == 0)
            continue;
        if (strncmp(c->class->type, "storage/", 8) == 0 || wg_match_may_block(c))
            return true;
    }
    return false;
}

/* --- sets of options --- */

int wg_set_refuse(const struct wg_xlator *xl, const char *option, const char *takes)
{
    wg_error("%s: option '%s' is '%s'; it takes %s", xl->name, option, wg_opt_str(xl, option), takes);
    return EINVAL;
}

int wg_sets_put(struct wg_xlator *xl, size_t size, int (*read)(struct wg_set *s, const struct wg_xlator *xl), bool learns)
{
    struct wg_sets *sets = xl->priv;
    struct wg_set *old = atomic_load(&sets->now), *s = calloc(1, size);
    int err = s ? read(s, xl) : ENOMEM;

    if (!err)
        err = wg_match_init(&s->match, xl);
    if (err) {
        free(s);
        return err;
    }
    s->enabled = wg_opt_bool(xl, "enabled");
    s->older = old;
    s->names = old ? old->names : NULL;
    if (!s->names && (learns || s->match.path) && !(s->names = wg_names_new())) {
        wg_match_fini(&s->match);
        free(s);
        return ENOMEM;
    }
    atomic_store(&sets->now, s);
    return 0;
}

void wg_sets_free(struct wg_sets *sets)
{
    struct wg_set *s = atomic_load(&sets->now), *older;

    if (s)
        wg_names_free(s->names); /* the newest knows them if there are any */
    for (; s; s = older) {
        older = s->older;
        wg_match_fini(&s->match);
        free(s);
    }
    atomic_store(&sets->now, NULL);
}

static void learnt(struct wg_frame *f)
{
    struct wg_sets *sets = f->this->priv;

    if (!f->err)
        wg_names_learn(atomic_load(&sets->now)->names, f);
    wg_unwind(f, f->err);
}

void wg_set_pass(const struct wg_set *s, struct wg_frame *f)
{
    if (s->enabled && s->match.path && wg_names_teaches(f->op))
        wg_wind(f, wg_child(f), learnt);
    else
        wg_pass(f, wg_child(f));
}
