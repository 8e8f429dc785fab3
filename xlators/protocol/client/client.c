/* SPDX-License-Identifier: Apache-2.0 */
/* protocol/client: sends every fop to a brick. The class, its options, its life. */
#include <openssl/rand.h>
#include <stdlib.h>

#define WG_LOG_PART "client"
#include "dump.h"
#include "log.h"
#include "xlators/protocol/client/client.h"
#include "xlators/protocol/options.h"

static const struct wg_option options[] = {
    { "remote", WG_OPT_STR, 0, 0, NULL, "Addresses of the brick, host:port or unix:/path, separated "
      "by spaces or commas; lanes are spread over them.", false },
    { "lanes", WG_OPT_INT, 1, WG_CLIENT_LANES_MAX, "3", "Connections to the brick, a "
      "thread each; the first is kept for small calls.",
      false },
    { "shared-thread", WG_OPT_BOOL, 0, 0, "off", "One polling thread serves all lanes.", false },
    { "peer-name", WG_OPT_STR, 0, 0, "", "Name that the brick's certificate must carry, besides "
      "tls-allow.", false },
    { "puller", WG_OPT_BOOL, 0, 0, "no", "Connect as a brick that copies from this one: only references "
      "are read, and nothing else would be allowed.", false },
    { "outstanding", WG_OPT_INT, 1, WG_WIRE_SLOTS_MAX, "256", "Calls at the brick at a time; more wait "
      "here.", false },
    { "request-timeout", WG_OPT_TIME, 100, 3600000, "30s", "Deadline of a call that has none.", true },
    { "out-of-service-after", WG_OPT_TIME, 0, 86400000, "60s", "Without a connection for this long, "
      "calls fail at once until there is one; 0: they always wait for their deadline.", true },
    { "stuck-after", WG_OPT_TIME, 100, 86400000, "60s", "A modifying call whose end the brick does not "
      "confirm for this long after its deadline is answered with a timeout, and the brick is "
      "reconnected, which it allows when the call has ended.", false },
    { "ping-interval", WG_OPT_TIME, 100, 3600000, "5s", "A silent lane is pinged this often.", false },
    { "ping-timeout", WG_OPT_TIME, 100, 3600000, "10s", "A lane that does not answer a ping within "
      "this is closed.", false },
    { "connect-timeout", WG_OPT_TIME, 100, 3600000, "5s", "For a connection, and again for its TLS.",
      false },
    { "reconnect-delay", WG_OPT_TIME, 1, 3600000, "1s", "The longest wait between attempts to connect; it "
      "starts with a fiftieth and doubles.", false },
    WG_PROTOCOL_OPTIONS,
    { 0 },
};

static void client_fop(struct wg_frame *f)
{
    struct wg_client *c = f->this->priv;
    uint64_t deadline = f->call->deadline_ns, none = 0, id;

    if (atomic_load_explicit(&c->out, memory_order_relaxed)) {
        wg_unwind(f, ENOTCONN);
        return;
    }
    if (f->want_lease && !atomic_load_explicit(&c->drop, memory_order_relaxed))
        atomic_compare_exchange_strong(&c->drop, &none, 1);
    if (!deadline)
        deadline = wg_now_coarse_ns() + __atomic_load_n(&c->timeout_ns, __ATOMIC_RELAXED);
    if (wg_inflight_begin(&c->table, f, deadline, &id)) {
        wg_unwind(f, f->this->ending ? EAGAIN : ECANCELED);
        return;
    }
    if (id)
        wg_client_send(c, id);
}

static void client_fini(struct wg_xlator *xl)
{
    struct wg_client *c = xl->priv;

    if (!c)
        return;
    for (unsigned i = 0; i < c->nlanes; i++)
        if (c->lanes[i].held)
            wg_lane_unref(c->lanes[i].held);
    wg_inflight_fini(&c->table);
    if (c->tls)
        wg_tls_unref(c->tls);
    pthread_mutex_destroy(&c->lock);
    pthread_mutex_destroy(&c->tick_lock);
    free(c);
    xl->priv = NULL;
}

static int client_reload(struct wg_xlator *xl)
{
    struct wg_client *c = xl->priv;

    __atomic_store_n(&c->timeout_ns, (uint64_t)wg_opt_int(xl, "request-timeout") * 1000000u,
                     __ATOMIC_RELAXED);
    __atomic_store_n(&c->out_ns, (uint64_t)wg_opt_int(xl, "out-of-service-after") * 1000000u,
                     __ATOMIC_RELAXED);
    return wg_protocol_tls_reload(xl, c->tls);
}

static int client_init(struct wg_xlator *xl)
{
    struct wg_client *c = calloc(1, sizeof *c);
    int err;

    if (!c)
        return ENOMEM;
    xl->priv = c;
    c->xl = xl;
    c->nlanes = (unsigned)wg_opt_int(xl, "lanes");
    c->timeout_ns = (uint64_t)wg_opt_int(xl, "request-timeout") * 1000000u;
    c->out_ns = (uint64_t)wg_opt_int(xl, "out-of-service-after") * 1000000u;
    c->stuck_ns = (uint64_t)wg_opt_int(xl, "stuck-after") * 1000000u;
    pthread_mutex_init(&c->lock, NULL);
    pthread_mutex_init(&c->tick_lock, NULL);
    err = wg_client_lease_init(c);
    if (!err)
        err = wg_inflight_init(&c->table, (uint32_t)wg_opt_int(xl, "outstanding"));
    if (!err)
        err = wg_protocol_uuid(xl, "volume-id", c->volume);
    if (!err)
        err = wg_protocol_uuid(xl, "brick-id", c->brick);
    if (!err && RAND_bytes(c->id, sizeof c->id) != 1)
        err = EIO;
    if (!err)
        err = wg_protocol_tls(xl, &c->tls);
    if (err)
        client_fini(xl);
    return err;
}

static int connect_lanes(struct wg_client *c, char **addrs, unsigned n)
{
    struct wg_xlator *xl = c->xl;
    struct wg_lane_opts o = {
        .ops = &wg_client_lane_ops,
        .name = xl->name,
        .tls = c->tls,
        .plain = !c->tls,
        .peer_name = wg_opt_str(xl, "peer-name")[0] ? wg_opt_str(xl, "peer-name") : NULL,
        .poller = c->poller,
        .connect_ms = (uint32_t)wg_opt_int(xl, "connect-timeout"),
        .handshake_ms = (uint32_t)wg_opt_int(xl, "connect-timeout"),
        .ping_ms = (uint32_t)wg_opt_int(xl, "ping-interval"),
        .ping_timeout_ms = (uint32_t)wg_opt_int(xl, "ping-timeout"),
        .backoff_min_ms = (uint32_t)wg_opt_int(xl, "reconnect-delay") / 50 + 1,
        .backoff_max_ms = (uint32_t)wg_opt_int(xl, "reconnect-delay"),
        .queue_max = WG_CLIENT_QUEUE_MAX,
    };

    for (unsigned i = 0; i < c->nlanes; i++) {
        struct wg_client_lane *l = &c->lanes[i];
        int err;

        o.user = l;
        err = wg_lane_connect(addrs[i % n], &o, &l->held);
        if (err) {
            wg_error("%s: remote \"%s\": %s", xl->name, addrs[i % n], wg_error_name(err));
            return err;
        }
        /* A sender that is late may still look at a lane that is closed: it stays until fini. */
        wg_lane_ref(l->held);
        l->connected = true;
    }
    return 0;
}

static void close_lanes(struct wg_client *c)
{
    for (unsigned i = 0; i < c->nlanes; i++) {
        if (c->lanes[i].connected)
            wg_lane_close(c->lanes[i].held);
        c->lanes[i].connected = false;
    }
    if (c->poller)
        wg_poller_free(c->poller);
    c->poller = NULL;
}

static void end_one(struct wg_slot *s, void *arg)
{
    uint64_t *ids = arg;

    ids[++ids[0]] = s->id;
}

/* Every call ends. */
static void end_all(struct wg_client *c, int err)
{
    uint64_t *ids = calloc(c->table.nslots + 1, sizeof *ids);
    struct wg_frame *f = wg_inflight_drop_waiting(&c->table, 0, true), *next;

    for (; f; f = next) {
        next = ((struct wg_waiter *)f->local)->next;
        wg_unwind(f, err);
    }
    if (!ids)
        abort();
    wg_inflight_each(&c->table, end_one, ids);
    for (uint64_t i = 1; i <= ids[0]; i++)
        wg_client_end(c, ids[i], err);
    free(ids);
}

/*
 * A brick that stops gives up what it fetches from another one, which may be away: only reads, so nothing that
 * still runs there matters. A gateway's calls were waited for by its doors.
 */
static void client_drain(struct wg_xlator *xl)
{
    struct wg_client *c = xl->priv;

    if (!xl->ending || !wg_opt_bool(xl, "puller"))
        return;
    wg_inflight_close(&c->table);
    end_all(c, EAGAIN);
}

static void client_stop(struct wg_xlator *xl)
{
    struct wg_client *c = xl->priv;

    wg_inflight_close(&c->table);
    pthread_mutex_lock(&c->tick_lock);
    c->stopping = true;
    wg_timer_cancel(&c->tick);
    pthread_mutex_unlock(&c->tick_lock);
    close_lanes(c);
    atomic_store(&c->lease->until_ns, 0);
    end_all(c, ECANCELED); /* the lanes are closed, so nobody else does */
}

static int client_start(struct wg_xlator *xl)
{
    struct wg_client *c = xl->priv;
    unsigned n = 0;
    char **addrs = wg_protocol_words(wg_opt_str(xl, "remote"), &n);
    int err = 0;

    if (!addrs)
        return ENOMEM;
    if (!n) {
        wg_error("%s: option remote has no address", xl->name);
        err = EINVAL;
    }
    for (unsigned i = 0; i < c->nlanes; i++)
        c->lanes[i] = (struct wg_client_lane){ .client = c, .index = i };
    c->stopping = false;
    if (!err && wg_opt_bool(xl, "shared-thread"))
        err = wg_poller_new(xl->name, &c->poller);
    if (!err)
        err = connect_lanes(c, addrs, n);
    if (!err)
        wg_timer_arm(&c->tick, wg_now_ns() + WG_CLIENT_TICK_NS, wg_client_tick);
    else
        close_lanes(c);
    free(addrs);
    return err;
}

/* What a dump says of one call: copied first, so that no call waits for the dump. */
struct shown {
    uint64_t id, call, sent_ns, deadline_ns, gaveup;
    uint16_t op;
    uint8_t lane;
    bool replay;
};

struct shown_list {
    unsigned n;
    struct shown call[];
};

static void copy_slot(struct wg_slot *s, void *arg)
{
    struct shown_list *list = arg;

    list->call[list->n++] = (struct shown){ s->id, s->frame->call->id, s->sent_ns, s->deadline_ns,
                                            s->gaveup, s->frame->op, s->lane_index, s->replay };
}

static void dump_call(const struct shown *s, uint64_t now, struct wg_dump *d)
{
    wg_dump_object(d, NULL);
    wg_dump_fmt(d, "id", "%llu/%u", (unsigned long long)(s->id >> 16), wg_id_slot(s->id));
    wg_dump_u64(d, "call", s->call);
    wg_dump_str(d, "op", wg_op_name(s->op));
    wg_dump_u64(d, "lane", s->lane);
    if (s->sent_ns)
        wg_dump_u64(d, "sent_ms_ago", now > s->sent_ns ? (now - s->sent_ns) / 1000000 : 0);
    wg_dump_i64(d, "deadline_in_ms", ((int64_t)s->deadline_ns - (int64_t)now) / 1000000);
    wg_dump_bool(d, "replay", s->replay);
    wg_dump_u64(d, "given_up_by_epoch", s->gaveup);
    wg_dump_end(d);
}

static void dump_calls(struct wg_client *c, struct wg_dump *d)
{
    struct shown_list *list = malloc(sizeof *list + c->table.nslots * sizeof *list->call);
    uint64_t now = wg_now_ns();

    if (!list)
        return;
    list->n = 0;
    wg_inflight_each(&c->table, copy_slot, list);
    wg_dump_array(d, "inflight");
    for (unsigned i = 0; i < list->n; i++)
        dump_call(&list->call[i], now, d);
    wg_dump_end(d);
    free(list);
}

static void dump_lane(struct wg_client_lane *l, struct wg_dump *d)
{
    wg_dump_object(d, NULL);
    wg_dump_bool(d, "open", atomic_load(&l->open) != 0);
    wg_dump_u64(d, "inflight", atomic_load(&l->inflight));
    wg_dump_i64(d, "cost_bytes", atomic_load(&l->cost));
    wg_dump_u64(d, "brick_instance", atomic_load(&l->instance));
    wg_dump_u64(d, "conn", atomic_load(&l->open)); /* the one of that number among the transport's lanes */
    wg_dump_end(d);
}

static void dump_lease(struct wg_client *c, struct wg_dump *d)
{
    uint64_t until = atomic_load(&c->lease->until_ns), now = wg_now_ns();

    wg_dump_object(d, "lease");
    wg_dump_u64(d, "of_ms", atomic_load(&c->cache_ns) / 1000000);
    wg_dump_u64(d, "runs_for_ms", until > now ? (until - now) / 1000000 : 0);
    wg_dump_u64(d, "term", atomic_load(&c->drop));
    wg_dump_u64(d, "recalls", atomic_load(&c->recalls));
    wg_dump_u64(d, "resets", atomic_load(&c->resets));
    wg_dump_end(d);
}

static void client_dump(struct wg_xlator *xl, struct wg_dump *d)
{
    struct wg_client *c = xl->priv;

    wg_dump_bool(d, "out_of_service", atomic_load(&c->out));
    wg_dump_u64(d, "epoch", atomic_load(&c->epoch));
    wg_dump_u64(d, "epoch_acknowledged", atomic_load(&c->acked));
    wg_dump_u64(d, "calls_inflight", atomic_load(&c->table.used));
    wg_dump_u64(d, "calls_waiting", atomic_load(&c->table.waiting));
    wg_dump_u64(d, "sent_again", atomic_load(&c->replayed));
    wg_dump_u64(d, "timeouts", atomic_load(&c->timeouts));
    wg_dump_u64(d, "refused_stale", atomic_load(&c->stale));
    wg_dump_u64(d, "refused_late", atomic_load(&c->late));
    dump_lease(c, d);
    pthread_mutex_lock(&c->lock);
    wg_dump_u64(d, "brick_instances_seen", c->instances);
    if (c->refused[0])
        wg_dump_str(d, "last_refusal", c->refused);
    pthread_mutex_unlock(&c->lock);
    wg_dump_array(d, "lanes");
    for (unsigned i = 0; i < c->nlanes; i++)
        dump_lane(&c->lanes[i], d);
    wg_dump_end(d);
    dump_calls(c, d);
}

const struct wg_class wg_protocol_client = {
    .type = "protocol/client",
    .help = "Sends every fop to a brick server over several TLS connections.",
    .options = options,
    .local_size = sizeof(struct wg_waiter),
    .init = client_init,
    .start = client_start,
    .drain = client_drain,
    .stop = client_stop,
    .fini = client_fini,
    .reload = client_reload,
    .dump = client_dump,
    .any = client_fop,
};
