/* SPDX-License-Identifier: Apache-2.0 */
/* Questions to the index. Each sees everything that was logged before it was asked. */
#include "rows.h"

/* A read transaction over everything logged before; ends with end_read. */
static int begin_read(struct px_index *ix, MDB_txn **txn)
{
    int rc;

    (void)wg_px_index_flush(ix->px); /* on a full disk: what there is */
    pthread_rwlock_rdlock(&ix->map);
    rc = ix->env ? mdb_txn_begin(ix->env, NULL, MDB_RDONLY, txn) : EIO;
    if (rc)
        pthread_rwlock_unlock(&ix->map);
    return from_mdb(rc);
}

static void end_read(struct px_index *ix, MDB_txn *txn)
{
    mdb_txn_abort(txn);
    pthread_rwlock_unlock(&ix->map);
}

int wg_px_index_find_nth(struct posix *px, wg_gfid gfid, unsigned nth, struct px_where *ret)
{
    MDB_txn *txn;
    int err = begin_read(px->index, &txn);

    if (err)
        return err;
    err = wg_px_where_get(px->index, txn, &gfid, nth, ret);
    end_read(px->index, txn);
    return err;
}

int wg_px_index_find(struct posix *px, wg_gfid gfid, struct px_where *ret)
{
    return wg_px_index_find_nth(px, gfid, 0, ret);
}

int wg_px_index_row(struct posix *px, wg_gfid dir, const char *name, wg_gfid *ret,
                    uint8_t *ret_type)
{
    MDB_txn *txn;
    int err = begin_read(px->index, &txn), rc = MDB_NOTFOUND;

    if (err)
        return err;
    for (int is_dir = *ret_type == WG_DIR; rc == MDB_NOTFOUND && is_dir < 2; is_dir++) {
        struct name_key k;
        MDB_val key, val;

        if (is_dir && *ret_type != WG_DIR && *ret_type != WG_NONE)
            break;
        name_key(dir, wg_str_of(name), is_dir, &k);
        key = (MDB_val){ k.len, k.b };
        rc = mdb_get(txn, px->index->names, &key, &val);
        if (!rc && val.mv_size < 17)
            rc = EIO;
        if (!rc) {
            memcpy(ret->b, val.mv_data, 16);
            *ret_type = ((const struct name_value *)val.mv_data)->type;
        }
    }
    end_read(px->index, txn);
    return from_mdb(rc);
}

bool wg_px_index_has(struct px_index *ix, wg_gfid dir, const char *name, wg_gfid gfid, uint8_t type,
                     bool *ret_elsewhere)
{
    struct px_where w;
    struct name_key k;
    MDB_val key, val;
    MDB_txn *txn;
    bool has, known;

    *ret_elsewhere = false;
    pthread_rwlock_rdlock(&ix->map);
    has = ix->env && mdb_txn_begin(ix->env, NULL, MDB_RDONLY, &txn) == 0;
    if (has) {
        name_key(dir, wg_str_of(name), type == WG_DIR, &k);
        key = (MDB_val){ k.len, k.b };
        has = mdb_get(txn, ix->names, &key, &val) == 0 && val.mv_size >= 17 &&
              memcmp(val.mv_data, gfid.b, 16) == 0;
        known = wg_px_where_get(ix, txn, &gfid, 0, &w) == 0;
        *ret_elsewhere = known && !(wg_gfid_eq(w.parent, dir) && strcmp(w.name, name) == 0);
        has = has && known;
        mdb_txn_abort(txn);
    }
    pthread_rwlock_unlock(&ix->map);
    return has;
}

static bool to_row(const MDB_val *key, const MDB_val *val, struct px_row *row)
{
    if (key->mv_size < 10 || key->mv_size > 8 + WG_KEY_SORT_MAX || val->mv_size < 17)
        return false;
    row->sort_len = (uint16_t)(key->mv_size - 8);
    memcpy(row->sort, (const uint8_t *)key->mv_data + 8, row->sort_len);
    memcpy(row->gfid.b, val->mv_data, 16);
    row->type = ((const struct name_value *)val->mv_data)->type;
    return true;
}

int wg_px_index_page(struct posix *px, wg_gfid dir, const uint8_t *from, uint32_t from_len,
                     struct px_row *rows, unsigned max, unsigned *ret_n)
{
    uint8_t start[8 + WG_KEY_SORT_MAX + 1];
    MDB_cursor *c;
    MDB_val key = { 8 + from_len, start }, val;
    MDB_txn *txn;
    int rc, err;

    *ret_n = 0;
    if (from_len > sizeof start - 8)
        return EINVAL;
    wg_px_dir_key(dir, start);
    memcpy(start + 8, from, from_len);
    err = begin_read(px->index, &txn);
    if (err)
        return err;
    rc = mdb_cursor_open(txn, px->index->names, &c);
    if (rc) {
        end_read(px->index, txn);
        return from_mdb(rc);
    }
    rc = mdb_cursor_get(c, &key, &val, MDB_SET_RANGE);
    while (!rc && *ret_n < max && key.mv_size >= 8 && memcmp(key.mv_data, start, 8) == 0) {
        if (to_row(&key, &val, &rows[*ret_n]))
            ++*ret_n;
        rc = mdb_cursor_get(c, &key, &val, MDB_NEXT);
    }
    mdb_cursor_close(c);
    end_read(px->index, txn);
    return rc == MDB_NOTFOUND ? 0 : from_mdb(rc);
}

/* The mtime up to which a directory's rows are complete; number 0: the mark of the whole brick. */
int wg_px_index_get_dir(struct px_index *ix, const uint8_t number[8], struct wg_time *ret)
{
    MDB_val key = { 8, (void *)(uintptr_t)number }, val;
    struct dir_value v;
    MDB_txn *txn;
    int err = begin_read(ix, &txn);

    if (err)
        return err;
    err = from_mdb(mdb_get(txn, ix->dirs, &key, &val));
    if (!err && val.mv_size != sizeof v)
        err = EIO;
    if (!err) {
        memcpy(&v, val.mv_data, sizeof v);
        *ret = (struct wg_time){ v.sec, v.nsec };
    }
    end_read(ix, txn);
    return err;
}
