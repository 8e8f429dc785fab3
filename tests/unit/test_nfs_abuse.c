/* SPDX-License-Identifier: Apache-2.0 */
/* Peers that misbehave: none of them may stop the server, leak, or harm another's connection. */
#include "tests/nfs/testserver.h"

static unsigned idle_fds;

static void wait_idle(void)
{
    ts_delay_ms = 0;
    ts_wait(wg_calls_live() == 0);
    ts_wait(ts_payloads == 0);
    ts_wait(ts_descriptors() <= idle_fds);
}

static uint8_t root[64];
static uint32_t root_len;

static void put_read(struct ts_msg *m, uint32_t xid, uint32_t count)
{
    ts_begin(m, xid, NFS_PROGRAM, 3, NFS3_READ);
    wg_xdr_put_bytes(&m->x, root, root_len);
    wg_xdr_put_u64(&m->x, 0);
    wg_xdr_put_u32(&m->x, count);
}

START_TEST(the_export_is_mounted)
{
    int fd;

    idle_fds = ts_descriptors();
    fd = ts_connect();
    ck_assert_uint_eq(ts_mount(fd, "/test", root, &root_len), 0);
    close(fd);
    wait_idle();
}
END_TEST

START_TEST(half_a_mark_keeps_no_thread)
{
    int bad[50], good;

    for (int i = 0; i < 50; i++) {
        bad[i] = ts_connect();
        ck_assert_int_eq(send(bad[i], "\x80\0", 2, 0), 2);
    }
    good = ts_connect();
    for (uint32_t i = 1; i < 200; i++)
        ck_assert_int_eq(ts_null(good, i), 0);
    close(good);
    for (int i = 0; i < 50; i++)
        close(bad[i]);
    wait_idle();
}
END_TEST

START_TEST(giant_fragments_are_refused)
{
    static const uint32_t marks[] = { 0xffffffff, 0x7fffffff, 0x80200000, 0x00200000 };

    for (unsigned i = 0; i < 4; i++) {
        uint32_t be = htobe32(marks[i]);
        int fd = ts_connect();
        char c;

        ck_assert_int_eq(send(fd, &be, 4, 0), 4);
        ck_assert_int_eq(recv(fd, &c, 1, 0), 0);
        close(fd);
    }
    wait_idle();
}
END_TEST

START_TEST(fragments_beyond_the_limit_are_refused)
{
    static char zeros[512 << 10];
    uint32_t be = htobe32(sizeof zeros);
    int fd = ts_connect();
    char c;

    for (int i = 0; i < 4; i++)
        if (send(fd, &be, 4, MSG_NOSIGNAL) != 4 || send(fd, zeros, sizeof zeros, MSG_NOSIGNAL) < 0)
            break;
    ck_assert_int_le(recv(fd, &c, 1, 0), 0);
    close(fd);
    wait_idle();
}
END_TEST

START_TEST(zero_length_fragments_close_the_connection)
{
    int fd = ts_connect();
    char c;

    ck_assert_int_eq(send(fd, "\0\0\0\0", 4, 0), 4);
    ck_assert_int_eq(recv(fd, &c, 1, 0), 0);
    close(fd);
    wait_idle();
}
END_TEST

START_TEST(a_call_may_come_in_any_pieces)
{
    struct ts_msg m;
    struct wg_xdr_in x;
    uint32_t xid;
    size_t len;
    int fd = ts_connect();

    /* Byte by byte. */
    ts_begin(&m, 77, NFS_PROGRAM, 3, 0);
    len = ts_record(&m, 0);
    for (size_t i = 0; i < len; i++) {
        ck_assert_int_eq(send(fd, m.bytes + i, 1, 0), 1);
        usleep(200);
    }
    ck_assert_int_eq(ts_reply(fd, &xid, &x), 0);
    ck_assert_uint_eq(xid, 77);
    /* In fragments of one to seven bytes. */
    for (size_t i = 4; i < len;) {
        uint32_t n = (uint32_t)(i % 7 + 1) < len - i ? (uint32_t)(i % 7 + 1) : (uint32_t)(len - i);
        uint32_t mark = htobe32((i + n == len ? 0x80000000u : 0) | n);

        ck_assert_int_eq(send(fd, &mark, 4, 0), 4);
        ck_assert_int_eq(send(fd, m.bytes + i, n, 0), n);
        i += n;
    }
    ck_assert_int_eq(ts_reply(fd, &xid, &x), 0);
    ck_assert_uint_eq(xid, 77);
    close(fd);
    wait_idle();
}
END_TEST

START_TEST(a_truncated_header_closes_the_connection)
{
    for (uint32_t n = 1; n < 40; n += 3) {
        static const uint8_t zeros[64] = { 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2 };
        uint32_t mark = htobe32(0x80000000u | n);
        int fd = ts_connect();
        char c;

        send(fd, &mark, 4, 0);
        send(fd, zeros, n, MSG_NOSIGNAL);
        ck_assert_int_le(recv(fd, &c, 1, 0), 0);
        close(fd);
    }
    wait_idle();
}
END_TEST

START_TEST(other_rpc_versions_and_programs_get_their_error)
{
    struct ts_msg m;
    struct wg_xdr_in x;
    uint32_t xid;
    int fd = ts_connect();

    ts_begin(&m, 1, NFS_PROGRAM, 3, 0);
    m.bytes[4 + 11] = 3; /* RPC version */
    ts_send(fd, &m);
    ck_assert_int_eq(ts_reply(fd, &xid, &x), 100); /* denied, RPC_MISMATCH */
    ck_assert_uint_eq(wg_xdr_get_u32(&x), 2);
    ts_begin(&m, 2, 100099, 3, 0);
    ts_send(fd, &m);
    ck_assert_int_eq(ts_reply(fd, &xid, &x), 1); /* PROG_UNAVAIL */
    ts_begin(&m, 3, NFS_PROGRAM, 4, 0);
    ts_send(fd, &m);
    ck_assert_int_eq(ts_reply(fd, &xid, &x), 2); /* PROG_MISMATCH 3 to 3 */
    ck_assert_uint_eq(wg_xdr_get_u32(&x), 3);
    ck_assert_uint_eq(wg_xdr_get_u32(&x), 3);
    ts_begin(&m, 4, NFS_PROGRAM, 3, 22);
    ts_send(fd, &m);
    ck_assert_int_eq(ts_reply(fd, &xid, &x), 3); /* PROC_UNAVAIL */
    ts_begin(&m, 5, NFS_PROGRAM, 3, NFS3_GETATTR);
    ts_send(fd, &m);
    ck_assert_int_eq(ts_reply(fd, &xid, &x), 4); /* GARBAGE_ARGS */
    close(fd);
    wait_idle();
}
END_TEST

START_TEST(peers_gone_with_replies_pending_leak_nothing)
{
    for (int i = 0; i < 40; i++) {
        struct linger abort = { 1, 0 };
        struct ts_msg m;
        int fd = ts_connect();

        ts_delay_ms = i % 2 ? 0 : 5;
        for (uint32_t k = 0; k < 16; k++) {
            put_read(&m, k + 1, 1 << 20);
            ts_send(fd, &m);
        }
        if (i % 4 == 0)
            usleep(20000);
        if (i % 3 == 0)
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort, sizeof abort);
        close(fd);
    }
    wait_idle();
}
END_TEST

START_TEST(pipelining_is_bounded_per_connection)
{
    struct ts_msg m;
    struct wg_xdr_in x;
    uint32_t xid, sent = 0, seen = 0;
    int fd = ts_connect();
    size_t len;

    ts_delay_ms = 50;
    for (; sent < 4000; sent++) {
        put_read(&m, sent + 1, 64 << 10);
        len = ts_record(&m, 0);
        if (send(fd, m.bytes, len, MSG_DONTWAIT) != (ssize_t)len)
            break;
    }
    usleep(20000);
    /* 16 requests are the limit, and one buffer of them may be over it. */
    ck_assert_uint_le(wg_calls_live(), 16 + (64 << 10) / 100);
    ts_delay_ms = 0;
    for (; seen < sent; seen++)
        ck_assert_int_eq(ts_reply(fd, &xid, &x), 0);
    close(fd);
    wait_idle();
}
END_TEST

START_TEST(a_reader_who_never_reads_is_paused)
{
    struct ts_msg m;
    int fd = ts_connect(), good = ts_connect();

    for (uint32_t i = 0; i < 200; i++) {
        put_read(&m, i + 1, 1 << 20);
        ts_send(fd, &m);
    }
    usleep(100000);
    ck_assert_uint_le(ts_payloads, 64);
    for (uint32_t i = 1; i < 100; i++)
        ck_assert_int_eq(ts_null(good, i), 0);
    close(good);
    close(fd);
    wait_idle();
}
END_TEST

START_TEST(too_many_connections_are_closed_and_the_rest_served)
{
    int fd[80], served = 0;

    for (int i = 0; i < 80; i++)
        fd[i] = ts_connect();
    for (int i = 0; i < 80; i++) {
        struct timeval limit = { .tv_usec = 300000 };
        struct ts_msg m;
        struct wg_xdr_in x;
        uint32_t xid;

        setsockopt(fd[i], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        ts_begin(&m, 5, NFS_PROGRAM, 3, 0);
        if (send(fd[i], m.bytes, ts_record(&m, 0), MSG_NOSIGNAL) > 0)
            served += ts_reply(fd[i], &xid, &x) == 0;
    }
    ck_assert_int_gt(served, 40);
    for (int i = 0; i < 80; i++)
        close(fd[i]);
    wait_idle();
    fd[0] = ts_connect();
    ck_assert_int_eq(ts_null(fd[0], 1), 0);
    close(fd[0]);
    wait_idle();
}
END_TEST

START_TEST(random_bytes_are_survived)
{
    unsigned seed = 1;
    int good;

    for (int i = 0; i < 300; i++) {
        struct ts_msg m;
        int fd = ts_connect();
        size_t len;

        ts_begin(&m, (uint32_t)i, i % 3 ? NFS_PROGRAM : MOUNT_PROGRAM, 3, (uint32_t)(i % 22));
        wg_xdr_put_bytes(&m.x, root, root_len);
        for (int k = 0; k < 200; k++)
            wg_xdr_put_u32(&m.x, (uint32_t)rand_r(&seed) % (k % 2 ? 64 : 0xffffffff));
        len = ts_record(&m, 0);
        for (int k = 0; k < i % 5; k++)
            m.bytes[4 + (size_t)rand_r(&seed) % (len - 4)] ^= (uint8_t)(1 << k);
        send(fd, m.bytes, len, MSG_NOSIGNAL);
        if (i % 2) {
            struct timeval limit = { .tv_usec = 1000 };

            setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
            recv(fd, m.bytes, 16, 0);
        }
        close(fd);
    }
    good = ts_connect();
    ck_assert_int_eq(ts_null(good, 9), 0);
    close(good);
    wait_idle();
}
END_TEST

int main(void)
{
    struct wg_nfs_config limits = { .max_connections = 64, .conn_requests = 16, .threads = 4 };
    Suite *s = suite_create("nfs abuse");
    TCase *t = tcase_create("peers");
    SRunner *r = srunner_create(s);
    int failed;

    suite_add_tcase(s, t);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, the_export_is_mounted);
    tcase_add_test(t, half_a_mark_keeps_no_thread);
    tcase_add_test(t, giant_fragments_are_refused);
    tcase_add_test(t, fragments_beyond_the_limit_are_refused);
    tcase_add_test(t, zero_length_fragments_close_the_connection);
    tcase_add_test(t, a_call_may_come_in_any_pieces);
    tcase_add_test(t, a_truncated_header_closes_the_connection);
    tcase_add_test(t, other_rpc_versions_and_programs_get_their_error);
    tcase_add_test(t, peers_gone_with_replies_pending_leak_nothing);
    tcase_add_test(t, pipelining_is_bounded_per_connection);
    tcase_add_test(t, a_reader_who_never_reads_is_paused);
    tcase_add_test(t, too_many_connections_are_closed_and_the_rest_served);
    tcase_add_test(t, random_bytes_are_survived);
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
