/* SPDX-License-Identifier: Apache-2.0 */
/*
 * windgate profile: how long requests took, by client, by share (export or bucket) and by operation,
 * and the report of these and of each xlator's fops. Requests are counted in shards, each a bounded
 * table under a lock that is almost never contended; what finds no place counts as "(others)".
 */
#include <cjson/cJSON.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "report.h"
#include "stats.h"
#include "xlator.h"

#define SHARDS 8
#define PLACES 1024 /* of a shard; a power of two. Three in four are used at most */
#define LABEL 88

enum kind { CLIENT, SHARE, OPERATION, KINDS };

static const struct {
    const char *list, *key;
} kinds[KINDS] = {
    { "clients", "client" }, { "shares", "share" }, { "operations", "operation" },
};

struct entry {
    enum kind kind;
    char label[LABEL];
    struct wg_hist_sum sum;
};

static struct {
    pthread_mutex_t lock; /* a leaf */
    unsigned used;
    struct entry *place[PLACES];
} shards[SHARDS] = {
    [0 ... SHARDS - 1] = { .lock = PTHREAD_MUTEX_INITIALIZER },
};
static _Atomic uint64_t since_ns, until_ns; /* the time that the figures are of; until 0: still on */

/* --- counting --- */

static const char *const doors[] = { "internal", "nfs", "s3", "brick", "admin" };

static unsigned hash_of(enum kind kind, const char *label)
{
    uint32_t h = 2166136261u + kind; /* FNV-1a */

    for (; *label; label++)
        h = (h ^ (unsigned char)*label) * 16777619u;
    return h;
}

/* Under the shard's lock. NULL when memory is out. */
static struct entry *entry_of(unsigned shard, enum kind kind, const char *label)
{
    unsigned at = hash_of(kind, label) % PLACES;
    struct entry *e;

    for (; (e = shards[shard].place[at]); at = (at + 1) % PLACES)
        if (e->kind == kind && strcmp(e->label, label) == 0)
            return e;
    if (shards[shard].used >= PLACES * 3 / 4 - KINDS && strcmp(label, "(others)") != 0)
        return entry_of(shard, kind, "(others)");
    e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    e->kind = kind;
    snprintf(e->label, sizeof e->label, "%s", label);
    shards[shard].place[at] = e;
    shards[shard].used++;
    return e;
}

static void add(unsigned shard, enum kind kind, const char *label, uint64_t ns, bool failed)
{
    struct entry *e = entry_of(shard, kind, label);

    if (!e)
        return;
    e->sum.calls++;
    e->sum.errors += failed;
    e->sum.ns += ns;
    e->sum.bucket[wg_hist_bucket(ns)]++;
    if (ns > e->sum.max_ns)
        e->sum.max_ns = ns;
}

/* The address without its port: a client's connections come and go. */
static void client_label(struct wg_str c, char *buf)
{
    const char *colon = c.len ? memrchr(c.s, ':', c.len) : NULL;
    bool v6 = c.len && memchr(c.s, ':', c.len) != colon;

    if (colon && (!v6 || (colon > c.s && colon[-1] == ']')))
        c.len = (uint32_t)(colon - c.s);
    snprintf(buf, LABEL, "%.*s", (int)c.len, c.len ? c.s : "");
}

void wg_profile_request(const struct wg_call *call)
{
    bool failed = call->failed || (call->root && call->root->err);
    unsigned shard = wg_thread_number() % SHARDS;
    char client[LABEL], share[LABEL], operation[LABEL];
    uint64_t ns;

    if (call->frontend == WG_FROM_INTERNAL || !call->what)
        return;
    ns = wg_now_ns() - call->begin_ns;
    client_label(call->client, client);
    snprintf(share, sizeof share, "%.*s", (int)call->share.len, call->share.len ? call->share.s : "");
    snprintf(operation, sizeof operation, "%s %s", doors[call->frontend], call->what);
    pthread_mutex_lock(&shards[shard].lock);
    if (client[0])
        add(shard, CLIENT, client, ns, failed);
    if (share[0])
        add(shard, SHARE, share, ns, failed);
    add(shard, OPERATION, operation, ns, failed);
    pthread_mutex_unlock(&shards[shard].lock);
}

static void clear(void)
{
    for (int i = 0; i < SHARDS; i++) {
        pthread_mutex_lock(&shards[i].lock);
        for (int p = 0; p < PLACES; p++) {
            free(shards[i].place[p]);
            shards[i].place[p] = NULL;
        }
        shards[i].used = 0;
        pthread_mutex_unlock(&shards[i].lock);
    }
    wg_stats_clear();
}

/* --- the report --- */

static double us(uint64_t ns)
{
    return (double)(ns / 100) / 10;
}

static void add_sum(cJSON *item, const struct wg_hist_sum *s)
{
    cJSON_AddNumberToObject(item, "calls", (double)s->calls);
    cJSON_AddNumberToObject(item, "errors", (double)s->errors);
    cJSON_AddNumberToObject(item, "avg_us", us(s->calls ? s->ns / s->calls : 0));
    cJSON_AddNumberToObject(item, "p50_us", us(wg_hist_quantile(s, 0.5)));
    cJSON_AddNumberToObject(item, "p90_us", us(wg_hist_quantile(s, 0.9)));
    cJSON_AddNumberToObject(item, "p99_us", us(wg_hist_quantile(s, 0.99)));
    cJSON_AddNumberToObject(item, "max_us", us(s->max_ns));
}

/* [middle of the bucket in us, calls] for each that has any. */
static void add_buckets(cJSON *item, const struct wg_hist_sum *s)
{
    cJSON *list = cJSON_AddArrayToObject(item, "histogram");

    for (unsigned b = 0; b < WG_HIST_BUCKETS; b++)
        if (s->bucket[b]) {
            double pair[2] = { us(wg_hist_value(b)), (double)s->bucket[b] };

            cJSON_AddItemToArray(list, cJSON_CreateDoubleArray(pair, 2));
        }
}

struct asked {
    cJSON *list;
    bool histograms;
};

static void report_xlator(const struct wg_xlator *xl, void *arg)
{
    struct asked *a = arg;
    cJSON *item = NULL, *fops = NULL;

    for (unsigned op = 0; op < WG_OP_MAX; op++) {
        struct wg_hist_sum s;
        cJSON *fop;

        wg_stats_hist(xl, op, &s);
        if (s.calls == 0)
            continue;
        if (!item) {
            item = cJSON_CreateObject();
            cJSON_AddStringToObject(item, "xlator", xl->name);
            cJSON_AddStringToObject(item, "type", xl->class->type);
            fops = cJSON_AddArrayToObject(item, "fops");
            cJSON_AddItemToArray(a->list, item);
        }
        fop = cJSON_CreateObject();
        cJSON_AddStringToObject(fop, "fop", wg_op_name(op));
        add_sum(fop, &s);
        if (a->histograms)
            add_buckets(fop, &s);
        cJSON_AddItemToArray(fops, fop);
    }
}

static void merge(struct entry *to, const struct entry *e)
{
    to->sum.calls += e->sum.calls;
    to->sum.errors += e->sum.errors;
    to->sum.ns += e->sum.ns;
    if (e->sum.max_ns > to->sum.max_ns)
        to->sum.max_ns = e->sum.max_ns;
    for (unsigned b = 0; b < WG_HIST_BUCKETS; b++)
        to->sum.bucket[b] += e->sum.bucket[b];
}

static int by_label(const void *a, const void *b)
{
    const struct entry *x = *(struct entry *const *)a, *y = *(struct entry *const *)b;

    return x->kind != y->kind ? (int)x->kind - (int)y->kind : strcmp(x->label, y->label);
}

static int by_time(const void *a, const void *b)
{
    const struct entry *x = *(struct entry *const *)a, *y = *(struct entry *const *)b;

    return x->sum.ns < y->sum.ns ? 1 : x->sum.ns > y->sum.ns ? -1 : 0;
}

/* Copies of all shards' entries. */
static unsigned gather(struct entry **list, unsigned max)
{
    unsigned n = 0;

    for (int i = 0; i < SHARDS; i++) {
        pthread_mutex_lock(&shards[i].lock);
        for (int p = 0; p < PLACES && n < max; p++) {
            if (!shards[i].place[p])
                continue;
            list[n] = malloc(sizeof **list);
            if (list[n])
                *list[n++] = *shards[i].place[p];
        }
        pthread_mutex_unlock(&shards[i].lock);
    }
    return n;
}

static void report_requests(cJSON *answer, bool histograms)
{
    struct entry **list = calloc(SHARDS * PLACES, sizeof *list);
    unsigned n = list ? gather(list, SHARDS * PLACES) : 0, merged = 0;
    cJSON *lists[KINDS];

    for (int k = 0; k < KINDS; k++)
        lists[k] = cJSON_AddArrayToObject(answer, kinds[k].list);
    if (n)
        qsort(list, n, sizeof *list, by_label);
    for (unsigned i = 0; i < n; i++) {
        if (merged && by_label(&list[merged - 1], &list[i]) == 0) {
            merge(list[merged - 1], list[i]);
            free(list[i]);
        } else {
            list[merged++] = list[i];
        }
    }
    if (merged)
        qsort(list, merged, sizeof *list, by_time);
    for (unsigned i = 0; i < merged; i++) {
        cJSON *item = cJSON_CreateObject();

        cJSON_AddStringToObject(item, kinds[list[i]->kind].key, list[i]->label);
        add_sum(item, &list[i]->sum);
        if (histograms)
            add_buckets(item, &list[i]->sum);
        cJSON_AddItemToArray(lists[list[i]->kind], item);
        free(list[i]);
    }
    free(list);
}

static void show(const cJSON *request, cJSON *answer)
{
    uint64_t since = atomic_load(&since_ns), until = atomic_load(&until_ns);
    struct asked a = {
        .histograms = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(request, "histograms")),
    };

    cJSON_AddBoolToObject(answer, "on", wg_timing_on());
    cJSON_AddNumberToObject(answer, "seconds",
                            since ? (double)(((until ? until : wg_now_ns()) - since) / 100000000) / 10 : 0);
    a.list = cJSON_AddArrayToObject(answer, "xlators");
    wg_stats_each(report_xlator, &a);
    report_requests(answer, a.histograms);
}

static int report(const cJSON *request, cJSON *answer)
{
    const char *what = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(request, "action"));

    if (!what || strcmp(what, "show") == 0) {
        show(request, answer);
        return 0;
    }
    if (strcmp(what, "start") == 0 || strcmp(what, "reset") == 0) {
        clear();
        atomic_store(&since_ns, wg_now_ns());
        if (*what == 's' || wg_timing_on())
            atomic_store(&until_ns, 0);
        else
            atomic_store(&until_ns, atomic_load(&since_ns));
        if (*what == 's')
            wg_timing(true);
        return 0;
    }
    if (strcmp(what, "stop") == 0) {
        if (wg_timing_on())
            atomic_store(&until_ns, wg_now_ns());
        wg_timing(false);
        return 0;
    }
    cJSON_AddStringToObject(answer, "error", "profile takes start, stop, show or reset");
    return EINVAL;
}

static struct wg_report row = { .name = "profile", .fn = report };

__attribute__((constructor)) static void register_report(void)
{
    wg_report_register(&row);
}
