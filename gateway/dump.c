/* SPDX-License-Identifier: Apache-2.0 */
#include <cjson/cJSON.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "dump.h"
#include "volume.h"
#include "iobuf.h"
#include "options.h"
#include "pool.h"
#include "target.h"

#define DEPTH 16

struct wg_dump {
    cJSON *open[DEPTH];
    int depth;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct wg_dump_section *sections;

void wg_dump_register(struct wg_dump_section *s)
{
    pthread_mutex_lock(&lock);
    s->next = sections;
    sections = s;
    pthread_mutex_unlock(&lock);
}

/* Adds item under name (or to the array); it is freed when it can't be added. */
static cJSON *add(struct wg_dump *d, const char *name, cJSON *item)
{
    cJSON *to = d->open[d->depth];

    if (item && !(name ? cJSON_AddItemToObject(to, name, item) : cJSON_AddItemToArray(to, item))) {
        cJSON_Delete(item);
        return NULL;
    }
    return item;
}

void wg_dump_u64(struct wg_dump *d, const char *name, uint64_t v)
{
    char text[24];

    /* As raw digits: a double would round what is above 2^53. */
    snprintf(text, sizeof text, "%llu", (unsigned long long)v);
    add(d, name, cJSON_CreateRaw(text));
}

void wg_dump_i64(struct wg_dump *d, const char *name, int64_t v)
{
    char text[24];

    snprintf(text, sizeof text, "%lld", (long long)v);
    add(d, name, cJSON_CreateRaw(text));
}

void wg_dump_bool(struct wg_dump *d, const char *name, bool v)
{
    add(d, name, cJSON_CreateBool(v));
}

void wg_dump_strn(struct wg_dump *d, const char *name, const char *v, uint32_t len)
{
    char text[512];
    size_t n = 0;

    /* Names may hold any byte; JSON is UTF-8: what is not printable ASCII is shown as \xNN. */
    for (uint32_t i = 0; i < len && n < sizeof text - 5; i++) {
        unsigned char c = (unsigned char)v[i];

        if (c < 0x20 || c >= 0x7f)
            n += (size_t)snprintf(text + n, sizeof text - n, "\\x%02x", c);
        else
            text[n++] = (char)c;
    }
    text[n] = '\0';
    add(d, name, cJSON_CreateString(text));
}

void wg_dump_str(struct wg_dump *d, const char *name, const char *v)
{
    if (v)
        wg_dump_strn(d, name, v, (uint32_t)strlen(v));
}

void wg_dump_fmt(struct wg_dump *d, const char *name, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    wg_dump_str(d, name, text);
}

static void open_item(struct wg_dump *d, const char *name, cJSON *item)
{
    cJSON *added = add(d, name, item);

    /* Out of memory, or nested too deep: what follows lands in the parent, and end still pairs. */
    if (d->depth + 1 < DEPTH) {
        d->open[d->depth + 1] = added ? added : d->open[d->depth];
        d->depth++;
    }
}

void wg_dump_object(struct wg_dump *d, const char *name)
{
    open_item(d, name, cJSON_CreateObject());
}

void wg_dump_array(struct wg_dump *d, const char *name)
{
    open_item(d, name, cJSON_CreateArray());
}

void wg_dump_end(struct wg_dump *d)
{
    if (d->depth > 0)
        d->depth--;
}

/* --- the process --- */

static const char *const doors[] = { "internal", "nfs", "s3", "brick", "admin" };

/* Arguments of its own that a layer has wound, not those that it was given. */
static bool own_arguments(const struct wg_frame *f)
{
    return f->parent && f->in != f->parent->in;
}

static void dump_frame(struct wg_dump *d, const struct wg_frame *f, uint64_t now)
{
    const struct wg_xlator *xl = __atomic_load_n(&f->this, __ATOMIC_RELAXED), *above = NULL;
    uint64_t begin_ns = __atomic_load_n(&f->begin_ns, __ATOMIC_RELAXED);
    bool complete = atomic_load(&f->complete);
    char text[512];

    if (f->parent)
        above = __atomic_load_n(&f->parent->this, __ATOMIC_RELAXED);
    wg_dump_object(d, NULL);
    wg_dump_str(d, "xlator", xl ? xl->name : "");
    wg_dump_str(d, "type", xl ? xl->class->type : "");
    wg_dump_str(d, "op", wg_op_name(f->op));
    wg_dump_u64(d, "complete", complete);
    wg_dump_str(d, "parent", above ? above->name : "");
    if (__atomic_load_n(&f->fan, __ATOMIC_ACQUIRE))
        wg_dump_u64(d, "child", f->index);
    wg_dump_str(d, "wind_from", __atomic_load_n(&f->wind_from, __ATOMIC_RELAXED));
    wg_dump_fmt(d, "wind_to", "%s->%s", xl ? xl->class->type : "", wg_op_name(f->op));
    wg_dump_str(d, "unwind_to", f->unwind_to);
    if (complete) {
        wg_dump_str(d, "unwind_from", f->unwind_from);
        wg_dump_str(d, "result", wg_error_name(f->err));
    } else {
        if (own_arguments(f))
            wg_dump_str(d, "arguments", wg_show_record(f->op, false, f->in, text, sizeof text));
        if (begin_ns)
            wg_dump_u64(d, "age_us", now > begin_ns ? (now - begin_ns) / 1000 : 0);
    }
    wg_dump_end(d);
}

/*
 * What the front end wrote into the call before it said so (wg_call_told). Arguments are shown of
 * calls that still run: later they may be gone.
 */
static void dump_request(struct wg_dump *d, const struct wg_call *call, const struct wg_frame *first)
{
    struct wg_target target;
    char text[512];

    wg_dump_strn(d, "client", call->client.s, call->client.len);
    wg_dump_strn(d, "principal", call->cred.principal.s, call->cred.principal.len);
    wg_dump_u64(d, "uid", call->cred.uid);
    if (call->share.len > 0)
        wg_dump_strn(d, "share", call->share.s, call->share.len);
    if (call->object.len > 0)
        wg_dump_strn(d, "object", call->object.s, call->object.len);
    if (call->parent)
        wg_dump_u64(d, "part_of", call->parent->id);
    if (!first || atomic_load(&first->complete))
        return;
    wg_target_of(first->op, first->in, &target);
    wg_dump_str(d, "target", wg_target_show(&target, text, sizeof text));
    wg_dump_str(d, "arguments", wg_show_record(first->op, false, first->in, text, sizeof text));
}

static void dump_call(struct wg_call *call, void *arg)
{
    struct wg_dump *d = arg;
    uint64_t now = wg_now_ns();
    const struct wg_frame *newest = atomic_load(&call->frames), *first = newest;
    bool told = atomic_load_explicit(&call->told, memory_order_acquire);
    int n = 0;

    wg_dump_object(d, NULL);
    wg_dump_u64(d, "id", call->id);
    wg_dump_str(d, "door", doors[call->frontend]);
    if (told)
        wg_dump_str(d, "what", call->what);
    wg_dump_u64(d, "age_us", (now - call->begin_ns) / 1000);
    if (call->graph && call->graph->volume)
        wg_dump_str(d, "volume", call->graph->volume->name);
    while (first && first->next)
        first = first->next;
    if (told)
        dump_request(d, call, first);
    wg_dump_array(d, "frames");
    for (const struct wg_frame *f = newest; f && n < 64; f = f->next, n++)
        dump_frame(d, f, now);
    wg_dump_end(d);
    wg_dump_end(d);
}

static void dump_xlator(struct wg_dump *d, struct wg_xlator *xl, const char *volume, bool draining)
{
    wg_dump_object(d, NULL);
    wg_dump_str(d, "volume", volume);
    if (draining)
        wg_dump_bool(d, "draining", true); /* of a graph that was replaced and still has calls */
    wg_dump_str(d, "name", xl->name);
    wg_dump_str(d, "type", xl->class->type);
    wg_dump_array(d, "subvolumes");
    for (unsigned i = 0; i < xl->nchildren; i++)
        wg_dump_str(d, NULL, xl->children[i]->name);
    wg_dump_end(d);
    wg_dump_object(d, "options");
    for (const struct wg_kv *kv = xl->options; kv; kv = kv->next)
        wg_dump_str(d, kv->option->name, kv->text);
    wg_dump_end(d);
    wg_dump_object(d, "fops");
    for (unsigned op = 0; op < WG_OP_MAX; op++) {
        struct wg_fop_stats s = wg_stats_sum(xl, op);

        if (s.calls == 0)
            continue;
        wg_dump_object(d, wg_op_name(op));
        wg_dump_u64(d, "calls", s.calls);
        wg_dump_u64(d, "errors", s.errors);
        if (s.ns)
            wg_dump_u64(d, "us", s.ns / 1000);
        wg_dump_end(d);
    }
    wg_dump_end(d);
    if (xl->class->dump)
        xl->class->dump(xl, d);
    wg_dump_end(d);
}

/* An object for each translator that adds something to it. */
static void note_of_volume(struct wg_volume *v, struct wg_xlator *xl, bool draining, void *arg)
{
    cJSON *item = draining || !xl->class->notes ? NULL : cJSON_CreateObject();
    struct wg_dump d = { .open = { item } };

    if (!item)
        return;
    xl->class->notes(xl, &d);
    if (!item->child || !cJSON_AddItemToArray(arg, item)) {
        cJSON_Delete(item);
        return;
    }
    wg_dump_str(&d, "volume", v->name);
    wg_dump_str(&d, "translator", xl->name);
}

cJSON *wg_dump_notes(void)
{
    cJSON *list = cJSON_CreateArray();

    if (list)
        wg_volumes_each(note_of_volume, list);
    if (list && !list->child) {
        cJSON_Delete(list);
        list = NULL;
    }
    return list;
}

static void dump_pool(const struct wg_pool *p, void *arg)
{
    struct wg_dump *d = arg;

    wg_dump_object(d, NULL);
    wg_dump_str(d, "name", p->name);
    wg_dump_u64(d, "bytes_each", p->size);
    wg_dump_u64(d, "used", atomic_load_explicit(&p->used, memory_order_relaxed));
    wg_dump_u64(d, "free", __atomic_load_n(&p->count, __ATOMIC_RELAXED)); /* besides those of threads */
    wg_dump_end(d);
}

static void dump_of_volume(struct wg_volume *v, struct wg_xlator *xl, bool draining, void *arg)
{
    dump_xlator(arg, xl, v->name, draining);
}

static void dump_memory(struct wg_dump *d)
{
    uint64_t used, pooled;

    wg_iobuf_stats(&used, &pooled);
    wg_dump_object(d, "memory");
    wg_dump_u64(d, "iobuf_used_bytes", used);
    wg_dump_u64(d, "iobuf_pooled_bytes", pooled);
    wg_dump_array(d, "pools");
    wg_pools_each(dump_pool, d);
    wg_dump_end(d);
    wg_dump_end(d);
}

/* --- text --- */

static void print_text(FILE *out, const cJSON *item, int indent)
{
    for (const cJSON *i = item->child; i; i = i->next) {
        fprintf(out, "%*s", indent, "");
        fprintf(out, "%s", i->string ? i->string : "-");
        if (cJSON_IsArray(i) || cJSON_IsObject(i)) {
            fprintf(out, "%s\n", i->string ? ":" : "");
            print_text(out, i, indent + 2);
        } else if (cJSON_IsString(i) || cJSON_IsRaw(i)) {
            fprintf(out, "%s%s\n", i->string ? "=" : " ", i->valuestring);
        } else {
            fprintf(out, "%s%s\n", i->string ? "=" : " ",
                    cJSON_IsTrue(i) ? "yes" : cJSON_IsFalse(i) ? "no" : "");
        }
    }
}

static char *to_text(const cJSON *root)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    if (!out)
        return NULL;
    print_text(out, root, 0);
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

cJSON *wg_dump_tree(struct wg_graph *graph)
{
    struct wg_xlator *xl;
    struct wg_dump d = { .open = { cJSON_CreateObject() } };

    if (!d.open[0])
        return NULL;
    wg_dump_str(&d, "version", PACKAGE_VERSION);
    wg_dump_u64(&d, "pid", (uint64_t)getpid());
    wg_dump_u64(&d, "calls_live", wg_calls_live());
    wg_dump_array(&d, "calls");
    wg_calls_each(dump_call, &d);
    wg_dump_end(&d);
    dump_memory(&d);
    for (struct wg_dump_section *s = sections; s; s = s->next) {
        wg_dump_object(&d, s->name);
        s->fn(&d);
        wg_dump_end(&d);
    }
    wg_dump_array(&d, "xlators");
    if (graph)
        wg_graph_each(graph, xl)
            dump_xlator(&d, xl, NULL, false);
    else
        wg_volumes_each(dump_of_volume, &d);
    wg_dump_end(&d);
    return d.open[0];
}

static bool is_named(const cJSON *xl, const char *name)
{
    const char *n = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(xl, "name"));
    const char *type = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(xl, "type"));

    return (n && strcmp(n, name) == 0) || (type && strcmp(type, name) == 0);
}

/* The section, or the translators, called name: taken out of root, which is freed. NULL: there is none. */
static cJSON *take_only(cJSON *root, const char *name)
{
    cJSON *xls = cJSON_GetObjectItemCaseSensitive(root, "xlators"), *xl, *next, *only = cJSON_CreateObject();

    if (cJSON_HasObjectItem(root, name))
        cJSON_AddItemToObject(only, name, cJSON_DetachItemFromObjectCaseSensitive(root, name));
    for (xl = xls ? xls->child : NULL; xl; xl = next) {
        next = xl->next;
        if (!is_named(xl, name))
            continue;
        if (!cJSON_HasObjectItem(only, "xlators"))
            cJSON_AddArrayToObject(only, "xlators");
        cJSON_AddItemToArray(cJSON_GetObjectItemCaseSensitive(only, "xlators"),
                             cJSON_DetachItemViaPointer(xls, xl));
    }
    cJSON_Delete(root);
    if (only && only->child)
        return only;
    cJSON_Delete(only);
    return NULL;
}

char *wg_dump_only(struct wg_graph *graph, bool json, const char *name)
{
    cJSON *root = wg_dump_tree(graph);
    char *text = NULL;

    if (root && name)
        root = take_only(root, name);
    if (root)
        text = json ? cJSON_Print(root) : to_text(root);
    cJSON_Delete(root);
    return text;
}

char *wg_dump_process(struct wg_graph *graph, bool json)
{
    return wg_dump_only(graph, json, NULL);
}
