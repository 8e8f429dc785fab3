/* SPDX-License-Identifier: Apache-2.0 */
/* The dispatcher through its socket: exports, credentials, retransmissions, pages, MOUNT. */
#include "dump.h"
#include "tests/nfs/testserver.h"

static uint8_t root[64];
static uint32_t root_len;

static uint32_t call_status(int fd, struct ts_msg *m, struct wg_xdr_in *x)
{
    uint32_t xid;
    int stat;

    ts_send(fd, m);
    stat = ts_reply(fd, &xid, x);
    ck_assert_int_eq(stat, 0);
    return wg_xdr_get_u32(x);
}

static void put_create(struct ts_msg *m, uint32_t xid, const char *name)
{
    ts_begin(m, xid, NFS_PROGRAM, 3, NFS3_CREATE);
    wg_xdr_put_bytes(&m->x, root, root_len);
    wg_xdr_put_bytes(&m->x, name, (uint32_t)strlen(name));
    wg_xdr_put_u32(&m->x, 0);
    for (int i = 0; i < 6; i++)
        wg_xdr_put_u32(&m->x, 0);
}

START_TEST(mounting_gives_a_handle_and_the_flavor)
{
    struct ts_msg m;
    struct wg_xdr_in x;
    int fd = ts_connect();

    ck_assert_uint_eq(ts_mount(fd, "/test", root, &root_len), 0);
    ck_assert_uint_eq(ts_mount(fd, "//test/", root, &root_len), 0);
    ck_assert_uint_eq(ts_mount(fd, "/test/absent", root, &root_len), 2);
    ck_assert_uint_eq(ts_mount(fd, "/test/file", root, &root_len), 20);
    ck_assert_uint_eq(ts_mount(fd, "/test/..", root, &root_len), 13);
    ck_assert_uint_eq(ts_mount(fd, "/other", root, &root_len), 2);
    ck_assert_uint_eq(ts_mount(fd, "/closed", root, &root_len), 13);
    ck_assert_uint_eq(ts_mount(fd, "/test", root, &root_len), 0);
    ts_begin(&m, 2, NFS_PROGRAM, 3, NFS3_GETATTR);
    wg_xdr_put_bytes(&m.x, root, root_len);
    ck_assert_uint_eq(call_status(fd, &m, &x), 0);
    ck_assert_uint_eq(wg_xdr_get_u32(&x), 2); /* a directory */
    close(fd);
}
END_TEST

START_TEST(showmount_gets_its_lists_in_every_version)
{
    int fd = ts_connect();

    for (uint32_t vers = 1; vers <= 3; vers++) {
        struct ts_msg m;
        struct wg_xdr_in x;
        unsigned n = 0;
        uint32_t xid;

        ts_begin(&m, vers, MOUNT_PROGRAM, vers, 5);
        ts_send(fd, &m);
        ck_assert_int_eq(ts_reply(fd, &xid, &x), 0);
        while (wg_xdr_get_u32(&x)) {
            wg_xdr_get_bytes(&x, 1024);
            while (wg_xdr_get_u32(&x))
                wg_xdr_get_bytes(&x, 255);
            n++;
        }
        ck_assert_uint_eq(n, 3);
        ck_assert(!x.bad && wg_xdr_left(&x) == 0);
        ts_begin(&m, vers, MOUNT_PROGRAM, vers, 2);
        ts_send(fd, &m);
        ck_assert_int_eq(ts_reply(fd, &xid, &x), 0);
        ck_assert_uint_eq(wg_xdr_get_u32(&x), 1); /* /test, mounted above */
        for (uint32_t proc = 3; proc <= 4; proc++) {
            ts_begin(&m, vers, MOUNT_PROGRAM, vers, proc);
            if (proc == 3)
                wg_xdr_put_bytes(&m.x, "/nothing", 8);
            ts_send(fd, &m);
            ck_assert_int_eq(ts_reply(fd, &xid, &x), 0);
        }
        ts_mount(fd, "/test", root, &root_len);
    }
    close(fd);
}
END_TEST

START_TEST(a_read_only_export_refuses_and_masks)
{
    uint8_t fh[64];
    uint32_t len;
    struct ts_msg m;
    struct wg_xdr_in x;
    int fd = ts_connect();

    ck_assert_uint_eq(ts_mount(fd, "/ro", fh, &len), 0);
    ts_begin(&m, 2, NFS_PROGRAM, 3, NFS3_REMOVE);
    wg_xdr_put_bytes(&m.x, fh, len);
    wg_xdr_put_bytes(&m.x, "f", 1);
    ck_assert_uint_eq(call_status(fd, &m, &x), NFS3ERR_ROFS);
    /* Handles of different exports do not mix. */
    ts_begin(&m, 3, NFS_PROGRAM, 3, NFS3_LINK);
    wg_xdr_put_bytes(&m.x, fh, len);
    wg_xdr_put_bytes(&m.x, root, root_len);
    wg_xdr_put_bytes(&m.x, "f", 1);
    ck_assert_uint_eq(call_status(fd, &m, &x), 18);
    close(fd);
}
END_TEST

START_TEST(credentials_that_are_not_served_are_denied)
{
    struct ts_msg m;
    struct wg_xdr_in x;
    uint32_t xid, none[] = { 1, 0, 2, NFS_PROGRAM, 3, NFS3_GETATTR, 0, 0, 0, 0 };
    int fd = ts_connect();

    for (uint32_t flavor = 0; flavor < 8; flavor += 3) {
        m.x = (struct wg_xdr_out){ m.bytes + 4, m.bytes + sizeof m.bytes, false };
        none[6] = flavor; /* AUTH_NONE, AUTH_DH, RPCSEC_GSS */
        for (unsigned i = 0; i < 10; i++)
            wg_xdr_put_u32(&m.x, none[i]);
        wg_xdr_put_bytes(&m.x, root, root_len);
        ts_send(fd, &m);
        ck_assert_int_eq(ts_reply(fd, &xid, &x), 101);
        ck_assert_uint_eq(wg_xdr_get_u32(&x), 5); /* AUTH_TOOWEAK */
    }
    close(fd);
}
END_TEST

static void reset(int fd)
{
    struct linger now = { 1, 0 };

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
}

START_TEST(a_retransmission_is_executed_once)
{
    struct wg_xdr_in x;
    struct ts_msg m;
    uint32_t before = ts_creates, xid;
    uint8_t fh[64];
    struct wg_str s;
    int fd = ts_connect(), fd2 = ts_connect();

    put_create(&m, 1000, "once");
    ck_assert_uint_eq(call_status(fd, &m, &x), 0);
    wg_xdr_get_u32(&x);
    s = wg_xdr_get_bytes(&x, 64);
    memcpy(fh, s.s, s.len);
    for (int i = 0; i < 3; i++) { /* over its connection, and over another one when that was lost */
        ck_assert_uint_eq(call_status(i ? fd2 : fd, &m, &x), 0);
        wg_xdr_get_u32(&x);
        ck_assert(wg_str_eq(wg_xdr_get_bytes(&x, 64), (struct wg_str){ (char *)fh, s.len }));
        if (i == 0)
            reset(fd);
    }
    fd = ts_connect();
    ck_assert_uint_eq(ts_creates, before + 1);
    put_create(&m, 1001, "once"); /* another xid is another request */
    ck_assert_uint_eq(call_status(fd, &m, &x), 0);
    ck_assert_uint_eq(ts_creates, before + 2);

    /* While it is executed: all wait, and all get the answer. */
    ts_delay_ms = 100;
    put_create(&m, 1002, "late");
    for (int i = 0; i < 3; i++)
        ts_send(fd, &m);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(ts_reply(fd, &xid, &x), 0);
    ck_assert_uint_eq(wg_xdr_get_u32(&x), 0);
    ck_assert_uint_eq(ts_creates, before + 3);
    ts_delay_ms = 0;
    close(fd);
    close(fd2);
}
END_TEST

START_TEST(programs_that_count_their_requests_alike_are_told_apart)
{
    struct wg_xdr_in x;
    struct ts_msg m;
    uint32_t before = ts_creates;
    int fd[2] = { ts_connect(), ts_connect() };

    for (uint32_t i = 0; i < 3; i++) {
        put_create(&m, 3000 + i, "mine");
        for (unsigned k = 0; k < 2; k++)
            ck_assert_uint_eq(call_status(fd[k], &m, &x), 0);
        ck_assert_uint_eq(ts_creates, before + 2 * i + 2);
        ck_assert_uint_eq(call_status(fd[1], &m, &x), 0); /* each has its memory */
        ck_assert_uint_eq(ts_creates, before + 2 * i + 2);
    }
    close(fd[0]);
    close(fd[1]);
}
END_TEST

START_TEST(an_orderly_close_ends_the_memory_of_its_requests)
{
    struct wg_xdr_in x;
    struct ts_msg m;
    uint32_t before = ts_creates;
    int fd = ts_connect();

    put_create(&m, 2000, "same");
    ck_assert_uint_eq(call_status(fd, &m, &x), 0);
    close(fd);
    usleep(100000);
    fd = ts_connect(); /* a new program that counts its xids from the start, say */
    ck_assert_uint_eq(call_status(fd, &m, &x), 0);
    ck_assert_uint_eq(ts_creates, before + 2);
    close(fd);
}
END_TEST

/* One page; the number of entries, and the size of READDIR[PLUS]3resok. */
static unsigned page(int fd, uint32_t proc, uint64_t *cookie, uint32_t dircount, uint32_t maxcount, bool *eof,
                     uint32_t *status, size_t *names)
{
    struct wg_xdr_in x;
    struct ts_msg m;
    unsigned n = 0;
    size_t size;

    ts_begin(&m, 5, NFS_PROGRAM, 3, proc);
    wg_xdr_put_bytes(&m.x, root, root_len);
    wg_xdr_put_u64(&m.x, *cookie);
    wg_xdr_put_u64(&m.x, 0);
    if (proc == NFS3_READDIRPLUS)
        wg_xdr_put_u32(&m.x, dircount);
    wg_xdr_put_u32(&m.x, maxcount);
    *names = 0;
    *status = call_status(fd, &m, &x);
    if (*status)
        return 0;
    size = wg_xdr_left(&x);
    ck_assert_uint_le(size, maxcount);
    ck_assert_uint_eq(wg_xdr_get_u32(&x), 1);
    wg_xdr_get_fixed(&x, NFS3_ATTR_SIZE);
    wg_xdr_get_u64(&x);
    for (; wg_xdr_get_bool(&x); n++) {
        const uint8_t *from = x.at;

        wg_xdr_get_u64(&x);
        wg_xdr_get_bytes(&x, 255);
        *cookie = wg_xdr_get_u64(&x);
        *names += 4 + (size_t)(x.at - from);
        if (proc == NFS3_READDIRPLUS) {
            if (wg_xdr_get_bool(&x))
                wg_xdr_get_fixed(&x, NFS3_ATTR_SIZE);
            if (wg_xdr_get_bool(&x))
                wg_xdr_get_bytes(&x, 64);
        }
    }
    *eof = wg_xdr_get_bool(&x);
    ck_assert(!x.bad && wg_xdr_left(&x) == 0);
    return n;
}

START_TEST(pages_fit_their_limits_at_every_size)
{
    int fd = ts_connect();

    for (uint32_t proc = NFS3_READDIR; proc <= NFS3_READDIRPLUS; proc++) {
        for (uint32_t max = 0; max < 9000; max = max < 600 ? max + 4 : max * 2 + 4) {
            unsigned total = 0;
            uint64_t cookie = 0;
            uint32_t status = 0;
            size_t names;
            bool eof = false;

            while (!eof && status == 0) {
                total += page(fd, proc, &cookie, max, max, &eof, &status, &names);
                ck_assert_uint_le(names, max);
            }
            if (status)
                ck_assert_uint_eq(status, 10005); /* TOOSMALL */
            else
                ck_assert_uint_eq(total, 1002);
        }
    }
    close(fd);
}
END_TEST

START_TEST(dircount_bounds_the_names)
{
    uint64_t cookie = 0;
    uint32_t status;
    size_t names;
    bool eof;
    int fd = ts_connect();

    ck_assert_uint_gt(page(fd, NFS3_READDIRPLUS, &cookie, 400, 65536, &eof, &status, &names), 5);
    ck_assert_uint_le(names, 400);
    ck_assert(!eof);
    close(fd);
}
END_TEST

START_TEST(a_wrong_cookie_verifier_is_refused)
{
    struct wg_xdr_in x;
    struct ts_msg m;
    int fd = ts_connect();

    ts_begin(&m, 5, NFS_PROGRAM, 3, NFS3_READDIR);
    wg_xdr_put_bytes(&m.x, root, root_len);
    wg_xdr_put_u64(&m.x, 20);
    wg_xdr_put_u64(&m.x, 12345);
    wg_xdr_put_u32(&m.x, 4096);
    ck_assert_uint_eq(call_status(fd, &m, &x), 10003);
    close(fd);
}
END_TEST

START_TEST(names_that_are_none_are_refused)
{
    static const struct { const char *name; uint32_t len, status; } cases[] = {
        { "", 0, 22 }, { "a/b", 3, 22 }, { "a\0b", 3, 22 }, { ".", 1, 17 }, { "..", 2, 17 },
    };
    struct wg_xdr_in x;
    struct ts_msg m;
    char big[300];
    int fd = ts_connect();

    memset(big, 'n', sizeof big);
    for (unsigned i = 0; i < 6; i++) {
        ts_begin(&m, 3000 + i, NFS_PROGRAM, 3, NFS3_MKDIR);
        wg_xdr_put_bytes(&m.x, root, root_len);
        if (i < 5)
            wg_xdr_put_bytes(&m.x, cases[i].name, cases[i].len);
        else
            wg_xdr_put_bytes(&m.x, big, sizeof big);
        for (int k = 0; k < 6; k++)
            wg_xdr_put_u32(&m.x, 0);
        ck_assert_uint_eq(call_status(fd, &m, &x), i < 5 ? cases[i].status : 63);
    }
    close(fd);
}
END_TEST

START_TEST(writes_of_every_size_arrive_whole)
{
    static uint8_t payload[1 << 20];
    struct wg_xdr_in x;
    struct ts_msg m;
    uint32_t xid = 4000, got;
    int fd = ts_connect();

    for (uint32_t len = 0; len <= sizeof payload; len = len < 4 ? len + 1 : len * 3 > sizeof payload && len < sizeof payload ? sizeof payload : len * 3) {
        size_t head;

        ts_begin(&m, xid++, NFS_PROGRAM, 3, NFS3_WRITE);
        wg_xdr_put_bytes(&m.x, root, root_len);
        wg_xdr_put_u64(&m.x, 0);
        wg_xdr_put_u32(&m.x, len);
        wg_xdr_put_u32(&m.x, 0);
        wg_xdr_put_u32(&m.x, len);
        head = ts_record(&m, len + wg_xdr_pad(len));
        ck_assert_int_eq(send(fd, m.bytes, head, 0), (ssize_t)head);
        for (uint32_t at = 0, all = len + wg_xdr_pad(len); at < all;) {
            ssize_t n = send(fd, payload, all - at < sizeof payload ? all - at : sizeof payload, 0);

            ck_assert_int_gt(n, 0);
            at += (uint32_t)n;
        }
        ck_assert_int_eq(ts_reply(fd, &got, &x), 0);
        ck_assert_uint_eq(wg_xdr_get_u32(&x), 0);
        wg_xdr_get_u32(&x);
        wg_xdr_get_u32(&x);
        ck_assert_uint_eq(wg_xdr_get_u32(&x), len);
    }
    close(fd);
}
END_TEST

START_TEST(a_statedump_shows_the_front_end)
{
    char *d = wg_dump_process(ts_graph, true);

    ck_assert_ptr_nonnull(d);
    ck_assert_ptr_nonnull(strstr(d, "replay_cache"));
    ck_assert_ptr_nonnull(strstr(d, "listeners"));
    free(d);
}
END_TEST

START_TEST(a_reload_changes_exports_under_live_connections)
{
    static const struct wg_nfs_rule ro = { .clients = "*", .read_only = true };
    static const struct wg_nfs_export e = { .path = "/test", .dir = "/", .rules = &ro, .nrules = 1 };
    struct wg_nfs_config c = { .nexports = 0 };
    struct wg_nfs_volume v;
    struct wg_xdr_in x;
    struct ts_msg m;
    int fd = ts_connect();

    put_create(&m, 5000, "f");
    ck_assert_uint_eq(call_status(fd, &m, &x), 0);
    ts_exports(&c, &v, ts_graph);
    c.exports = &e;
    c.nexports = 1;
    ck_assert_int_eq(wg_nfs_reload(&c), 0);
    put_create(&m, 5001, "f");
    ck_assert_uint_eq(call_status(fd, &m, &x), NFS3ERR_ROFS);
    c.nexports = 0;
    ck_assert_int_eq(wg_nfs_reload(&c), 0);
    put_create(&m, 5002, "f");
    ck_assert_uint_eq(call_status(fd, &m, &x), 70); /* STALE */
    ts_exports(&c, &v, ts_graph);
    ck_assert_int_eq(wg_nfs_reload(&c), 0);
    put_create(&m, 5003, "f");
    ck_assert_uint_eq(call_status(fd, &m, &x), 0);
    close(fd);
}
END_TEST

int main(void)
{
    struct wg_nfs_config limits = { .threads = 3 };
    Suite *s = suite_create("nfs server");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    suite_add_tcase(s, t);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, mounting_gives_a_handle_and_the_flavor);
    tcase_add_test(t, showmount_gets_its_lists_in_every_version);
    tcase_add_test(t, a_read_only_export_refuses_and_masks);
    tcase_add_test(t, credentials_that_are_not_served_are_denied);
    tcase_add_test(t, a_retransmission_is_executed_once);
    tcase_add_test(t, programs_that_count_their_requests_alike_are_told_apart);
    tcase_add_test(t, an_orderly_close_ends_the_memory_of_its_requests);
    tcase_add_test(t, pages_fit_their_limits_at_every_size);
    tcase_add_test(t, dircount_bounds_the_names);
    tcase_add_test(t, a_wrong_cookie_verifier_is_refused);
    tcase_add_test(t, names_that_are_none_are_refused);
    tcase_add_test(t, writes_of_every_size_arrive_whole);
    tcase_add_test(t, a_statedump_shows_the_front_end);
    tcase_add_test(t, a_reload_changes_exports_under_live_connections);
    srunner_set_fork_status(r, CK_NOFORK);
    if (ts_start(&limits) != 0)
        return 1;
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    if (ts_end() != 0) {
        fprintf(stderr, "the server did not drain\n");
        failed++;
    }
    return failed != 0;
}
