/* SPDX-License-Identifier: Apache-2.0 */
/*
 * performance/nl-cache: remembers that a name is absent, and nothing else. Programs that search a
 * path for their files (interpreters, compilers, loaders) ask for many names that aren't there.
 *
 * An answer ENOENT is kept under (directory, name) while the store promises to say when the name
 * appears: a create, rename, link, mkdir, symlink, mknod or put through this gateway ends it before
 * its maker is answered, one through another gateway by the brick's recall. So it is never wrong,
 * and needs no list of the fops that make names. Who may search the directory is part of the key: to
 * somebody else the answer may be EACCES.
 */
#include <errno.h>

#include "../answers.h"
#include "dump.h"
#include "xlator.h"

enum kind { NAME = 1, OBJECT };

struct local {
    uint64_t seen; /* when the question went down */
};

static const struct wg_option options[] = {
    { "cache-size", WG_OPT_SIZE, 64 << 10, (int64_t)16 << 30, "16M", "Memory for absent names.", true },
    { "ttl", WG_OPT_TIME, 1, 86400000, "60s", "How long an absent name is believed at most; bounds how long a "
      "file made on the brick's disk, behind Windgate's back, can stay unseen.", true },
    { 0 },
};

/* False: a question that is not remembered. */
static bool make_key(const struct wg_frame *f, struct wg_answer_key *ret)
{
    if (f->op == WG_OP_lookup) {
        const struct wg_lookup_in *in = wg_in(f, lookup);

        return !wg_is_dots(in->at.name) &&
               wg_answer_key(ret, NAME, &f->call->cred, &in->at.parent.gfid, in->at.name);
    }
    const struct wg_get_in *in = wg_in(f, get);
    return in->space == WG_SPACE_OBJECTS &&
           wg_answer_key(ret, OBJECT, &f->call->cred, &in->bucket.gfid, in->key);
}

static void remember(struct wg_frame *f)
{
    const struct local *l = f->local;
    struct wg_answer_key key;

    if (f->err == ENOENT && make_key(f, &key))
        wg_answers_put(f->this->priv, f, l->seen, &key, NULL, 0);
    wg_unwind(f, f->err);
}

/* Answers from memory, or asks below and keeps the answer. */
static void nlc_ask(struct wg_frame *f)
{
    struct wg_answers *a = f->this->priv;
    struct local *l = f->local;
    struct wg_answer_key key;

    if (!make_key(f, &key))
        return wg_pass(f, wg_child(f));
    if (wg_answers_get(a, &key, NULL, 0, NULL))
        return wg_unwind(f, ENOENT);
    l->seen = wg_answers_seen(a);
    f->want_lease = true;
    wg_wind(f, wg_child(f), remember);
}

static uint64_t ttl_ns(const struct wg_xlator *xl)
{
    return (uint64_t)wg_opt_int(xl, "ttl") * 1000000u;
}

static int nlc_init(struct wg_xlator *xl)
{
    xl->priv = wg_answers_new((uint64_t)wg_opt_int(xl, "cache-size"), ttl_ns(xl));
    return xl->priv ? 0 : ENOMEM;
}

static int nlc_reload(struct wg_xlator *xl)
{
    wg_answers_limit(xl->priv, (uint64_t)wg_opt_int(xl, "cache-size"), ttl_ns(xl));
    return 0;
}

static void nlc_fini(struct wg_xlator *xl)
{
    wg_answers_free(xl->priv);
}

static void nlc_event(struct wg_xlator *xl, const struct wg_event *ev)
{
    wg_answers_event(xl->priv, ev);
}

static void nlc_dump(struct wg_xlator *xl, struct wg_dump *d)
{
    wg_answers_dump(xl->priv, d, "absent_names");
}

const struct wg_class wg_performance_nl_cache = {
    .type = "performance/nl-cache",
    .help = "remembers which names are absent",
    .options = options,
    .local_size = sizeof(struct local),
    .min_children = 1,
    .max_children = 1,
    .init = nlc_init,
    .fini = nlc_fini,
    .reload = nlc_reload,
    .event = nlc_event,
    .dump = nlc_dump,
    .fops = { [WG_OP_lookup] = nlc_ask, [WG_OP_get] = nlc_ask },
};
