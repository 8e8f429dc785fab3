/* SPDX-License-Identifier: Apache-2.0 */
/*
 * performance/md-cache: remembers attributes, names, permissions, link targets, xattrs, and what S3's HEAD asks
 * for, while the store promises to say when they change. Coherent across gateways as nl-cache is.
 *
 * An inode's attributes are kept once, under its gfid, whichever answer brought them; a name only says which inode
 * it leads to. Answers that depend on who asks (names, permissions, objects) have the asker in their key. The
 * access time is the one thing that lags: reading a file changes it, and is not reported.
 */
#include <errno.h>

#include "../answers.h"
#include "dump.h"
#include "xlator.h"

enum kind { ATTR = 1, NAME, ACCESS, LINK, XATTR, OBJECT };

#define VALUE_MAX (WG_META_MAX + 4096) /* of one answer */

struct local {
    uint64_t seen; /* when the question went down */
};

static const struct wg_option options[] = {
    { "cache-size", WG_OPT_SIZE, 64 << 10, (int64_t)64 << 30, "64M", "Memory for attributes.", true },
    { "ttl", WG_OPT_TIME, 1, 86400000, "60s", "How long an answer is believed at most; bounds how long an edit "
      "made on the brick's disk, behind Windgate's back, can stay unseen.", true },
    { "xattrs", WG_OPT_STR, 0, 0, "*", "Names of the extended attributes that are remembered, with commas; "
      "* at the end stands for any rest.", true },
    { 0 },
};

#define NO_NAME ((struct wg_str){ NULL, 0 })

static void ask(struct wg_frame *f, wg_handler *done)
{
    struct local *l = f->local;

    l->seen = wg_answers_seen(f->this->priv);
    f->want_lease = true;
    wg_wind(f, wg_child(f), done);
}

/* --- attributes, by gfid --- */

static bool get_attr(struct wg_frame *f, const wg_gfid *gfid, struct wg_iatt *ret)
{
    struct wg_answer_key key;

    return wg_answer_key(&key, ATTR, NULL, gfid, NO_NAME) &&
           wg_answers_get(f->this->priv, &key, ret, sizeof *ret, NULL);
}

static void keep_attr(struct wg_frame *f, const struct wg_iatt *attr)
{
    const struct local *l = f->local;
    struct wg_answer_key key;

    if (attr->valid && wg_answer_key(&key, ATTR, NULL, &attr->gfid, NO_NAME))
        wg_answers_put_on(f->this->priv, f, l->seen, &attr->gfid, NO_NAME, &key, attr, sizeof *attr);
}

static void got_attr(struct wg_frame *f)
{
    if (!f->err)
        keep_attr(f, &wg_out(f, getattr)->attr);
    wg_unwind(f, f->err);
}

static void mdc_getattr(struct wg_frame *f)
{
    const struct wg_getattr_in *in = wg_in(f, getattr);
    struct wg_iatt attr;
    struct wg_getattr_out *out;

    if (!get_attr(f, &in->at.gfid, &attr))
        return ask(f, got_attr);
    out = wg_new_out(f, getattr);
    if (!out)
        return wg_unwind(f, ENOMEM);
    out->attr = attr;
    wg_unwind(f, 0);
}

/* --- names: which inode --- */

static void looked_up(struct wg_frame *f)
{
    const struct wg_lookup_in *in = wg_in(f, lookup);
    const struct local *l = f->local;
    const struct wg_lookup_out *out = wg_out(f, lookup);
    struct wg_answer_key key;

    if (!f->err) {
        keep_attr(f, &out->attr);
        if (wg_answer_key(&key, NAME, &f->call->cred, &in->at.parent.gfid, in->at.name))
            wg_answers_put_on(f->this->priv, f, l->seen, &in->at.parent.gfid, in->at.name, &key, &out->ref,
                              sizeof out->ref);
    }
    if (out)
        keep_attr(f, &out->parent);
    wg_unwind(f, f->err);
}

static void mdc_lookup(struct wg_frame *f)
{
    const struct wg_lookup_in *in = wg_in(f, lookup);
    struct wg_answer_key key;
    struct wg_ref ref;
    struct wg_iatt attr;
    struct wg_lookup_out *out;

    if (wg_is_dots(in->at.name))
        return wg_pass(f, wg_child(f));
    if (!wg_answer_key(&key, NAME, &f->call->cred, &in->at.parent.gfid, in->at.name) ||
        !wg_answers_get(f->this->priv, &key, &ref, sizeof ref, NULL) || !get_attr(f, &ref.gfid, &attr))
        return ask(f, looked_up);
    out = wg_new_out(f, lookup);
    if (!out)
        return wg_unwind(f, ENOMEM);
    out->ref = ref;
    out->attr = attr;
    if (!get_attr(f, &in->at.parent.gfid, &out->parent))
        out->parent.valid = false;
    wg_unwind(f, 0);
}

/* --- permissions --- */

static bool access_key(const struct wg_frame *f, struct wg_answer_key *ret)
{
    const struct wg_access_in *in = wg_in(f, access);

    return wg_answer_key(ret, ACCESS, &f->call->cred, &in->at.gfid,
                         (struct wg_str){ (const char *)&in->mask, sizeof in->mask });
}

static void got_access(struct wg_frame *f)
{
    const struct local *l = f->local;
    const struct wg_access_out *out = wg_out(f, access);
    struct wg_answer_key key;

    if (!f->err) {
        keep_attr(f, &out->attr);
        if (access_key(f, &key))
            wg_answers_put(f->this->priv, f, l->seen, &key, &out->granted, sizeof out->granted);
    }
    wg_unwind(f, f->err);
}

static void mdc_access(struct wg_frame *f)
{
    struct wg_answer_key key;
    struct wg_access_out *out;
    struct wg_iatt attr;
    uint32_t granted;

    if (!access_key(f, &key) || !wg_answers_get(f->this->priv, &key, &granted, sizeof granted, NULL) ||
        !get_attr(f, &wg_in(f, access)->at.gfid, &attr))
        return ask(f, got_access);
    out = wg_new_out(f, access);
    if (!out)
        return wg_unwind(f, ENOMEM);
    out->granted = granted;
    out->attr = attr;
    wg_unwind(f, 0);
}

/* --- link targets --- */

static void got_link(struct wg_frame *f)
{
    const struct local *l = f->local;
    const struct wg_readlink_out *out = wg_out(f, readlink);
    struct wg_answer_key key;

    if (!f->err) {
        keep_attr(f, &out->attr);
        if (wg_answer_key(&key, LINK, &f->call->cred, &wg_in(f, readlink)->at.gfid, NO_NAME))
            wg_answers_put(f->this->priv, f, l->seen, &key, out->target.s, out->target.len);
    }
    wg_unwind(f, f->err);
}

static void mdc_readlink(struct wg_frame *f)
{
    const wg_gfid *gfid = &wg_in(f, readlink)->at.gfid;
    char target[WG_PATH_MAX];
    struct wg_answer_key key;
    struct wg_readlink_out *out;
    struct wg_iatt attr;
    uint32_t len;

    if (!wg_answer_key(&key, LINK, &f->call->cred, gfid, NO_NAME) ||
        !wg_answers_get(f->this->priv, &key, target, sizeof target, &len) || !get_attr(f, gfid, &attr))
        return ask(f, got_link);
    out = wg_new_out(f, readlink);
    if (!out || wg_strdup(&f->call->arena, (struct wg_str){ target, len }, &out->target))
        return wg_unwind(f, ENOMEM);
    out->attr = attr;
    wg_unwind(f, 0);
}

/* --- xattrs: the packed list, and its count before it --- */

static bool chosen(const struct wg_xlator *xl, struct wg_str name)
{
    const char *at = wg_opt_str(xl, "xattrs");

    while (*at) {
        uint32_t len = (uint32_t)strcspn(at, ",");
        bool open = len > 0 && at[len - 1] == '*';

        if (open ? name.len >= len - 1 && memcmp(at, name.s, len - 1) == 0
                 : wg_str_eq((struct wg_str){ at, len }, name))
            return true;
        at += len + (at[len] == ',');
    }
    return false;
}

static void got_xattr(struct wg_frame *f)
{
    const struct wg_getxattr_in *in = wg_in(f, getxattr);
    const struct local *l = f->local;
    const struct wg_getxattr_out *out = wg_out(f, getxattr);
    struct wg_answer_key key;
    uint8_t value[VALUE_MAX];

    if (!f->err && out->xattrs.len <= sizeof value - sizeof out->xattrs.count &&
        wg_answer_key(&key, XATTR, &f->call->cred, &in->at.gfid, in->name)) {
        memcpy(value, &out->xattrs.count, sizeof out->xattrs.count);
        if (out->xattrs.len > 0)
            memcpy(value + sizeof out->xattrs.count, out->xattrs.base, out->xattrs.len);
        wg_answers_put(f->this->priv, f, l->seen, &key, value,
                       (uint32_t)sizeof out->xattrs.count + out->xattrs.len);
    }
    wg_unwind(f, f->err);
}

static void mdc_getxattr(struct wg_frame *f)
{
    const struct wg_getxattr_in *in = wg_in(f, getxattr);
    struct wg_answer_key key;
    uint8_t value[VALUE_MAX];
    struct wg_getxattr_out *out;
    uint32_t len;

    if (!chosen(f->this, in->name))
        return wg_pass(f, wg_child(f));
    if (!wg_answer_key(&key, XATTR, &f->call->cred, &in->at.gfid, in->name) ||
        !wg_answers_get(f->this->priv, &key, value, sizeof value, &len))
        return ask(f, got_xattr);
    out = wg_new_out(f, getxattr);
    if (!out)
        return wg_unwind(f, ENOMEM);
    memcpy(&out->xattrs.count, value, sizeof out->xattrs.count);
    out->xattrs.len = len - (uint32_t)sizeof out->xattrs.count;
    out->xattrs.base = wg_memdup(&f->call->arena, value + sizeof out->xattrs.count, out->xattrs.len);
    wg_unwind(f, out->xattrs.base ? 0 : ENOMEM);
}

/* --- HEAD of an object: the record of get, without data --- */

static bool object_key(const struct wg_frame *f, struct wg_answer_key *ret)
{
    const struct wg_get_in *in = wg_in(f, get);

    return in->size == 0 && in->space == WG_SPACE_OBJECTS &&
           wg_answer_key(ret, OBJECT, &f->call->cred, &in->bucket.gfid, in->key);
}

static void got_object(struct wg_frame *f)
{
    const struct local *l = f->local;
    const struct wg_get_out *out = wg_out(f, get);
    struct wg_answer_key key;
    uint8_t value[VALUE_MAX];
    struct wg_enc e = { .at = value, .end = value + sizeof value };

    if (!f->err && out->data.len == 0 && object_key(f, &key)) {
        wg_put_record(&e, WG_OP_get, true, out);
        if (!e.overflow)
            wg_answers_put(f->this->priv, f, l->seen, &key, value, (uint32_t)(e.at - value));
    }
    wg_unwind(f, f->err);
}

static void mdc_get(struct wg_frame *f)
{
    struct wg_answer_key key;
    uint8_t value[VALUE_MAX];
    struct wg_dec d = { .arena = &f->call->arena };
    void *out;
    uint32_t len;
    int err;

    if (!object_key(f, &key))
        return wg_pass(f, wg_child(f));
    if (!wg_answers_get(f->this->priv, &key, value, sizeof value, &len))
        return ask(f, got_object);
    d.at = (const uint8_t *)wg_memdup(&f->call->arena, value, len);
    if (!d.at)
        return wg_unwind(f, ENOMEM);
    d.end = d.at + len;
    err = wg_get_record(&d, WG_OP_get, true, &out);
    if (!err)
        f->out = out;
    wg_unwind(f, err);
}

/* --- the class --- */

static uint64_t ttl_ns(const struct wg_xlator *xl)
{
    return (uint64_t)wg_opt_int(xl, "ttl") * 1000000u;
}

static int mdc_init(struct wg_xlator *xl)
{
    xl->priv = wg_answers_new((uint64_t)wg_opt_int(xl, "cache-size"), ttl_ns(xl));
    return xl->priv ? 0 : ENOMEM;
}

static int mdc_reload(struct wg_xlator *xl)
{
    wg_answers_limit(xl->priv, (uint64_t)wg_opt_int(xl, "cache-size"), ttl_ns(xl));
    return 0;
}

static void mdc_fini(struct wg_xlator *xl)
{
    wg_answers_free(xl->priv);
}

static void mdc_event(struct wg_xlator *xl, const struct wg_event *ev)
{
    wg_answers_event(xl->priv, ev);
}

static void mdc_dump(struct wg_xlator *xl, struct wg_dump *d)
{
    wg_answers_dump(xl->priv, d, "attributes");
}

const struct wg_class wg_performance_md_cache = {
    .type = "performance/md-cache",
    .help = "remembers attributes, names, permissions, link targets and xattrs",
    .options = options,
    .local_size = sizeof(struct local),
    .min_children = 1,
    .max_children = 1,
    .init = mdc_init,
    .fini = mdc_fini,
    .reload = mdc_reload,
    .event = mdc_event,
    .dump = mdc_dump,
    .fops = {
        [WG_OP_lookup] = mdc_lookup,
        [WG_OP_getattr] = mdc_getattr,
        [WG_OP_access] = mdc_access,
        [WG_OP_readlink] = mdc_readlink,
        [WG_OP_getxattr] = mdc_getxattr,
        [WG_OP_get] = mdc_get,
    },
};
