/* SPDX-License-Identifier: Apache-2.0 */
/*
 * debug/trace: every fop that passes with its arguments and its result, a line each, written when it
 * has been answered: into a ring in memory (windgate trace, statedump), the log, or both. Payload
 * is shown by its length only. Off, a fop costs the look at one flag.
 *
 * Options change on a running graph: an old set stays until fini, since a frame may still read it.
 */
#include <cjson/cJSON.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define WG_LOG_PART "trace"
#include "dump.h"
#include "log.h"
#include "report.h"
#include "xlators/debug/match.h"
#include "xlators/debug/trace/trace.h"

#define DUMPED 50    /* newest lines that a statedump shows */
#define ANSWERED 2000 /* lines that one `windgate trace` gets at most */

struct conf {
    struct wg_set set;    /* must be first */
    bool ring, log;
    uint64_t slower_ns;
    bool ok, failed;      /* which results */
    int errs[16], nerrs;  /* with failed: only these; none: any */
};

struct trace {
    struct wg_sets sets; /* must be first */
    struct wg_xlator *xl;
    struct wg_ring ring;
    struct trace *next; /* of all, for the report */
};

struct local {
    struct conf *conf;
    uint64_t begin_ns;
    bool pass;           /* only taught from */
};

static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER; /* before a ring's */
static struct trace *all;

static const struct wg_option options[] = {
    { "enabled", WG_OPT_BOOL, 0, 0, "on", "Off: everything passes at the price of one look.", true },
    WG_MATCH_OPTIONS,
    { "errors", WG_OPT_STR, 0, 0, "any", "Results to note: 'any', 'ok', 'failed', or names of errnos "
      "separated by commas or blanks.", true },
    { "slower-than", WG_OPT_TIME, 0, 86400000, "0", "Only fops that took at least this long.", true },
    { "to", WG_OPT_STR, 0, 0, "ring", "'ring': memory that windgate trace reads; 'log' (level info); 'both'.",
      true },
    { "lines", WG_OPT_INT, 16, 1000000, "4096", "Lines that the ring holds, 704 bytes each.", false },
    { 0 },
};

/* --- options --- */

static struct conf *conf_now(struct trace *p)
{
    return (struct conf *)atomic_load_explicit(&p->sets.now, memory_order_acquire);
}

static int read_errors(struct conf *c, const struct wg_xlator *xl)
{
    const char *at = wg_opt_str(xl, "errors");

    for (at += strspn(at, ", \t"); *at; at += strspn(at, ", \t")) {
        size_t len = strcspn(at, ", \t");
        int err = wg_match_errno(at, len);

        if (len == 3 && memcmp(at, "any", 3) == 0) {
            c->ok = c->failed = true;
        } else if (len == 2 && memcmp(at, "ok", 2) == 0) {
            c->ok = true;
        } else if (len == 6 && memcmp(at, "failed", 6) == 0) {
            c->failed = true;
        } else if (err && c->nerrs < (int)(sizeof c->errs / sizeof *c->errs)) {
            c->failed = true;
            c->errs[c->nerrs++] = err;
        } else {
            wg_error("%s: option 'errors': '%.*s' is no errno, any, ok or failed", xl->name, (int)len, at);
            return EINVAL;
        }
        at += len;
    }
    return 0;
}

static int read_conf(struct wg_set *set, const struct wg_xlator *xl)
{
    struct conf *c = (struct conf *)set;
    const char *to = wg_opt_str(xl, "to");

    c->slower_ns = (uint64_t)wg_opt_int(xl, "slower-than") * 1000000u;
    c->ring = strcmp(to, "ring") == 0 || strcmp(to, "both") == 0;
    c->log = strcmp(to, "log") == 0 || strcmp(to, "both") == 0;
    return c->ring || c->log ? read_errors(c, xl) : wg_set_refuse(xl, "to", "ring, log or both");
}

static int trace_reload(struct wg_xlator *xl)
{
    return wg_sets_put(xl, sizeof(struct conf), read_conf, true);
}

/* --- fops --- */

static bool wanted(const struct conf *c, int err)
{
    if (!err)
        return c->ok;
    for (int i = 0; i < c->nerrs; i++)
        if (c->errs[i] == err)
            return true;
    return c->failed && c->nerrs == 0;
}

static size_t put_time(char *line, size_t size)
{
    struct timespec t;
    struct tm tm;
    size_t n;

    clock_gettime(CLOCK_REALTIME, &t);
    gmtime_r(&t.tv_sec, &tm);
    n = strftime(line, size, "%H:%M:%S", &tm);
    return n + (size_t)snprintf(line + n, size - n, ".%06ldZ ", t.tv_nsec / 1000);
}


static size_t put_text(char *line, size_t at, size_t size, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static size_t put_text(char *line, size_t at, size_t size, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(line + at, size - at, fmt, ap);
    va_end(ap);
    return n < 0 ? at : at + (size_t)n < size ? at + (size_t)n : size - 1;
}

/* One line: who, what, on what, with which result, in what time; then arguments and results. */
static size_t describe(const struct conf *c, const struct wg_frame *f, uint64_t ns, char *line, size_t at,
                       size_t size)
{
    const struct wg_call *call = f->call;
    char text[400];

    at = put_text(line, at, size, "%s call=%llu client=%.*s uid=%u %s ", f->this->name,
                  (unsigned long long)call->id, (int)call->client.len, call->client.len ? call->client.s : "",
                  call->cred.uid, wg_op_name(f->op));
    at = put_text(line, at, size, "%s", wg_names_path(c->set.names, f->op, f->in, text, 256));
    at = put_text(line, at, size, " %s %llu.%lluus (", f->err ? wg_error_name(f->err) : "OK",
                  (unsigned long long)ns / 1000, (unsigned long long)ns / 100 % 10);
    at = put_text(line, at, size, "%s) = (", wg_show_record(f->op, false, f->in, text, sizeof text));
    return put_text(line, at, size, "%s)",
                    wg_show_record(f->op, true, f->err ? NULL : f->out, text, sizeof text));
}

static void note(struct trace *p, const struct conf *c, const struct wg_frame *f, uint64_t ns)
{
    char line[WG_TRACE_LINE];
    size_t head = put_time(line, sizeof line), len = describe(c, f, ns, line, head, sizeof line);

    if (c->ring)
        wg_ring_add(&p->ring, line, len);
    if (c->log)
        wg_info("%s", line + head);
}

static void traced(struct wg_frame *f)
{
    struct trace *p = f->this->priv;
    struct local *l = f->local;
    uint64_t ns = wg_now_ns() - l->begin_ns;

    if (!f->err && wg_names_teaches(f->op))
        wg_names_learn(l->conf->set.names, f);
    /* What io-threads above tries again has not been answered yet. */
    if (!l->pass && ns >= l->conf->slower_ns && wanted(l->conf, f->err) &&
        !(f->err == EWOULDBLOCK && f->call->nowait))
        note(p, l->conf, f, ns);
    wg_unwind(f, f->err);
}

static void trace_any(struct wg_frame *f)
{
    struct conf *c = conf_now(f->this->priv);
    struct local *l;
    bool pass;

    if (!c->set.enabled) {
        wg_pass(f, wg_child(f));
        return;
    }
    pass = !wg_match_frame(&c->set.match, c->set.names, f);
    if (pass && !wg_names_teaches(f->op)) {
        wg_pass(f, wg_child(f));
        return;
    }
    /* Not by the class's local_size: those that pass would pay for it. */
    f->local = l = WG_NEW(&f->call->arena, struct local);
    if (!l) {
        wg_unwind(f, ENOMEM);
        return;
    }
    *l = (struct local){ .pass = pass, .conf = c, .begin_ns = wg_now_ns() };
    wg_wind(f, wg_child(f), traced);
}

/* --- the report "trace": {"xlator": NAME, "after": N, "max": N} --- */

static void add_line(uint64_t number, const char *line, void *arg)
{
    cJSON *item = cJSON_CreateObject();

    cJSON_AddNumberToObject(item, "n", (double)number);
    cJSON_AddStringToObject(item, "line", line);
    cJSON_AddItemToArray(arg, item);
}

static double number_of(const cJSON *request, const char *name, double none, double max)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(request, name);

    return cJSON_IsNumber(v) && v->valuedouble >= 0 && v->valuedouble <= max ? v->valuedouble : none;
}

static void report_one(struct trace *p, const cJSON *request, cJSON *list)
{
    cJSON *item = cJSON_CreateObject(), *lines = cJSON_CreateArray();
    double after = number_of(request, "after", -1, 9e15);
    uint32_t max = (uint32_t)number_of(request, "max", 100, ANSWERED);

    cJSON_AddStringToObject(item, "xlator", p->xl->name);
    cJSON_AddBoolToObject(item, "enabled", conf_now(p)->set.enabled);
    wg_ring_each(&p->ring, after < 0 ? 0 : (uint64_t)after, max, after < 0, add_line, lines);
    cJSON_AddItemToObject(item, "lines", lines);
    cJSON_AddItemToArray(list, item);
}

static int report(const cJSON *request, cJSON *answer)
{
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(request, "xlator"));
    cJSON *list = cJSON_AddArrayToObject(answer, "traces");

    pthread_mutex_lock(&all_lock);
    for (struct trace *p = all; p; p = p->next)
        if (!name || strcmp(name, p->xl->name) == 0)
            report_one(p, request, list);
    pthread_mutex_unlock(&all_lock);
    if (cJSON_GetArraySize(list) > 0)
        return 0;
    cJSON_AddStringToObject(answer, "error", name ? "no debug/trace of that name is in a graph"
                                                  : "no debug/trace is in a graph");
    return ENOENT;
}

static struct wg_report row = { .name = "trace", .fn = report };

__attribute__((constructor)) static void register_report(void)
{
    wg_report_register(&row);
}

/* --- the class --- */

static void leave(struct trace *p)
{
    pthread_mutex_lock(&all_lock);
    for (struct trace **link = &all; *link; link = &(*link)->next)
        if (*link == p) {
            *link = p->next;
            break;
        }
    pthread_mutex_unlock(&all_lock);
}

static void trace_fini(struct wg_xlator *xl)
{
    struct trace *p = xl->priv;

    leave(p);
    wg_sets_free(&p->sets);
    wg_ring_fini(&p->ring);
    free(p);
    xl->priv = NULL;
}

static int trace_init(struct wg_xlator *xl)
{
    struct trace *p = calloc(1, sizeof *p);
    int err;

    if (!p)
        return ENOMEM;
    xl->priv = p;
    p->xl = xl;
    err = trace_reload(xl);
    if (!err)
        err = wg_ring_init(&p->ring, (uint32_t)wg_opt_int(xl, "lines"));
    if (err) {
        trace_fini(xl);
        return err;
    }
    pthread_mutex_lock(&all_lock);
    p->next = all;
    all = p;
    pthread_mutex_unlock(&all_lock);
    return 0;
}

static void dump_line(uint64_t number, const char *line, void *arg)
{
    (void)number;
    wg_dump_str(arg, NULL, line);
}

static void trace_dump(struct wg_xlator *xl, struct wg_dump *d)
{
    struct trace *p = xl->priv;

    wg_dump_bool(d, "enabled", conf_now(p)->set.enabled);
    wg_dump_array(d, "newest_lines");
    wg_ring_each(&p->ring, 0, DUMPED, 1, dump_line, d);
    wg_dump_end(d);
}

const struct wg_class wg_debug_trace = {
    .type = "debug/trace",
    .help = "Notes chosen fops with arguments, result and time, in memory or in the log.",
    .options = options,
    .min_children = 1,
    .max_children = 1,
    .init = trace_init,
    .fini = trace_fini,
    .reload = trace_reload,
    .dump = trace_dump,
    .any = trace_any,
};
