/* SPDX-License-Identifier: Apache-2.0 */
/* XDR, the arguments of every procedure, and the parts of replies, without a server. */
#include <check.h>
#include <stdlib.h>

#include "fop.h"
#include "frontends/nfs/nfs3.h"

static uint8_t bytes[8192];
static struct wg_xdr_out w;

static void begin(void)
{
    w = (struct wg_xdr_out){ bytes, bytes + sizeof bytes, false };
}

static uint32_t length(void)
{
    ck_assert(!w.bad);
    return (uint32_t)(w.at - bytes);
}

START_TEST(numbers_and_strings_come_back)
{
    struct wg_xdr_in r;

    begin();
    wg_xdr_put_u32(&w, 0xfedcba98);
    wg_xdr_put_u64(&w, 0x0123456789abcdef);
    wg_xdr_put_bytes(&w, "hello", 5);
    wg_xdr_put_u32(&w, 1);
    ck_assert_uint_eq(length(), 4 + 8 + 4 + 8 + 4);
    ck_assert_uint_eq(bytes[0], 0xfe);
    r = (struct wg_xdr_in){ bytes, w.at, false };
    ck_assert_uint_eq(wg_xdr_get_u32(&r), 0xfedcba98);
    ck_assert_uint_eq(wg_xdr_get_u64(&r), 0x0123456789abcdef);
    ck_assert(wg_str_eq(wg_xdr_get_bytes(&r, 5), WG_STR("hello")));
    ck_assert(wg_xdr_get_bool(&r));
    ck_assert(!r.bad);
    ck_assert_uint_eq(wg_xdr_left(&r), 0);
    ck_assert_uint_eq(wg_xdr_get_u32(&r), 0);
    ck_assert(r.bad);
}
END_TEST

START_TEST(lengths_are_bounded)
{
    static const uint8_t huge[] = { 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4 };
    struct wg_xdr_in r = { huge, huge + sizeof huge, false };

    ck_assert_ptr_null(wg_xdr_get_bytes(&r, UINT32_MAX).s);
    ck_assert(r.bad);
    r = (struct wg_xdr_in){ huge + 4, huge + 8, false };
    ck_assert_uint_eq(wg_xdr_get_bytes(&r, 10).len, 0);
    ck_assert(r.bad);
    r = (struct wg_xdr_in){ huge + 3, huge + 8, false };
    wg_xdr_get_bool(&r); /* 0xff010203 is neither 0 nor 1 */
    ck_assert(r.bad);
}
END_TEST

START_TEST(the_writer_stops_at_its_end)
{
    for (size_t room = 0; room < 24; room++) {
        uint8_t *small = malloc(room + 1); /* ASan watches what is behind */

        w = (struct wg_xdr_out){ small, small + room, false };
        wg_xdr_put_u64(&w, 1);
        wg_xdr_put_bytes(&w, "abcdefghi", 9);
        ck_assert(w.bad);
        ck_assert_uint_le((size_t)(w.at - small), room);
        free(small);
    }
}
END_TEST

static void put_fh(char c)
{
    char fh[37];

    memset(fh, c, sizeof fh);
    wg_xdr_put_bytes(&w, fh, sizeof fh);
}

static void put_sattr(void)
{
    wg_xdr_put_u32(&w, 1);
    wg_xdr_put_u32(&w, 0107644); /* the type's bits are not mode */
    wg_xdr_put_u32(&w, 1);
    wg_xdr_put_u32(&w, 1001);
    wg_xdr_put_u32(&w, 0);
    wg_xdr_put_u32(&w, 1);
    wg_xdr_put_u64(&w, 1ull << 40);
    wg_xdr_put_u32(&w, 1); /* the server's time */
    wg_xdr_put_u32(&w, 2);
    wg_xdr_put_u32(&w, 4000000000u);
    wg_xdr_put_u32(&w, 999);
}

static void check_sattr(const struct wg_sattr *s)
{
    ck_assert_uint_eq(s->valid & ~(uint32_t)WG_SET_GUARD, WG_SET_MODE | WG_SET_UID | WG_SET_SIZE |
                                                    WG_SET_ATIME_NOW | WG_SET_MTIME);
    ck_assert_uint_eq(s->mode, 07644);
    ck_assert_uint_eq(s->uid, 1001);
    ck_assert_uint_eq(s->size, 1ull << 40);
    ck_assert_int_eq(s->mtime.sec, 4000000000);
    ck_assert_uint_eq(s->mtime.nsec, 999);
}

/* Well-formed arguments of each procedure. */
static void put_args(unsigned proc)
{
    begin();
    put_fh('a');
    switch (proc) {
    case NFS3_SETATTR:
        put_sattr();
        wg_xdr_put_u32(&w, 1);
        wg_xdr_put_u64(&w, 5ull << 32 | 6);
        break;
    case NFS3_LOOKUP: case NFS3_REMOVE: case NFS3_RMDIR:
        wg_xdr_put_bytes(&w, "name", 4);
        break;
    case NFS3_ACCESS:
        wg_xdr_put_u32(&w, 0x3f);
        break;
    case NFS3_READ: case NFS3_COMMIT:
        wg_xdr_put_u64(&w, 77);
        wg_xdr_put_u32(&w, 88);
        break;
    case NFS3_WRITE:
        wg_xdr_put_u64(&w, 77);
        wg_xdr_put_u32(&w, 5);
        wg_xdr_put_u32(&w, WG_DATA_SYNC);
        wg_xdr_put_bytes(&w, "bytes", 5);
        break;
    case NFS3_CREATE:
        wg_xdr_put_bytes(&w, "name", 4);
        wg_xdr_put_u32(&w, WG_GUARDED);
        put_sattr();
        break;
    case NFS3_MKDIR:
        wg_xdr_put_bytes(&w, "name", 4);
        put_sattr();
        break;
    case NFS3_SYMLINK:
        wg_xdr_put_bytes(&w, "name", 4);
        put_sattr();
        wg_xdr_put_bytes(&w, "target", 6);
        break;
    case NFS3_MKNOD:
        wg_xdr_put_bytes(&w, "name", 4);
        wg_xdr_put_u32(&w, 4);
        put_sattr();
        wg_xdr_put_u32(&w, 8);
        wg_xdr_put_u32(&w, 1);
        break;
    case NFS3_RENAME:
        wg_xdr_put_bytes(&w, "name", 4);
        put_fh('b');
        wg_xdr_put_bytes(&w, "other", 5);
        break;
    case NFS3_LINK:
        put_fh('b');
        wg_xdr_put_bytes(&w, "other", 5);
        break;
    case NFS3_READDIR: case NFS3_READDIRPLUS:
        wg_xdr_put_u64(&w, 1ull << 62);
        wg_xdr_put_u64(&w, 42);
        wg_xdr_put_u32(&w, 1000);
        if (proc == NFS3_READDIRPLUS)
            wg_xdr_put_u32(&w, 9000);
        break;
    }
}

START_TEST(every_procedure_decodes_and_refuses_every_truncation)
{
    for (unsigned proc = 1; proc < NFS3_NPROCS; proc++) {
        struct nfs3_args a;
        uint32_t len;

        put_args(proc);
        len = length();
        ck_assert_msg(nfs3_get_args(proc, bytes, len, &a), "procedure %u", proc);
        ck_assert_uint_eq(a.fh[0].len, 37);
        ck_assert_int_eq(a.fh[0].s[0], 'a');
        for (uint32_t cut = 0; cut < len; cut += 4) {
            uint8_t *copy = malloc(cut + 1);

            memcpy(copy, bytes, cut);
            ck_assert_msg(!nfs3_get_args(proc, copy, cut, &a), "procedure %u cut at %u", proc, cut);
            free(copy);
        }
    }
}
END_TEST

START_TEST(fields_are_where_they_belong)
{
    struct nfs3_args a;

    put_args(NFS3_SETATTR);
    nfs3_get_args(NFS3_SETATTR, bytes, length(), &a);
    check_sattr(&a.attrs);
    ck_assert(a.attrs.valid & WG_SET_GUARD);
    ck_assert_int_eq(a.attrs.guard.sec, 5);
    ck_assert_uint_eq(a.attrs.guard.nsec, 6);
    put_args(NFS3_WRITE);
    nfs3_get_args(NFS3_WRITE, bytes, length(), &a);
    ck_assert(wg_str_eq(a.data, WG_STR("bytes")));
    ck_assert_uint_eq(a.offset, 77);
    ck_assert_uint_eq(a.stable, WG_DATA_SYNC);
    put_args(NFS3_RENAME);
    nfs3_get_args(NFS3_RENAME, bytes, length(), &a);
    ck_assert(wg_str_eq(a.name[0], WG_STR("name")) && wg_str_eq(a.name[1], WG_STR("other")));
    ck_assert_int_eq(a.fh[1].s[0], 'b');
    put_args(NFS3_MKNOD);
    nfs3_get_args(NFS3_MKNOD, bytes, length(), &a);
    check_sattr(&a.attrs);
    ck_assert_uint_eq(a.type, WG_CHR);
    ck_assert_uint_eq(a.major, 8);
    ck_assert_uint_eq(a.minor, 1);
    put_args(NFS3_READDIRPLUS);
    nfs3_get_args(NFS3_READDIRPLUS, bytes, length(), &a);
    ck_assert_uint_eq(a.offset, 1ull << 62);
    ck_assert_uint_eq(a.verf, 42);
    ck_assert_uint_eq(a.dircount, 1000);
    ck_assert_uint_eq(a.count, 9000);
}
END_TEST

START_TEST(an_exclusive_create_has_a_verifier_and_no_attributes)
{
    struct nfs3_args a;

    begin();
    put_fh('a');
    wg_xdr_put_bytes(&w, "name", 4);
    wg_xdr_put_u32(&w, WG_EXCLUSIVE);
    wg_xdr_put_u64(&w, 0x1122334455667788);
    ck_assert(nfs3_get_args(NFS3_CREATE, bytes, length(), &a));
    ck_assert_uint_eq(a.verf, 0x1122334455667788);
    ck_assert_uint_eq(a.attrs.valid, 0);
}
END_TEST

START_TEST(nonsense_values_are_garbage)
{
    struct nfs3_args a;

    put_args(NFS3_WRITE);
    bytes[40 + 4 + 11] = 6; /* count above the data that follow */
    ck_assert(!nfs3_get_args(NFS3_WRITE, bytes, length(), &a));
    put_args(NFS3_WRITE);
    bytes[40 + 4 + 15] = 3; /* stable_how */
    ck_assert(!nfs3_get_args(NFS3_WRITE, bytes, length(), &a));
    put_args(NFS3_CREATE);
    bytes[40 + 4 + 8 + 3] = 3; /* createmode3 */
    ck_assert(!nfs3_get_args(NFS3_CREATE, bytes, length(), &a));
    put_args(NFS3_GETATTR);
    bytes[3] = 65; /* a handle of 65 bytes */
    ck_assert(!nfs3_get_args(NFS3_GETATTR, bytes, sizeof bytes, &a));
}
END_TEST

START_TEST(attributes_have_the_size_that_pages_count_with)
{
    struct nfs3_ids ids = { 7, false };
    struct wg_iatt a = { .valid = true, .type = WG_LNK, .mode = 0777, .mtime = { -5, 1 } };
    struct wg_wcc wcc = { .pre_valid = true, .post = a };

    begin();
    nfs3_put_attr(&w, &a, &ids);
    ck_assert_uint_eq(length(), NFS3_ATTR_SIZE);
    ck_assert_uint_eq(bytes[3], 5);
    begin();
    nfs3_put_wcc(&w, &wcc, &ids);
    ck_assert_uint_eq(length(), NFS3_WCC_SIZE);
    begin();
    nfs3_put_wcc(&w, NULL, NULL);
    nfs3_put_post_attr(&w, NULL, NULL);
    ck_assert_uint_eq(length(), 12);
}
END_TEST

START_TEST(file_ids_are_never_zero)
{
    wg_gfid g = { { 0 } };

    ck_assert_uint_ne(nfs3_fileid(g, false), 0);
    ck_assert_uint_eq(nfs3_fileid(WG_ROOT_GFID, false), 1);
    for (int i = 0; i < 1000; i++) {
        g = wg_gfid_new();
        ck_assert_uint_ne(nfs3_fileid(g, true), 0);
        ck_assert_uint_le(nfs3_fileid(g, true), UINT32_MAX);
    }
}
END_TEST

START_TEST(errors_have_their_status)
{
    ck_assert_uint_eq(nfs3_status_of(0), 0);
    ck_assert_uint_eq(nfs3_status_of(ENOENT), 2);
    ck_assert_uint_eq(nfs3_status_of(EBADHANDLE), NFS3ERR_BADHANDLE);
    ck_assert_uint_eq(nfs3_status_of(ETIMEDOUT), NFS3ERR_JUKEBOX);
    ck_assert_uint_eq(nfs3_status_of(ENOTCONN), NFS3ERR_JUKEBOX);
    ck_assert_uint_eq(nfs3_status_of(9999), 5);
}
END_TEST

START_TEST(credentials_are_checked)
{
    struct nfs_authsys a;

    begin();
    wg_xdr_put_u32(&w, 1);
    wg_xdr_put_bytes(&w, "host", 4);
    wg_xdr_put_u32(&w, 10);
    wg_xdr_put_u32(&w, 20);
    wg_xdr_put_u32(&w, 2);
    wg_xdr_put_u32(&w, 30);
    wg_xdr_put_u32(&w, 40);
    ck_assert(nfs_get_authsys(bytes, length(), &a));
    ck_assert(wg_str_eq(a.machine, WG_STR("host")));
    ck_assert_uint_eq(a.uid, 10);
    ck_assert_uint_eq(a.gid, 20);
    ck_assert_uint_eq(a.ngroups, 2);
    ck_assert_uint_eq(a.groups[1], 40);
    for (uint32_t cut = 0; cut < length(); cut += 4)
        ck_assert(!nfs_get_authsys(bytes, cut, &a));
    bytes[23] = 17; /* groups */
    ck_assert(!nfs_get_authsys(bytes, sizeof bytes, &a));
    memset(bytes + 12, 0xff, 4); /* uid -1 */
    ck_assert(!nfs_get_authsys(bytes, length(), &a));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("nfs codec");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    suite_add_tcase(s, t);
    tcase_add_test(t, numbers_and_strings_come_back);
    tcase_add_test(t, lengths_are_bounded);
    tcase_add_test(t, the_writer_stops_at_its_end);
    tcase_add_test(t, every_procedure_decodes_and_refuses_every_truncation);
    tcase_add_test(t, fields_are_where_they_belong);
    tcase_add_test(t, an_exclusive_create_has_a_verifier_and_no_attributes);
    tcase_add_test(t, nonsense_values_are_garbage);
    tcase_add_test(t, attributes_have_the_size_that_pages_count_with);
    tcase_add_test(t, file_ids_are_never_zero);
    tcase_add_test(t, errors_have_their_status);
    tcase_add_test(t, credentials_are_checked);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
