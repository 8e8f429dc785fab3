/* SPDX-License-Identifier: Apache-2.0 */
#include "graph_control.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WG_LOG_PART "graph"
#include "edit.h"
#include "log.h"
#include "volume.h"

#define OPTIONS_MAX 64
#define WHY 400

static const char *text_of(const cJSON *request, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(request, name));
}

static int fail(cJSON *answer, int err, const char *why)
{
    if (why[0])
        cJSON_AddStringToObject(answer, "error", why);
    return err;
}

/* --- which volume --- */

struct only {
    struct wg_volume *volume;
    bool several;
};

static void note_volume(struct wg_volume *v, struct wg_xlator *xl, bool draining, void *arg)
{
    struct only *o = arg;

    (void)xl;
    (void)draining;
    o->several = o->several || (o->volume && o->volume != v);
    o->volume = v;
}

static struct wg_volume *volume_of(const cJSON *request, cJSON *answer)
{
    const char *name = text_of(request, "volume");
    struct only o = { 0 };
    struct wg_volume *v;
    char why[WHY];

    if (name) {
        v = wg_volume_find(name);
        snprintf(why, sizeof why, "there is no volume '%s'", name);
    } else {
        wg_volumes_each(note_volume, &o);
        v = o.several ? NULL : o.volume;
        snprintf(why, sizeof why, "there are several volumes: say which, as VOLUME/NAME");
    }
    if (!v)
        fail(answer, ENOENT, why);
    return v;
}

/* --- changes --- */

struct making {
    const struct wg_edit *edit;
    const char *file, *text; /* or: a volfile to load */
    char *why;
    size_t size;
};

/* The parser's first message; "file:line: " is left out where the file is not the user's. */
static void take_message(void *arg, const char *text)
{
    const struct making *m = arg;
    const char *colon = m->file ? NULL : strchr(text, ':');

    if (m->why[0])
        return;
    if (colon && isdigit((unsigned char)colon[1]) && strstr(colon, ": "))
        text = strstr(colon, ": ") + 2;
    snprintf(m->why, m->size, "%s", text);
}

static struct wg_graph *make(const struct wg_graph *now, void *arg)
{
    struct making *m = arg;
    struct wg_graph *g = NULL;
    char *text;

    if (!now) { /* its last calls are under way, if there are any */
        snprintf(m->why, m->size, "the volume is closed");
        return NULL;
    }
    text = m->text ? strdup(m->text) : wg_edit_text(now, m->edit, m->why, m->size);
    if (text)
        g = wg_graph_parse(m->file ? m->file : "graph", text, strlen(text), take_message, m);
    free(text);
    return g;
}

static int apply(struct wg_volume *v, const struct wg_edit *edit, const char *file, const char *text, cJSON *answer)
{
    char message[WHY] = "", why[WHY];
    struct making m = { edit, file, text, message, sizeof message };
    int err = wg_volume_edit(v, make, &m, why, sizeof why);

    if (err)
        return fail(answer, err, message[0] ? message : why);
    cJSON_AddStringToObject(answer, "volume", v->name);
    return 0;
}

static int do_set(const cJSON *request, cJSON *answer, struct wg_volume *v)
{
    struct wg_edit_option o = { text_of(request, "option"), text_of(request, "value") };
    struct wg_edit e = { .what = WG_EDIT_SET, .name = text_of(request, "name"), .options = &o, .noptions = 1 };
    int err;

    if (!e.name || !o.name || !o.value)
        return fail(answer, EINVAL, "set needs name, option and value");
    err = apply(v, &e, NULL, NULL, answer);
    if (!err)
        wg_notice("volume %s: option %s of %s is %s now", v->name, o.name, e.name, o.value);
    return err;
}

/* The options { "name": "value" }; the number, or -1. */
static int read_options(const cJSON *request, struct wg_edit_option *ret, int max)
{
    const cJSON *o;
    int n = 0;

    cJSON_ArrayForEach(o, cJSON_GetObjectItemCaseSensitive(request, "options")) {
        if (n == max || !cJSON_IsString(o) || !o->string)
            return -1;
        ret[n++] = (struct wg_edit_option){ o->string, o->valuestring };
    }
    return n;
}

static int do_insert(const cJSON *request, cJSON *answer, struct wg_volume *v)
{
    struct wg_edit_option options[OPTIONS_MAX];
    struct wg_edit e = { .what = WG_EDIT_INSERT, .name = text_of(request, "name"), .type = text_of(request, "type"),
                         .above = text_of(request, "above"), .below = text_of(request, "below"), .options = options };
    int n = read_options(request, options, OPTIONS_MAX), err;

    if (!e.type || n < 0)
        return fail(answer, EINVAL, "insert needs a type, and options as name=value");
    e.noptions = (unsigned)n;
    err = apply(v, &e, NULL, NULL, answer);
    if (!err)
        wg_notice("volume %s: %s is inserted", v->name, e.type);
    return err;
}

static int do_remove(const cJSON *request, cJSON *answer, struct wg_volume *v)
{
    struct wg_edit e = { .what = WG_EDIT_REMOVE, .name = text_of(request, "name") };
    int err;

    if (!e.name)
        return fail(answer, EINVAL, "remove needs a name");
    err = apply(v, &e, NULL, NULL, answer);
    if (!err)
        wg_notice("volume %s: %s is removed", v->name, e.name);
    return err;
}

static int do_load(const cJSON *request, cJSON *answer, struct wg_volume *v)
{
    const char *file = text_of(request, "file"), *text = text_of(request, "text");
    int err;

    if (!text || !file)
        return fail(answer, EINVAL, "load needs a file and its text");
    err = apply(v, NULL, file, text, answer);
    if (!err)
        wg_notice("volume %s: the graph of %s is in use", v->name, file);
    return err;
}

/* --- show --- */

static void look(const struct wg_graph *g, void *arg)
{
    char why[WHY], *text = wg_edit_text(g, NULL, why, sizeof why);

    if (text)
        cJSON_AddStringToObject(arg, "graph", text);
    free(text);
}

static void show_one(struct wg_volume *v, cJSON *list)
{
    cJSON *item = cJSON_CreateObject();
    uint64_t changes;
    unsigned old;

    wg_volume_counts(v, &old, &changes);
    cJSON_AddStringToObject(item, "volume", v->name);
    cJSON_AddNumberToObject(item, "draining", old);
    cJSON_AddNumberToObject(item, "changes", (double)changes - 1); /* the first graph is none */
    wg_volume_look(v, look, item);
    cJSON_AddItemToArray(list, item);
}

struct showing {
    struct wg_volume *v[256];
    unsigned n;
};

static void gather(struct wg_volume *v, struct wg_xlator *xl, bool draining, void *arg)
{
    struct showing *s = arg;

    (void)xl;
    if (!draining && s->n < 256 && (s->n == 0 || s->v[s->n - 1] != v))
        s->v[s->n++] = v;
}

static int do_show(const cJSON *request, cJSON *answer)
{
    cJSON *list = cJSON_AddArrayToObject(answer, "graphs");
    struct showing s = { .n = 0 };
    struct wg_volume *v;

    if (text_of(request, "volume")) {
        v = volume_of(request, answer);
        if (!v)
            return ENOENT;
        show_one(v, list);
        return 0;
    }
    wg_volumes_each(gather, &s);
    for (unsigned i = 0; i < s.n; i++)
        show_one(s.v[i], list);
    return 0;
}

int wg_graph_control(const cJSON *request, cJSON *answer, void *arg)
{
    static const struct {
        const char *action;
        int (*fn)(const cJSON *request, cJSON *answer, struct wg_volume *v);
    } table[] = {
        { "set", do_set }, { "insert", do_insert }, { "remove", do_remove }, { "load", do_load },
    };
    const char *action = text_of(request, "action");
    struct wg_volume *v;

    (void)arg;
    if (action && strcmp(action, "show") == 0)
        return do_show(request, answer);
    for (size_t i = 0; action && i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].action, action) == 0) {
            v = volume_of(request, answer);
            return v ? table[i].fn(request, answer, v) : ENOENT;
        }
    return fail(answer, EINVAL, "action is one of show, set, insert, remove, load");
}
