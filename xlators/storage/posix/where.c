/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a gfid is: its row in "gfids", and (without handles, where nothing but a name leads to an inode) its
 * other names in "links". So a name that goes, or a rename that fails, leaves one that holds.
 */
#include "rows.h"

struct link_key {
    wg_gfid gfid, dir;
    char name[WG_NAME_MAX];
};

static MDB_val link_key(struct link_key *k, const wg_gfid *gfid, const wg_gfid *dir, const void *name, uint32_t len)
{
    k->gfid = *gfid;
    k->dir = *dir;
    memcpy(k->name, name, len);
    return (MDB_val){ offsetof(struct link_key, name) + len, k };
}

static bool valid(const MDB_val *val)
{
    const struct gfid_value *v = val->mv_data;

    return val->mv_size >= GFID_VALUE_FIXED && v->hint_len <= WG_HINT_MAX &&
           val->mv_size == GFID_VALUE_FIXED + v->hint_len + v->name_len;
}

static bool is_at(const struct gfid_value *v, const struct px_jrow *r)
{
    return wg_gfid_eq(v->parent, r->dir) && v->name_len == r->name_len &&
           memcmp(v->bytes + v->hint_len, r->name, r->name_len) == 0;
}

static int ignore_absent(int rc)
{
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* gfid gets another name: the one it has stays known, the new one is no longer among the others. */
static int keep_other(struct px_index *ix, MDB_txn *txn, const struct px_jrow *r, const struct gfid_value *old)
{
    struct link_key k;
    MDB_val key, val = { 1, (void *)(uintptr_t)&old->type };
    int rc;

    if (ix->px->handles || is_at(old, r))
        return 0;
    key = link_key(&k, &r->gfid, &old->parent, old->bytes + old->hint_len, old->name_len);
    rc = mdb_put(txn, ix->links, &key, &val, 0);
    if (rc)
        return rc;
    key = link_key(&k, &r->gfid, &r->dir, r->name, r->name_len);
    return ignore_absent(mdb_del(txn, ix->links, &key, NULL));
}

int wg_px_where_put(struct px_index *ix, MDB_txn *txn, const struct px_jrow *r)
{
    struct gfid_value v = { .type = r->type, .hint_len = r->hint_len, .name_len = r->name_len,
                            .parent = r->dir }, o;
    MDB_val key = { 16, (void *)(uintptr_t)r->gfid.b }, old, val = { 0, &v };
    int rc;

    memcpy(v.bytes, r->hint, r->hint_len);
    if (mdb_get(txn, ix->gfids, &key, &old) == 0 && valid(&old)) {
        memcpy(&o, old.mv_data, old.mv_size); /* a page that is written to may move */
        if (r->hint_len == 0) {               /* the handle of an inode never changes */
            v.hint_len = o.hint_len;
            memcpy(v.bytes, o.bytes, o.hint_len);
        }
        rc = keep_other(ix, txn, r, &o);
        if (rc)
            return rc;
    }
    memcpy(v.bytes + v.hint_len, r->name, r->name_len);
    val.mv_size = GFID_VALUE_FIXED + v.hint_len + v.name_len;
    return mdb_put(txn, ix->gfids, &key, &val, 0);
}

/* The first of gfid's other names, if there is one, becomes its row. */
static int take_other(struct px_index *ix, MDB_txn *txn, const struct px_jrow *r)
{
    struct gfid_value v = { 0 };
    struct link_key k;
    MDB_val key = { 16, (void *)(uintptr_t)r->gfid.b }, at = key, val, to = { 0, &v };
    MDB_cursor *c;
    int rc = mdb_cursor_open(txn, ix->links, &c);

    if (rc)
        return rc;
    rc = mdb_cursor_get(c, &at, &val, MDB_SET_RANGE);
    if (!rc && at.mv_size > offsetof(struct link_key, name) && at.mv_size <= sizeof k &&
        memcmp(at.mv_data, r->gfid.b, 16) == 0) {
        memcpy(&k, at.mv_data, at.mv_size);
        v.type = val.mv_size ? *(const uint8_t *)val.mv_data : WG_NONE;
        v.parent = k.dir;
        v.name_len = (uint8_t)(at.mv_size - offsetof(struct link_key, name));
        memcpy(v.bytes, k.name, v.name_len);
        to.mv_size = GFID_VALUE_FIXED + v.name_len;
        rc = mdb_cursor_del(c, 0);
        mdb_cursor_close(c);
        return rc ? rc : mdb_put(txn, ix->gfids, &key, &to, 0);
    }
    mdb_cursor_close(c);
    return ignore_absent(rc);
}

int wg_px_where_del(struct px_index *ix, MDB_txn *txn, const struct px_jrow *r)
{
    MDB_val key = { 16, (void *)(uintptr_t)r->gfid.b }, old;
    struct link_key k;
    int rc;

    if (ix->px->handles)
        return 0;
    rc = mdb_get(txn, ix->gfids, &key, &old);
    if (!rc && valid(&old) && is_at(old.mv_data, r))
        return take_other(ix, txn, r);
    key = link_key(&k, &r->gfid, &r->dir, r->name, r->name_len);
    return ignore_absent(mdb_del(txn, ix->links, &key, NULL));
}

static int forget_others(struct px_index *ix, MDB_txn *txn, const struct px_jrow *r)
{
    MDB_val key, val;
    MDB_cursor *c = NULL;
    int rc = mdb_cursor_open(txn, ix->links, &c);

    while (!rc) {
        key = (MDB_val){ 16, (void *)(uintptr_t)r->gfid.b };
        rc = mdb_cursor_get(c, &key, &val, MDB_SET_RANGE);
        if (rc || key.mv_size < 16 || memcmp(key.mv_data, r->gfid.b, 16) != 0)
            break;
        rc = mdb_cursor_del(c, 0);
    }
    if (c)
        mdb_cursor_close(c);
    return ignore_absent(rc);
}

int wg_px_where_forget(struct px_index *ix, MDB_txn *txn, const struct px_jrow *r)
{
    MDB_val key = { 16, (void *)(uintptr_t)r->gfid.b };
    int rc = ignore_absent(mdb_del(txn, ix->gfids, &key, NULL));

    return rc || ix->px->handles ? rc : forget_others(ix, txn, r);
}

static int decode_row(const MDB_val *val, struct px_where *ret)
{
    const struct gfid_value *v = val->mv_data;

    if (!valid(val))
        return EIO;
    *ret = (struct px_where){ .parent = v->parent, .type = v->type, .hint_len = v->hint_len };
    memcpy(ret->hint, v->bytes, v->hint_len);
    memcpy(ret->name, v->bytes + v->hint_len, v->name_len);
    return 0;
}

/* The nth (from 1) of the other names. */
static int read_other(struct px_index *ix, MDB_txn *txn, const wg_gfid *gfid, unsigned nth, struct px_where *ret)
{
    MDB_val key = { 16, (void *)(uintptr_t)gfid->b }, val;
    const struct link_key *k;
    MDB_cursor *c;
    int rc = mdb_cursor_open(txn, ix->links, &c);

    if (rc)
        return from_mdb(rc);
    rc = mdb_cursor_get(c, &key, &val, MDB_SET_RANGE);
    while (!rc && --nth > 0)
        rc = mdb_cursor_get(c, &key, &val, MDB_NEXT);
    if (!rc && (key.mv_size < 16 || memcmp(key.mv_data, gfid->b, 16) != 0))
        rc = MDB_NOTFOUND;
    if (!rc && (key.mv_size <= offsetof(struct link_key, name) || key.mv_size > sizeof *k))
        rc = MDB_CORRUPTED;
    if (!rc) {
        k = key.mv_data;
        *ret = (struct px_where){ .parent = k->dir, .type = val.mv_size ? *(const uint8_t *)val.mv_data : WG_NONE };
        memcpy(ret->name, k->name, key.mv_size - offsetof(struct link_key, name));
    }
    mdb_cursor_close(c);
    return from_mdb(rc);
}

int wg_px_where_get(struct px_index *ix, MDB_txn *txn, const wg_gfid *gfid, unsigned nth, struct px_where *ret)
{
    MDB_val key = { 16, (void *)(uintptr_t)gfid->b }, val;
    int err;

    if (nth > 0)
        return read_other(ix, txn, gfid, nth, ret);
    err = from_mdb(mdb_get(txn, ix->gfids, &key, &val));
    return err ? err : decode_row(&val, ret);
}
