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
    { "lease", WG_OPT_TIME, 100, 3600000, "5s", "For how long after a deadline a client that can't "
      "reach this brick must expect the call to be still running here.", false },
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
    wg_server_forget_all(v);
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
    wg_dump_array(d, "sessions");
    pthread_mutex_lock(&v->lock);
    for (struct wg_session *s = v->sessions; s; s = s->next)
        dump_session(s, d);
    pthread_mutex_unlock(&v->lock);
    wg_dump_end(d);
}

const struct wg_class wg_protocol_server = {
    .type = "protocol/server",
    .help = "Serves the translators below it to gateways, over TLS.",
    .options = options,
    .min_children = 1,
    .max_children = 1,
    .door = true,
    .init = server_init,
    .start = server_start,
    .stop = server_stop,
    .fini = server_fini,
    .reload = server_reload,
    .dump = server_dump,
};
