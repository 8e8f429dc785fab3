/* SPDX-License-Identifier: Apache-2.0 */
#include <cjson/cJSON.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dump.h"
#include "top.h"

struct row {
    const cJSON *call;
    const cJSON *holder;      /* a frame; NULL: none is under way */
    const cJSON *part;        /* the call that the frame is of, a part of this request or itself */
    unsigned others;          /* frames beside it that have not ended either */
    double id, age;
    bool folded;              /* shown with the request that it is a part of */
};

/* Numbers of a dump are raw digits. */
static double number(const cJSON *item, const char *name)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(item, name);

    if (cJSON_IsNumber(v))
        return v->valuedouble;
    return v && v->valuestring ? strtod(v->valuestring, NULL) : 0;
}

static const char *text(const cJSON *item, const char *name)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(item, name);

    return cJSON_IsString(v) ? v->valuestring : "";
}

/* --- who holds a call --- */

/*
 * Frames are listed newest first, and one is younger than who wound it: the first that has not ended
 * has nothing under way below it. Siblings of a fan-out may be in the same state.
 */
static void find_holder(struct row *r)
{
    const cJSON *f;

    cJSON_ArrayForEach(f, cJSON_GetObjectItemCaseSensitive(r->call, "frames")) {
        if (number(f, "complete") != 0)
            continue;
        if (!r->holder)
            r->holder = f;
        else if (cJSON_HasObjectItem(f, "child") && strcmp(text(f, "parent"), text(r->holder, "parent")) == 0)
            r->others++;
    }
    r->part = r->call;
}

static int by_id(const void *a, const void *b)
{
    double x = ((const struct row *)a)->id, y = ((const struct row *)b)->id;

    return x < y ? -1 : x > y;
}

static int by_age(const void *a, const void *b)
{
    const struct row *x = a, *y = b;

    if (x->folded != y->folded)
        return x->folded - y->folded;
    return x->age < y->age ? 1 : x->age > y->age ? -1 : 0;
}

/* A part's frame speaks for its request; of several parts the oldest one's. Rows are in order of id. */
static void fold(struct row *rows, size_t n)
{
    for (size_t i = n; i-- > 0;) { /* parts are younger: those of parts first */
        struct row key = { .id = number(rows[i].call, "part_of") }, *whole;

        if (!cJSON_HasObjectItem(rows[i].call, "part_of"))
            continue;
        whole = bsearch(&key, rows, n, sizeof *rows, by_id);
        if (!whole || whole == &rows[i])
            continue;
        rows[i].folded = true;
        if (!rows[i].holder)
            continue;
        if (whole->holder && whole->part != whole->call && number(whole->part, "age_us") > number(rows[i].part, "age_us")) {
            whole->others++;
            continue;
        }
        whole->others += rows[i].others + (whole->holder != NULL);
        whole->holder = rows[i].holder;
        whole->part = rows[i].part;
    }
}

/* --- what a row says --- */

static const cJSON *xlator_of(const cJSON *root, const char *name)
{
    const cJSON *xl;

    cJSON_ArrayForEach(xl, cJSON_GetObjectItemCaseSensitive(root, "xlators"))
        if (strcmp(text(xl, "name"), name) == 0)
            return xl;
    return NULL;
}

static bool any_lane_open(const cJSON *xl)
{
    const cJSON *lane;

    cJSON_ArrayForEach(lane, cJSON_GetObjectItemCaseSensitive(xl, "lanes"))
        if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(lane, "open")))
            return true;
    return false;
}

/* Which brick, is it there, and where in the sending the call is. */
static void add_brick(cJSON *held, const cJSON *xl, const cJSON *part)
{
    cJSON *brick = cJSON_AddObjectToObject(held, "brick");
    const cJSON *c;
    bool sent = false, known = false;

    cJSON_AddStringToObject(brick, "name", text(xl, "name"));
    cJSON_AddStringToObject(brick, "address",
                            text(cJSON_GetObjectItemCaseSensitive(xl, "options"), "remote"));
    cJSON_AddBoolToObject(brick, "reachable", any_lane_open(xl));
    cJSON_AddBoolToObject(brick, "out_of_service",
                          cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(xl, "out_of_service")));
    cJSON_ArrayForEach(c, cJSON_GetObjectItemCaseSensitive(xl, "inflight")) {
        if (number(c, "call") != number(part, "id"))
            continue;
        known = true;
        sent = cJSON_HasObjectItem(c, "sent_ms_ago");
        if (sent) {
            cJSON_AddNumberToObject(brick, "sent_ms_ago", number(c, "sent_ms_ago"));
            if (number(c, "lane") > 0)
                cJSON_AddNumberToObject(brick, "lane", number(c, "lane") - 1);
        }
        break;
    }
    cJSON_AddStringToObject(brick, "state", sent ? "sent" : known ? "waits for a connection" : "waits for a place");
}

static void add_coroutine(cJSON *item, const cJSON *root, double id)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(root, "coroutines"), "list");
    const cJSON *co;

    cJSON_ArrayForEach(co, list)
        if (number(co, "call") == id) {
            cJSON *c = cJSON_AddObjectToObject(item, "coroutine");

            cJSON_AddStringToObject(c, "name", text(co, "name"));
            cJSON_AddStringToObject(c, "state", text(co, "state"));
            cJSON_AddStringToObject(c, "waits_for", text(co, "waits_for"));
            return;
        }
}

static void add_holder(cJSON *item, const struct row *r, const cJSON *root)
{
    cJSON *held = cJSON_AddObjectToObject(item, "held_by");
    const cJSON *xl;

    if (!r->holder) {
        /* Nothing below the front door is at work on it. */
        cJSON_AddStringToObject(held, "xlator", "");
        cJSON_AddStringToObject(held, "type", "client");
        return;
    }
    xl = xlator_of(root, text(r->holder, "xlator"));
    cJSON_AddStringToObject(held, "xlator", text(r->holder, "xlator"));
    cJSON_AddStringToObject(held, "type", text(r->holder, "type"));
    cJSON_AddStringToObject(held, "fop", text(r->holder, "op"));
    cJSON_AddStringToObject(held, "wind_from", text(r->holder, "wind_from"));
    cJSON_AddNumberToObject(held, "ms", number(r->holder, "age_us") / 1000);
    if (r->others)
        cJSON_AddNumberToObject(held, "others", r->others);
    if (xl && strcmp(text(xl, "type"), "protocol/client") == 0)
        add_brick(held, xl, r->part);
}

/* "user", or "uid 1000". */
static void add_user(cJSON *item, const cJSON *call)
{
    char uid[32];

    snprintf(uid, sizeof uid, "uid %.0f", number(call, "uid"));
    cJSON_AddStringToObject(item, "user", text(call, "principal")[0] ? text(call, "principal") : uid);
}

static void copy_text(cJSON *item, const char *name, const cJSON *from, const char *field)
{
    if (text(from, field)[0])
        cJSON_AddStringToObject(item, name, text(from, field));
}

static cJSON *show(const struct row *r, const cJSON *root)
{
    cJSON *item = cJSON_CreateObject();

    cJSON_AddNumberToObject(item, "id", r->id);
    cJSON_AddNumberToObject(item, "age_ms", r->age / 1000);
    copy_text(item, "door", r->call, "door");
    copy_text(item, "operation", r->call, "what");
    copy_text(item, "client", r->call, "client");
    if (cJSON_HasObjectItem(r->call, "uid"))
        add_user(item, r->call);
    copy_text(item, "volume", r->call, "volume");
    copy_text(item, "share", r->call, "share");
    copy_text(item, "object", r->call, "object");
    copy_text(item, "target", r->part, "target");
    add_holder(item, r, root);
    add_coroutine(item, root, r->id);
    return item;
}

int wg_top(struct wg_graph *graph, unsigned max, cJSON *answer)
{
    cJSON *root = wg_dump_tree(graph), *list;
    const cJSON *calls = cJSON_GetObjectItemCaseSensitive(root, "calls"), *c;
    size_t n = (size_t)cJSON_GetArraySize(calls), i = 0, live = 0;
    struct row *rows = calloc(n + 1, sizeof *rows);

    if (!root || !rows) {
        cJSON_Delete(root);
        free(rows);
        return ENOMEM;
    }
    cJSON_ArrayForEach(c, calls) {
        rows[i] = (struct row){ .call = c, .id = number(c, "id"), .age = number(c, "age_us") };
        find_holder(&rows[i++]);
    }
    qsort(rows, n, sizeof *rows, by_id);
    fold(rows, n);
    qsort(rows, n, sizeof *rows, by_age);
    while (live < n && !rows[live].folded)
        live++;
    cJSON_AddNumberToObject(answer, "live", (double)live);
    list = cJSON_AddArrayToObject(answer, "requests");
    for (i = 0; i < live && i < max; i++)
        cJSON_AddItemToArray(list, show(&rows[i], root));
    free(rows);
    cJSON_Delete(root);
    return 0;
}
