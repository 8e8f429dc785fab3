/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two bricks and a gateway over TLS: features/pull > protocol/client (puller) > protocol/server >
 * storage/posix; and fops on them. For the tests of pulls.
 */
#ifndef WG_TEST_PULL_KIT_H
#define WG_TEST_PULL_KIT_H

#include <pthread.h>
#include <signal.h>

#include "brick.h"
#include "dump.h"
#include "protocol_kit.h"

#define SOURCE_ID "11111111-1111-4111-8111-111111111111"
#define TARGET_ID "22222222-2222-4222-8222-222222222222"
#define MIB (1u << 20)

static struct brick source, target; /* of which we use the directories */
static struct wg_graph *from, *to, *gateway;

static inline void end(struct wg_graph **g)
{
    if (*g)
        end_graph(*g);
    *g = NULL;
}

static inline void start_source(const char *store_options)
{
    char text[4096];

    snprintf(text, sizeof text,
             "volume store\ntype storage/posix\noption directory %s\noption init yes\n"
             "option brick-id " SOURCE_ID "\n%s\nend-volume\n"
             "volume io\ntype performance/io-threads\nsubvolumes store\nend-volume\n"
             "volume server\ntype protocol/server\noption listen 127.0.0.1:%u\n%s"
             "option pull-allow two\noption brick-id " SOURCE_ID "\nsubvolumes io\nend-volume\n",
             source.dir, store_options, port, tls("one", "gateway"));
    from = graph_of(text);
    port = wg_server_port(from->top);
}

/* above: more volumes, on top of `pull`. */
static inline void start_target_below(const char *pull_options, const char *above)
{
    char text[4096];

    snprintf(text, sizeof text,
             "volume store\ntype storage/posix\noption directory %s\noption init yes\n"
             "option brick-id " TARGET_ID "\nend-volume\n"
             "volume io\ntype performance/io-threads\nsubvolumes store\nend-volume\n"
             "volume peer\ntype protocol/client\noption remote 127.0.0.1:%u\noption puller yes\n%s"
             "option reconnect-delay 100ms\noption brick-id " SOURCE_ID "\nend-volume\n"
             "volume pull\ntype features/pull\n%s\nsubvolumes io peer\nend-volume\n%s",
             target.dir, port, tls("two", "one"), pull_options, above);
    to = graph_of(text);
}

static inline void start_target(const char *pull_options)
{
    start_target_below(pull_options, "");
}

static inline struct wg_graph *client(const char *own, const char *more)
{
    char text[2048];

    snprintf(text, sizeof text, "volume client\ntype protocol/client\noption remote 127.0.0.1:%u\n"
             "option reconnect-delay 100ms\n%s%s\nend-volume\n", port, tls(own, "one"), more);
    return graph_of(text);
}

static inline void setup(void)
{
    signal(SIGPIPE, SIG_IGN);
    pki_start(&pki);
    pki_issue(&pki, "one");
    pki_issue(&pki, "two");
    pki_issue(&pki, "gateway");
    OK(wg_work_start(2));
    brick_mkdir(&source);
    brick_mkdir(&target);
    port = 0;
    start_source("");
    start_target("");
    gateway = client("gateway", "");
}

static inline void forget_last(void);

static inline void teardown(void)
{
    forget_last();
    end(&gateway);
    end(&to);
    end(&from);
    wg_work_stop();
    brick_end(&source);
    brick_end(&target);
    pki_end(&pki);
}

/* ---- fops ---------------------------------------------------------------------------------- */

static inline void begin(struct op *o, struct wg_graph *g, unsigned op, const void *in, unsigned timeout_ms)
{
    op_init(o, g, timeout_ms);
    wg_start(o->call, g->entry, op, in, op_finish);
}

static inline int wait_for(struct op *o)
{
    pthread_mutex_lock(&o->lock);
    while (!o->ended)
        pthread_cond_wait(&o->cond, &o->lock);
    pthread_mutex_unlock(&o->lock);
    return o->call->root->err;
}

static struct op last;

static inline int run(struct wg_graph *g, unsigned op, const void *in, unsigned timeout_ms)
{
    if (last.call)
        wg_call_unref(last.call);
    begin(&last, g, op, in, timeout_ms);
    return wait_for(&last);
}

#define DO(g, name, ...) run((g), WG_OP_##name, &(struct wg_##name##_in){ __VA_ARGS__ }, 60000)
#define GOT(name) wg_result(last.call, name)

static inline void forget_last(void)
{
    if (last.call)
        wg_call_unref(last.call);
    last.call = NULL;
}

/* A file of that content, made behind the brick's back; then known to it. */
static inline struct wg_ref file_of(struct brick *b, struct wg_graph *g, const char *name, const char *command)
{
    char text[1024];

    snprintf(text, sizeof text, "cd %s && (%s) 2> /dev/null && chmod 644 %s", b->dir, command, name);
    OK(system(text));
    OK(DO(g, lookup, .at = { brick_root(), wg_str_of(name) }));
    return GOT(lookup)->ref;
}

static inline int same_files(const char *a, const char *z)
{
    char text[1024];

    snprintf(text, sizeof text, "cmp %s/%s %s/%s", source.dir, a, target.dir, z);
    return system(text);
}

static char bytes[32];
static struct wg_str token = { bytes, sizeof bytes };
static bool snapshot;

static inline int refer(struct wg_ref file, uint64_t offset, uint64_t size, const char *puller)
{
    int err = DO(gateway, ref_create, .at = file, .offset = offset, .size = size, .puller = wg_str_of(puller));

    if (err)
        return err;
    memcpy(bytes, GOT(ref_create)->ref.s, sizeof bytes);
    snapshot = GOT(ref_create)->snapshot;
    return 0;
}

static inline wg_gfid source_id(void)
{
    wg_gfid g;

    memset(g.b, 0x11, sizeof g.b);
    g.b[6] = 0x41;
    g.b[8] = 0x81;
    return g;
}

static inline int pull(struct wg_ref file, uint64_t offset, uint64_t to_offset, uint64_t size, bool fresh)
{
    return DO(to, ref_pull, .ref = token, .source = source_id(), .offset = offset, .to = file,
              .to_offset = to_offset, .size = size, .fresh = fresh);
}

/* main of such a file: PULL_TESTS(name, X(one) X(two)), X being TEST_ROW. */
#define PULL_TESTS(suite, rows) \
    TESTS(suite, tcase_add_checked_fixture(t, setup, teardown); tcase_set_timeout(t, 240); rows)

#endif
