/* SPDX-License-Identifier: Apache-2.0 */
/* Lanes: every size both ways, many senders, back-pressure, pings, reconnect, closing under load. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>

#include "transport_kit.h"

static const uint32_t sizes[] = {
    0, 1, 2, 31, 32, 33, 4095, 4096, 4097, 8191, 8192, 8193, 16383, 16384, 16385, 32768 - 40, 32768, 65535, 65536, 131072,
    262143, 262144, 262145, 524288, 1000001, 1048575, 1048576, 1048577, 2097152, 3145727, 3145728,
};
#define NSIZES (sizeof sizes / sizeof *sizes)

START_TEST(echo_of_every_size)
{
    struct kit_pair p = { .so.lane.payload_max = 4 << 20, .co.payload_max = 4 << 20 };
    static const uint32_t bodies[] = { 0, 1, 100, 383, 5000, 24576, 24577, 65536 };

    kit_open(&p, (enum kit_mode)_i);
    for (unsigned i = 0; i < NSIZES; i++) {
        uint32_t body = bodies[i % 8];

        ck_assert_int_eq(kit_send(p.lane, i + 1, body, sizes[i]), 0);
        KIT_WAIT(&p.client, p.client.messages == i + 1);
        ck_assert_uint_eq(p.client.hdr.type, TYPE_REPLY);
        ck_assert_uint_eq(p.client.hdr.id, i + 1);
        ck_assert_uint_eq(p.client.hdr.low, ~(uint64_t)(i + 1));
        ck_assert_uint_eq(p.client.hdr.flags, (i + 1) & 0xff);
        ck_assert_uint_eq(p.client.hdr.body_len, body);
        ck_assert_uint_eq(p.client.hdr.payload_len, sizes[i]);
        ck_assert(kit_is_pattern(p.client.body, body, i + 1));
        ck_assert(sizes[i] == 0 ? !p.client.payload : kit_is_pattern(p.client.payload->base, sizes[i], i + 2));
    }
    kit_close(&p);
}
END_TEST

static void wrong(struct kit *k)
{
    atomic_fetch_add((_Atomic uint64_t *)&k->bad, 1);
}

static void check_and_count(struct kit *k, struct wg_lane *l, const struct wg_msg_hdr *h, const void *body, struct wg_iobuf *p)
{
    (void)l;
    if (!kit_is_pattern(body, h->body_len, h->id) || (p && !kit_is_pattern(p->base, h->payload_len, h->id + 1)))
        wrong(k);
    wg_iobuf_unref(p);
    pthread_mutex_lock(&k->lock);
    k->messages++;
    pthread_cond_broadcast(&k->cond);
    pthread_mutex_unlock(&k->lock);
}

struct sender {
    struct wg_lane *lane;
    unsigned n, first;
    pthread_t t;
};

static void *send_many(void *arg)
{
    struct sender *s = arg;

    for (unsigned i = 0; i < s->n; i++) {
        uint64_t id = s->first + i;
        uint32_t payload = id % 17 == 0 ? 1u << 20 : id % 5 == 0 ? 70000 : (uint32_t)(id * 37 % 9000);

        while (kit_send(s->lane, id, (uint32_t)(id % 300), payload) == EAGAIN)
            usleep(100);
    }
    return NULL;
}

START_TEST(many_senders_at_once)
{
    struct kit_pair p = { .co.queue_max = 16 << 20 };
    struct sender s[6];

    kit_open(&p, (enum kit_mode)_i);
    p.client.on_message = check_and_count;
    for (unsigned i = 0; i < 6; i++) {
        s[i] = (struct sender){ .lane = p.lane, .n = 150, .first = i * 1000 + 1 };
        pthread_create(&s[i].t, NULL, send_many, &s[i]);
    }
    for (unsigned i = 0; i < 6; i++)
        pthread_join(s[i].t, NULL);
    KIT_WAIT(&p.client, p.client.messages == 900);
    ck_assert_uint_eq(p.client.bad, 0);
    ck_assert_uint_eq(wg_lane_queued(p.lane), 0);
    kit_close(&p);
}
END_TEST

/* One connection attempt to a port, as a stranger would. */
static int dial(uint16_t port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static int listen_on(uint16_t *port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

    a.sin_port = htons(*port);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    ck_assert_int_eq(listen(fd, 64), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    *port = ntohs(a.sin_port);
    return fd;
}

static void pause_it(struct wg_lane *l, void *arg)
{
    (void)arg;
    wg_lane_pause(l);
}

static void resume_it(struct wg_lane *l, void *arg)
{
    (void)arg;
    wg_lane_resume(l);
}

START_TEST(a_full_queue_says_so_and_tells_when_it_is_not)
{
    struct kit_pair p = { .co.queue_max = 4 << 20, .co.sndbuf = 65536, .so.lane.rcvbuf = 65536 };
    unsigned sent = 0;
    int err = 0;

    kit_open(&p, MODE_TLS);
    p.server.delay_us = 0;
    wg_listener_each(p.listener, pause_it, NULL);
    usleep(1000);
    while (sent < 100 && !(err = kit_send(p.lane, sent + 1, 10, 1 << 20)))
        sent++;
    ck_assert_int_eq(err, EAGAIN);
    ck_assert_uint_ge(sent, 3);
    ck_assert_uint_le(sent, 12);
    ck_assert_uint_gt(wg_lane_queued(p.lane), 2 << 20);
    ck_assert_uint_eq(p.client.writable, 0);
    wg_listener_each(p.listener, resume_it, NULL);
    KIT_WAIT(&p.client, p.client.writable == 1);
    KIT_WAIT(&p.client, p.client.messages == sent);
    ck_assert_uint_eq(wg_lane_queued(p.lane), 0);
    kit_close(&p);
}
END_TEST

/* A peer that does not read makes the server stop reading from it, so that its queue stays bounded. */
START_TEST(a_peer_that_does_not_read_is_not_read_from)
{
    struct kit_pair p = { .so.lane.pause_bytes = 2 << 20, .co.queue_max = 1 << 30, .so.lane.sndbuf = 65536, .co.rcvbuf = 65536 };
    struct wg_lane_stats st = { 0 };
    const unsigned n = 60;

    kit_open(&p, MODE_TLS);
    wg_lane_pause(p.lane);
    for (unsigned i = 1; i <= n; i++)
        ck_assert_int_eq(kit_send(p.lane, i, 10, 1 << 20), 0);
    usleep(300000);
    ck_assert_uint_lt(*(_Atomic uint64_t *)&p.server.messages, n / 2);
    wg_lane_stats(p.lane, &st);
    ck_assert_uint_gt(st.queued_msgs, n / 3);
    wg_lane_resume(p.lane);
    KIT_WAIT(&p.client, p.client.messages == n);
    kit_close(&p);
}
END_TEST

/* A proxy that lets one byte at a time through, both ways. */
static void *trickle(void *arg)
{
    int *fd = arg;
    char c;

    while (read(fd[0], &c, 1) == 1 && send(fd[1], &c, 1, MSG_NOSIGNAL) == 1)
        ;
    shutdown(fd[1], SHUT_RDWR);
    shutdown(fd[0], SHUT_RDWR);
    return NULL;
}

START_TEST(a_byte_at_a_time)
{
    struct kit_pair p = { 0 };
    uint16_t port = 0;
    char addr[40];
    pthread_t t[2];
    int lfd, to[2], from[2];

    kit_open_server(&p, (enum kit_mode)_i);
    lfd = listen_on(&port);
    snprintf(addr, sizeof addr, "localhost:%u", port);
    ck_assert_int_eq(wg_lane_connect(addr, &p.co, &p.lane), 0);
    to[0] = from[1] = accept(lfd, NULL, NULL);
    to[1] = from[0] = dial(wg_listener_port(p.listener));
    pthread_create(&t[0], NULL, trickle, to);
    pthread_create(&t[1], NULL, trickle, from);
    KIT_WAIT(&p.client, p.client.up == 1);
    for (unsigned i = 1; i <= 6; i++)
        ck_assert_int_eq(kit_send(p.lane, i, i * 9, i * i * 700), 0);
    KIT_WAIT(&p.client, p.client.messages == 6);
    kit_close(&p);
    pthread_join(t[0], NULL);
    pthread_join(t[1], NULL);
    close(to[0]);
    close(to[1]);
    close(lfd);
}
END_TEST

START_TEST(a_lane_comes_back_when_its_server_does)
{
    struct kit_pair p = { .co.backoff_max_ms = 200, .co.backoff_min_ms = 10 };
    char addr[80];

    kit_open(&p, (enum kit_mode)_i);
    snprintf(addr, sizeof addr, "%s", wg_listener_addr(p.listener));
    for (unsigned i = 1; i <= 3; i++) {
        wg_listener_close(p.listener);
        KIT_WAIT(&p.client, p.client.down == i);
        ck_assert_int_eq(kit_send(p.lane, 1, 1, 1), ENOTCONN);
        ck_assert_uint_eq(wg_lane_conn(p.lane), 0);
        ck_assert_int_eq(wg_listen(addr, &p.so, &p.listener), 0);
        KIT_WAIT(&p.client, p.client.up == i + 1);
        ck_assert_int_eq(kit_send(p.lane, i, 1, 1), 0);
        KIT_WAIT(&p.client, p.client.messages == i);
    }
    kit_close(&p);
}
END_TEST

START_TEST(a_reset_lane_comes_back_under_a_new_number)
{
    struct kit_pair p = { .co.backoff_min_ms = 10 };
    uint64_t conn;
    struct wg_msg m = { .type = TYPE_ECHO };

    kit_open(&p, MODE_TLS);
    conn = wg_lane_conn(p.lane);
    wg_lane_reset(p.lane, conn + 1, EPROTO, "not this one");
    wg_lane_reset(p.lane, conn, EPROTO, "for the test");
    KIT_WAIT(&p.client, p.client.up == 2);
    ck_assert_uint_eq(p.client.down, 1);
    ck_assert_int_eq(p.client.last_err, EPROTO);
    ck_assert_str_eq(p.client.last_text, "for the test");
    m.conn = conn;
    ck_assert_int_eq(wg_lane_send(p.lane, &m), ENOTCONN);
    m.conn = wg_lane_conn(p.lane);
    ck_assert_uint_ne(m.conn, conn);
    ck_assert_int_eq(wg_lane_send(p.lane, &m), 0);
    kit_close(&p);
}
END_TEST

START_TEST(a_silent_peer_is_found_by_pings)
{
    struct kit_pair p = { .co.ping_ms = 50, .co.ping_timeout_ms = 150, .co.backoff_min_ms = 5000 };
    struct kit_pair alive = { .co.ping_ms = 20, .co.ping_timeout_ms = 2000 };

    kit_open(&alive, MODE_TLS);
    usleep(300000);
    ck_assert_uint_eq(alive.client.down, 0);
    kit_close(&alive);
    kit_open(&p, MODE_TLS);
    wg_listener_each(p.listener, pause_it, NULL);
    KIT_WAIT(&p.client, p.client.down == 1);
    ck_assert_int_eq(p.client.last_err, ETIMEDOUT);
    kit_close(&p);
}
END_TEST

START_TEST(closing_under_load_from_other_threads)
{
    for (unsigned round = 0; round < 12; round++) {
        struct kit_pair p = { .co.queue_max = 8 << 20 };
        struct sender s[3];

        kit_open(&p, (enum kit_mode)_i);
        p.client.on_message = check_and_count;
        wg_lane_ref(p.lane);
        for (unsigned i = 0; i < 3; i++) {
            s[i] = (struct sender){ .lane = p.lane, .n = 60, .first = i * 1000 + 1 };
            pthread_create(&s[i].t, NULL, send_many, &s[i]);
        }
        usleep(round * 1500);
        if (round % 2) {
            wg_listener_close(p.listener);
            p.listener = NULL;
        }
        wg_lane_close(p.lane);
        for (unsigned i = 0; i < 3; i++)
            pthread_join(s[i].t, NULL);
        ck_assert_int_eq(kit_send(p.lane, 1, 1, 1), ENOTCONN);
        wg_lane_unref(p.lane);
        p.lane = NULL;
        ck_assert_uint_eq(p.client.bad, 0);
        kit_close(&p);
    }
}
END_TEST

static void close_me(struct kit *k, struct wg_lane *l, const struct wg_msg_hdr *h, const void *body, struct wg_iobuf *p)
{
    (void)h, (void)body;
    wg_iobuf_unref(p);
    wg_lane_close(l);
    pthread_mutex_lock(&k->lock);
    k->messages++;
    pthread_cond_broadcast(&k->cond);
    pthread_mutex_unlock(&k->lock);
}

START_TEST(a_lane_may_close_itself_in_a_callback)
{
    struct kit_pair p = { 0 };

    kit_open(&p, (enum kit_mode)_i);
    p.client.on_message = close_me;
    ck_assert_int_eq(kit_send(p.lane, 1, 1, 1), 0);
    KIT_WAIT(&p.client, p.client.messages == 1 && p.client.down == 1);
    p.lane = NULL;
    kit_close(&p);
}
END_TEST

/* The first message is slow; the others pass it when it hands reading over, or when this thread does. */
static atomic_int slow_done;
static _Atomic(struct wg_lane *) slow_lane;
static bool hand_over;

static void slow_first(struct kit *k, struct wg_lane *l, const struct wg_msg_hdr *h, const void *body, struct wg_iobuf *p)
{
    unsigned others = 0;

    if (h->id == 1) {
        atomic_store(&slow_lane, l);
        if (hand_over)
            ck_assert_int_eq(wg_lane_handoff(l), 0);
        for (unsigned i = 0; i < 2000 && others < 20; i++) {
            usleep(10000);
            pthread_mutex_lock(&k->lock);
            others = (unsigned)k->messages;
            pthread_mutex_unlock(&k->lock);
        }
        if (others < 20 || !kit_is_pattern(body, h->body_len, 1) || !kit_is_pattern(p->base, h->payload_len, 2))
            wrong(k);
        atomic_store(&slow_done, 1);
    }
    check_and_count(k, l, h, body, p);
}

START_TEST(reading_goes_on_beside_a_slow_callback)
{
    struct kit_pair p = { 0 };
    enum kit_mode mode = (enum kit_mode)(_i / 2);

    hand_over = _i % 2;
    slow_done = 0;
    slow_lane = NULL;
    kit_open(&p, mode);
    p.client.on_message = slow_first;
    for (unsigned i = 1; i <= 21; i++)
        ck_assert_int_eq(kit_send(p.lane, i, 3000, i % 4 == 0 ? 700000 : 5000), 0);
    while (!hand_over && (!slow_lane || wg_lane_busy_ns(p.lane) < 1000000))
        usleep(500);
    if (!hand_over)
        ck_assert_int_eq(wg_lane_handoff(p.lane), 0);
    KIT_WAIT(&p.client, p.client.messages == 21);
    ck_assert_int_eq(slow_done, 1);
    ck_assert_uint_eq(p.client.bad, 0);
    while (wg_lane_busy_ns(p.lane))
        usleep(500);
    ck_assert_int_eq(wg_lane_handoff(p.lane), EALREADY); /* nothing runs */
    kit_close(&p);
}
END_TEST

/* The first request's callback stays until the others have been answered; nobody asks for a handoff. */
static void slow_echo(struct wg_lane *l, const struct wg_msg_hdr *h, const void *body, struct wg_iobuf *p)
{
    struct kit *k = wg_lane_user(l);

    wg_lane_yield(l);
    if (h->id == 1) {
        for (unsigned i = 0; i < 2000 && atomic_load((_Atomic uint64_t *)&k->messages) < 20; i++)
            usleep(10000);
        if (atomic_load((_Atomic uint64_t *)&k->messages) < 20)
            wrong(k);
    }
    kit_echo(l, h, body, p);
}

static const struct wg_lane_ops slow_echo_ops = { kit_up, slow_echo, kit_down, kit_writable, NULL };

START_TEST(a_busy_reader_is_relieved)
{
    struct kit_pair p = { .so.lane = { .ops = &slow_echo_ops, .busy_us = 1000 } };

    kit_open(&p, (enum kit_mode)_i);
    p.client.on_message = check_and_count;
    for (unsigned i = 1; i <= 21; i++)
        ck_assert_int_eq(kit_send(p.lane, i, 3000, i % 4 == 0 ? 700000 : 5000), 0);
    KIT_WAIT(&p.client, p.client.messages == 21);
    ck_assert_uint_eq(p.client.bad + p.server.bad, 0);
    kit_close(&p);
}
END_TEST

/* Its watcher ends with the last lane and comes again; lanes come and go beside slow callbacks. */
START_TEST(lanes_end_beside_busy_readers)
{
    for (unsigned round = 0; round < 12; round++) {
        struct kit_pair p = { .so.lane = { .ops = &slow_echo_ops, .busy_us = 1 } };

        kit_open(&p, (enum kit_mode)(round % KIT_MODES));
        p.client.on_message = check_and_count;
        for (unsigned i = 2; i <= 60; i++)
            ck_assert_int_eq(kit_send(p.lane, i, 300, i % 4 == 0 ? 400000 : 5000), 0);
        usleep(round * 1000);
        kit_close(&p);
        ck_assert_uint_eq(p.client.bad, 0);
    }
}
END_TEST

START_TEST(closing_waits_for_a_callback_that_was_handed_over)
{
    struct kit_pair p = { 0 };

    hand_over = true;
    slow_done = 0;
    kit_open(&p, MODE_TLS);
    p.client.on_message = slow_first;
    for (unsigned i = 1; i <= 21; i++)
        ck_assert_int_eq(kit_send(p.lane, i, 30, 5000), 0);
    KIT_WAIT(&p.client, p.client.messages >= 20);
    wg_lane_close(p.lane);
    p.lane = NULL;
    ck_assert_int_eq(slow_done, 1);
    kit_close(&p);
}
END_TEST

static unsigned small_came_as;

static void note_small(struct kit *k, struct wg_lane *l, const struct wg_msg_hdr *h, const void *body, struct wg_iobuf *p)
{
    if (h->id == 99)
        small_came_as = (unsigned)k->messages + 1; /* only this thread counts */
    check_and_count(k, l, h, body, p);
}

START_TEST(small_messages_pass_large_ones)
{
    struct kit_pair p = { .co.queue_max = 1 << 30, .co.sndbuf = 65536, .so.lane.rcvbuf = 65536 };

    small_came_as = 0;
    kit_open(&p, (enum kit_mode)_i);
    p.client.on_message = note_small;
    wg_listener_each(p.listener, pause_it, NULL);
    usleep(1000);
    for (unsigned i = 1; i <= 20; i++)
        ck_assert_int_eq(kit_send(p.lane, i, 10, 1 << 20), 0);
    ck_assert_int_eq(kit_send(p.lane, 99, 10, 4096), 0);
    wg_listener_each(p.listener, resume_it, NULL);
    KIT_WAIT(&p.client, p.client.messages == 21);
    ck_assert_uint_ge(small_came_as, 1);
    ck_assert_uint_le(small_came_as, 8); /* behind what was under way already */
    kit_close(&p);
}
END_TEST

START_TEST(wrong_arguments_are_refused)
{
    struct kit_pair p = { 0 };
    struct wg_lane_opts o;
    struct wg_lane *l;
    struct wg_msg m = { .type = 3 };

    kit_open(&p, MODE_PLAIN);
    ck_assert_int_eq(wg_lane_send(p.lane, &m), EINVAL);
    m = (struct wg_msg){ .type = TYPE_ECHO, .flags = 0x100 };
    ck_assert_int_eq(wg_lane_send(p.lane, &m), EINVAL);
    m = (struct wg_msg){ .type = TYPE_ECHO, .body_len = 65537 };
    ck_assert_int_eq(wg_lane_send(p.lane, &m), EMSGSIZE);
    m = (struct wg_msg){ .type = TYPE_ECHO, .payload.len = 7 };
    ck_assert_int_eq(wg_lane_send(p.lane, &m), EINVAL);
    o = p.co;
    o.plain = false; /* no TLS must be said */
    ck_assert_int_eq(wg_lane_connect("localhost:1", &o, &l), EINVAL);
    for (unsigned i = 0; i < 7; i++)
        ck_assert_int_eq(wg_lane_connect(((const char *[]){ "", "host", "host:", "host:65536", "[::1:80", "unix:rel", "host:8x" })[i],
                                         &p.co, &l), EINVAL);
    kit_close(&p);
}
END_TEST

START_TEST(too_many_connections_are_closed)
{
    struct kit_pair p = { .so.max_lanes = 1 };
    struct kit second = KIT;
    struct wg_lane_opts o;
    struct wg_lane *l;

    kit_open(&p, MODE_TLS);
    o = p.co;
    o.user = &second;
    o.backoff_min_ms = 10;
    ck_assert_int_eq(wg_lane_connect(wg_listener_addr(p.listener), &o, &l), 0);
    KIT_WAIT(&second, second.failed >= 2);
    ck_assert_uint_eq(second.up, 0);
    ck_assert_uint_eq(wg_listener_lanes(p.listener), 1);
    wg_lane_close(l);
    kit_close(&p);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("transport");
    TCase *t = tcase_create("lanes");

    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, echo_of_every_size, 0, KIT_MODES);
    tcase_add_loop_test(t, many_senders_at_once, 0, KIT_MODES);
    tcase_add_test(t, a_full_queue_says_so_and_tells_when_it_is_not);
    tcase_add_test(t, a_peer_that_does_not_read_is_not_read_from);
    tcase_add_loop_test(t, a_byte_at_a_time, 0, MODE_UNIX);
    tcase_add_loop_test(t, a_lane_comes_back_when_its_server_does, 0, KIT_MODES);
    tcase_add_test(t, a_reset_lane_comes_back_under_a_new_number);
    tcase_add_test(t, a_silent_peer_is_found_by_pings);
    tcase_add_loop_test(t, closing_under_load_from_other_threads, 0, KIT_MODES);
    tcase_add_loop_test(t, a_lane_may_close_itself_in_a_callback, 0, KIT_MODES);
    tcase_add_loop_test(t, reading_goes_on_beside_a_slow_callback, 0, 2 * KIT_MODES);
    tcase_add_loop_test(t, a_busy_reader_is_relieved, 0, KIT_MODES);
    tcase_add_test(t, lanes_end_beside_busy_readers);
    tcase_add_test(t, closing_waits_for_a_callback_that_was_handed_over);
    tcase_add_loop_test(t, small_messages_pass_large_ones, 0, KIT_MODES);
    tcase_add_test(t, wrong_arguments_are_refused);
    tcase_add_test(t, too_many_connections_are_closed);
    suite_add_tcase(s, t);
    return kit_main(s);
}
