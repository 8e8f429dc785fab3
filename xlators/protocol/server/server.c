/* SPDX-License-Identifier: Apache-2.0 */
/* protocol/server: the top of a brick's graph. The class, its options, its life. */
#include <openssl/rand.h>
#include <stdlib.h>

#define WG_LOG_PART "server"
#include "dump.h"
#include "log.h"
#include "xlators/protocol/options.h"
#include "xlators/protocol/server/server.h"

static const struct wg_option options[] = {
    { "listen", WG_OPT_STR, 0, 0, NULL, "Addresses to listen on, host:port (\"*:port\" for all) or "
      "unix:/path, separated by spaces or commas.", false },
    { "outstanding", WG_OPT_INT, 1, WG_WIRE_SLOTS_MAX, "256", "Calls that one client may have here at a "
      "time; a client that asks for more is refused.", false },
    { "pull-allow", WG_OPT_STR, 0, 0, "", "Names in certificates of the bricks that may copy from this "
      "one, in the form of tls-allow; who is only here may do nothing else. Empty: those of tls-allow may.",
      true },
    { "max-clients", WG_OPT_INT, 1, 100000, "1024", "Clients at a time.", false },
    { "max-lanes", WG_OPT_INT, 1, 100000, "4096", "Connections at a time.", false },
    { "busy-limit", WG_OPT_INT, 0, 1000000, "1000", "Microseconds that a request may keep the thread that reads "
      "its connection; then another thread reads on. 0: there is no limit.", false },
    { "lease", WG_OPT_TIME, 100, 3600000, "5s", "For how long after a deadline a client that can't "
      "reach this brick must expect the call to be still running here.", false },
    { "cache-lease", WG_OPT_TIME, 0, 3600000, "5s", "For how long a client that is not heard of may believe in "
      "answers that it remembers, and so the longest that it can delay a change; 0: none may be "
      "remembered.", false },
    { "cache-entries", WG_OPT_INT, 1024, 1 << 26, "262144", "Promises to clients at a time; beyond, answers "
      "come without. 28 bytes each.", false },
    { "cache-file", WG_OPT_STR, 0, 0, "", "A file that says after a restart which clients may still believe "
      "in answers of before; empty: they are not waited for.", false },
    { "ping-interval", WG_OPT_TIME, 100, 3600000, "5s", "A silent lane is pinged this often.", false },
    { "ping-timeout", WG_OPT_TIME, 100, 3600000, "10s", "A lane that does not answer a ping within "
      "this is closed.", false },
    WG_PROTOCOL_OPTIONS,
    { 0 },
};

static void server_fini(struct wg_xlator *xl)
{
    struct wg_server *v = xl->priv;

    if (!v)
        return;
    if (v->tls)
        wg_tls_unref(v->tls);
    wg_orphans_fini(&v->orphans);
    pthread_mutex_destroy(&v->parked_lock);
    wg_leases_fini(&v->leases);
    pthread_mutex_destroy(&v->lock);
    free(v);
    xl->priv = NULL;
}

static int server_init(struct wg_xlator *xl)
{
    struct wg_server *v = calloc(1, sizeof *v);
    int err;

    if (!v)
        return ENOMEM;
    xl->priv = v;
    v->xl = xl;
    v->slots_max = (uint32_t)wg_opt_int(xl, "outstanding");
    v->sessions_max = (uint32_t)wg_opt_int(xl, "max-clients");
    v->lease_ms = (uint32_t)wg_opt_int(xl, "lease");
    pthread_mutex_init(&v->lock, NULL);
    wg_orphans_init(&v->orphans);
    pthread_mutex_init(&v->parked_lock, NULL);
    err = wg_leases_init(&v->leases, xl->name, (uint64_t)wg_opt_int(xl, "cache-lease") * 1000000u,
                         (uint32_t)wg_opt_int(xl, "cache-entries"), v->sessions_max);
    if (!err)
        err = wg_protocol_uuid(xl, "volume-id", v->volume);
    if (!err)
        err = wg_protocol_uuid(xl, "brick-id", v->brick);
    if (!err)
        err = wg_protocol_tls(xl, &v->tls);
    if (err)
        server_fini(xl);
    return err;
}

static void server_stop(struct wg_xlator *xl)
{
    struct wg_server *v = xl->priv;

    while (v->nlisteners > 0)
        wg_listener_close(v->listeners[--v->nlisteners]);
    wg_leases_close(&v->leases);
    wg_server_forget_all(v);
    wg_leases_quiet(&v->leases);
    wg_lease_file_close(&v->leases);
}

static int listen_on(struct wg_server *v, const char *addr)
{
    struct wg_xlator *xl = v->xl;
    struct wg_listener_opts o = {
        .lane = {
            .ops = &wg_server_lane_ops,
            .user = v,
            .name = xl->name,
            .tls = v->tls,
            .plain = !v->tls,
            .busy_us = (uint32_t)wg_opt_int(xl, "busy-limit"),
            .ping_ms = (uint32_t)wg_opt_int(xl, "ping-interval"),
            .ping_timeout_ms = (uint32_t)wg_opt_int(xl, "ping-timeout"),
        },
        .max_lanes = (uint32_t)wg_opt_int(xl, "max-lanes"),
    };
    int err;

    if (v->nlisteners == WG_SERVER_LISTENERS_MAX)
        return E2BIG;
    err = wg_listen(addr, &o, &v->listeners[v->nlisteners]);
    if (err) {
        wg_error("%s: can't listen on %s: %s", xl->name, addr, wg_error_name(err));
        return err;
    }
    wg_notice("%s: listening on %s", xl->name, wg_listener_addr(v->listeners[v->nlisteners]));
    v->nlisteners++;
    return 0;
}

static int server_start(struct wg_xlator *xl)
{
    struct wg_server *v = xl->priv;
    unsigned n = 0;
    char **addrs = wg_protocol_words(wg_opt_str(xl, "listen"), &n);
    int err = n ? 0 : EINVAL;

    if (!addrs)
        return ENOMEM;
    if (!n)
        wg_error("%s: option listen has no address", xl->name);
    if (!err && RAND_bytes(v->instance, sizeof v->instance) != 1)
        err = EIO;
    wg_leases_open(&v->leases, wg_opt_str(xl, "cache-file"));
    for (unsigned i = 0; i < n && !err; i++)
        err = listen_on(v, addrs[i]);
    if (err)
        server_stop(xl);
    free(addrs);
    return err;
}

static int server_reload(struct wg_xlator *xl)
{
    struct wg_server *v = xl->priv;

    return wg_protocol_tls_reload(xl, v->tls);
}

uint16_t wg_server_port(const struct wg_xlator *xl)
{
    const struct wg_server *v = xl->priv;

    return v->nlisteners ? wg_listener_port(v->listeners[0]) : 0;
}

static void dump_leases(struct wg_leases *t, struct wg_dump *d)
{
    uint64_t live = 0;

    for (unsigned i = 0; i < WG_LEASE_SHARDS; i++)
        live += __atomic_load_n(&t->shard[i].live, __ATOMIC_RELAXED);
    wg_dump_object(d, "leases");
    wg_dump_u64(d, "running", atomic_load(&t->terms));
    wg_dump_u64(d, "entries", live);
    wg_dump_u64(d, "entries_max", (uint64_t)__atomic_load_n(&t->size, __ATOMIC_RELAXED) * WG_LEASE_SHARDS);
    wg_dump_u64(d, "granted", atomic_load(&t->granted));
    wg_dump_u64(d, "not_granted_table_full", atomic_load(&t->overflowed));
    wg_dump_u64(d, "recalls", atomic_load(&t->recalled));
    wg_dump_u64(d, "recalls_waiting", atomic_load(&t->waiting));
    wg_dump_u64(d, "expired_waiting", atomic_load(&t->expired));
    wg_dump_u64(d, "flushes", atomic_load(&t->flushes));
    wg_dump_bool(d, "waits_for_clients_of_before", atomic_load(&t->ghost.until_ns) != 0);
    wg_dump_end(d);
}

static void dump_holder(struct wg_holder *h, struct wg_dump *d)
{
    uint64_t until = atomic_load(&h->until_ns), now = wg_now_ns();

    wg_dump_object(d, "lease");
    wg_dump_u64(d, "entries", atomic_load(&h->entries));
    wg_dump_u64(d, "runs_for_ms", until > now ? (until - now) / 1000000 : 0);
    wg_dump_u64(d, "term", atomic_load(&h->drop));
    wg_dump_bool(d, "owes_recalls_for_long", atomic_load(&h->frozen));
    wg_dump_end(d);
}

static void dump_session(struct wg_session *s, struct wg_dump *d)
{
    unsigned kept = 0;

    wg_dump_object(d, NULL);
    wg_dump_str(d, "name", s->name);
    wg_dump_str(d, "certificate", s->peer);
    wg_dump_bool(d, "puller", s->puller);
    wg_dump_fmt(d, "client", "%02x%02x%02x%02x", s->client[0], s->client[1], s->client[2], s->client[3]);
    wg_dump_u64(d, "running", atomic_load(&s->running));
    wg_dump_u64(d, "epoch", atomic_load(&s->cache.epoch));
    pthread_mutex_lock(&s->lock);
    wg_dump_u64(d, "lanes", s->nlanes);
    wg_dump_u64(d, "lanes_paused", atomic_load(&s->paused));
    wg_dump_u64(d, "lanes_waiting_for_older_calls", atomic_load(&s->waits));
    pthread_mutex_unlock(&s->lock);
    if (atomic_load(&s->holder))
        dump_holder(atomic_load(&s->holder), d);
    wg_dump_object(d, "reply_cache");
    wg_dump_u64(d, "slots", s->slots);
    for (uint32_t i = 0; i < s->cache.n; i++) {
        struct wg_entry *e = &s->cache.entries[i];

        pthread_mutex_lock(&e->lock);
        kept += e->state == WG_ENTRY_DONE;
        pthread_mutex_unlock(&e->lock);
    }
    wg_dump_u64(d, "kept", kept);
    wg_dump_u64(d, "running", wg_replycache_running(&s->cache, UINT64_MAX));
    wg_dump_end(d);
    wg_dump_end(d);
}

static void server_dump(struct wg_xlator *xl, struct wg_dump *d)
{
    struct wg_server *v = xl->priv;

    wg_dump_array(d, "listeners");
    for (unsigned i = 0; i < v->nlisteners; i++)
        wg_dump_str(d, NULL, wg_listener_addr(v->listeners[i]));
    wg_dump_end(d);
    wg_dump_u64(d, "replays", atomic_load(&v->replays));
    wg_dump_u64(d, "refused_stale", atomic_load(&v->stale));
    wg_dump_u64(d, "refused_late", atomic_load(&v->late));
    wg_dump_u64(d, "clients_refused", atomic_load(&v->refused));
    wg_dump_u64(d, "forbidden", atomic_load(&v->forbidden));
    wg_dump_u64(d, "malformed", atomic_load(&v->malformed));
    dump_leases(&v->leases, d);
    wg_dump_array(d, "sessions");
    pthread_mutex_lock(&v->lock);
    for (struct wg_session *s = v->sessions; s; s = s->next)
        dump_session(s, d);
    pthread_mutex_unlock(&v->lock);
    wg_dump_end(d);
}

static void server_event(struct wg_xlator *xl, const struct wg_event *ev)
{
    struct wg_server *v = xl->priv;

    wg_leases_tell(&v->leases, ev);
}

const struct wg_class wg_protocol_server = {
    .type = "protocol/server",
    .help = "Serves the translators below it to gateways, over TLS.",
    .options = options,
    .min_children = 1,
    .max_children = 1,
    .door = true,
    .lasting = true,
    .init = server_init,
    .start = server_start,
    .stop = server_stop,
    .fini = server_fini,
    .reload = server_reload,
    .dump = server_dump,
    .event = server_event,
};
