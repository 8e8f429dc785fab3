/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "options.h"

static const char *const true_words[] = { "on", "yes", "true", "1", NULL };
static const char *const false_words[] = { "off", "no", "false", "0", NULL };

static bool one_of(const char *text, const char *const *words)
{
    for (; *words; words++)
        if (!strcasecmp(text, *words))
            return true;
    return false;
}

static const struct {
    const char *suffix;
    enum wg_opt_type type;
    int64_t factor;
} units[] = {
    { "", WG_OPT_SIZE, 1 },          { "B", WG_OPT_SIZE, 1 },        { "K", WG_OPT_SIZE, 1ll << 10 },
    { "KB", WG_OPT_SIZE, 1ll << 10 }, { "M", WG_OPT_SIZE, 1ll << 20 }, { "MB", WG_OPT_SIZE, 1ll << 20 },
    { "G", WG_OPT_SIZE, 1ll << 30 },  { "GB", WG_OPT_SIZE, 1ll << 30 }, { "T", WG_OPT_SIZE, 1ll << 40 },
    { "TB", WG_OPT_SIZE, 1ll << 40 }, { "ms", WG_OPT_TIME, 1 },       { "s", WG_OPT_TIME, 1000 },
    { "", WG_OPT_TIME, 1000 },        { "m", WG_OPT_TIME, 60000 },    { "h", WG_OPT_TIME, 3600000 },
    { "d", WG_OPT_TIME, 86400000 },   { "", WG_OPT_INT, 1 },
};

static int parse_number(enum wg_opt_type type, const char *text, int64_t *ret)
{
    long long v;
    char *end;

    errno = 0;
    v = strtoll(text, &end, 10);
    if (end == text || errno)
        return EINVAL;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (units[i].type != type)
            continue;
        if (type == WG_OPT_SIZE ? strcasecmp(end, units[i].suffix) : strcmp(end, units[i].suffix))
            continue;
        return __builtin_mul_overflow(v, units[i].factor, ret) ? ERANGE : 0;
    }
    return EINVAL;
}

int wg_option_parse(const struct wg_option *o, const char *text, int64_t *ret)
{
    int err;

    *ret = 0;
    switch (o->type) {
    case WG_OPT_BOOL:
        *ret = one_of(text, true_words);
        return *ret || one_of(text, false_words) ? 0 : EINVAL;
    case WG_OPT_INT:
    case WG_OPT_SIZE:
    case WG_OPT_TIME:
        err = parse_number(o->type, text, ret);
        if (!err && (o->min || o->max) && (*ret < o->min || *ret > o->max))
            return ERANGE;
        return err;
    case WG_OPT_PATH:
        return text[0] ? 0 : EINVAL;
    case WG_OPT_STR:
        return 0;
    }
    return EINVAL;
}

const char *wg_option_expects(const struct wg_option *o, char *buf, size_t size)
{
    static const char *const words[] = {
        [WG_OPT_STR] = "a text",
        [WG_OPT_INT] = "a whole number",
        [WG_OPT_SIZE] = "a size in bytes (K, M, G, T may follow)",
        [WG_OPT_TIME] = "a time (seconds, or with ms, s, m, h, d)",
        [WG_OPT_BOOL] = "on or off",
        [WG_OPT_PATH] = "a path",
    };

    if ((o->min || o->max) && o->type != WG_OPT_STR && o->type != WG_OPT_PATH)
        snprintf(buf, size, "%s from %lld to %lld%s", words[o->type], (long long)o->min,
                 (long long)o->max, o->type == WG_OPT_TIME ? " ms" : "");
    else
        snprintf(buf, size, "%s", words[o->type]);
    return buf;
}

const struct wg_option *wg_option_find(const struct wg_option *table, const char *name)
{
    for (; table && table->name; table++)
        if (!strcmp(table->name, name))
            return table;
    return NULL;
}

/* Levenshtein distance, of short words. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[64], n = (unsigned)strlen(b);

    if (n >= 63 || strlen(a) >= 63)
        return 99;
    for (unsigned j = 0; j <= n; j++)
        row[j] = j;
    for (unsigned i = 1; a[i - 1]; i++) {
        unsigned diagonal = row[0];

        row[0] = i;
        for (unsigned j = 1; j <= n; j++) {
            unsigned cost = diagonal + (tolower(a[i - 1]) != tolower(b[j - 1]));

            diagonal = row[j];
            if (row[j] + 1 < cost)
                cost = row[j] + 1;
            if (row[j - 1] + 1 < cost)
                cost = row[j - 1] + 1;
            row[j] = cost;
        }
    }
    return row[n];
}

void wg_nearest(struct wg_nearest *n, const char *candidate)
{
    unsigned d = distance(n->word, candidate);

    if (!n->best || d < n->distance) {
        n->best = candidate;
        n->distance = d;
    }
}

const char *wg_nearest_hint(const struct wg_nearest *n)
{
    static _Thread_local char text[128];
    size_t len = strlen(n->word);

    /* Near: at most a third of the word differs, or the word is how the candidate begins. */
    if (!n->best || (n->distance > (len + 2) / 3 && strncmp(n->word, n->best, len) != 0))
        return "";
    snprintf(text, sizeof text, " (did you mean '%s'?)", n->best);
    return text;
}

/* --- values of an xlator --- */

struct wg_past {
    char *text;
    struct wg_past *next;
};

struct wg_kv *wg_kv_find(const struct wg_xlator *xl, const char *name)
{
    for (struct wg_kv *kv = xl->options; kv; kv = kv->next)
        if (!strcmp(kv->option->name, name))
            return kv;
    return NULL;
}

/* The text as a value that lives as long as kv: one of before, or a new one. */
static char *lasting_text(struct wg_kv *kv, const char *text)
{
    struct wg_past *p;

    for (p = kv->past; p; p = p->next)
        if (!strcmp(p->text, text))
            return p->text;
    p = calloc(1, sizeof *p);
    if (!p || !(p->text = strdup(text))) {
        free(p);
        return NULL;
    }
    p->next = kv->past;
    kv->past = p;
    return p->text;
}

int wg_kv_set(struct wg_kv *kv, const char *text, int64_t number, bool given)
{
    char *copy;

    if (!kv->past) { /* the first change: what the parser read becomes the first of them */
        kv->past = calloc(1, sizeof *kv->past);
        if (!kv->past)
            return ENOMEM;
        kv->past->text = kv->text;
    }
    copy = lasting_text(kv, text);
    if (!copy)
        return ENOMEM;
    __atomic_store_n(&kv->text, copy, __ATOMIC_RELEASE);
    __atomic_store_n(&kv->number, number, __ATOMIC_RELEASE);
    kv->given = given;
    return 0;
}

void wg_kv_free(struct wg_kv *kv)
{
    if (!kv->past)
        free(kv->text);
    for (struct wg_past *p = kv->past, *next; p; p = next) {
        next = p->next;
        free(p->text);
        free(p);
    }
    free(kv);
}

static const struct wg_kv *value_of(const struct wg_xlator *xl, const char *name)
{
    const struct wg_kv *kv = wg_kv_find(xl, name);

    assert(kv || !"an option that the class does not declare");
    return kv;
}

const char *wg_opt_str(const struct wg_xlator *xl, const char *name)
{
    return __atomic_load_n(&value_of(xl, name)->text, __ATOMIC_ACQUIRE);
}

int64_t wg_opt_int(const struct wg_xlator *xl, const char *name)
{
    return __atomic_load_n(&value_of(xl, name)->number, __ATOMIC_ACQUIRE);
}

bool wg_opt_bool(const struct wg_xlator *xl, const char *name)
{
    return wg_opt_int(xl, name) != 0;
}
