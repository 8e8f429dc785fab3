/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a volfile into xlators that are not yet initialised. Errors name file and line. */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "graph.h"
#include "log.h"
#include "module.h"
#include "options.h"

#define WORD_MAX 4096
#define WORDS_MAX 130 /* on a line: a keyword and up to 128 subvolumes */
#define XLATORS_MAX 1024

/* An option that only the instance's own class may know (wg_class.instance). */
struct aside {
    char *name, *text;
    int line;
    struct aside *next;
};

struct parser {
    const char *file;
    const char *at, *end;
    int line;
    struct wg_graph *graph;
    struct wg_xlator *current; /* the open block; NULL between blocks */
    struct aside *aside, **aside_tail; /* of the open block */
    void (*err)(void *arg, const char *text);
    void *arg;
    bool failed;
    char *words[WORDS_MAX];
    int nwords;
};

static void fail(struct parser *p, int line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void fail(struct parser *p, int line, const char *fmt, ...)
{
    char what[512], text[1024];
    va_list ap;

    p->failed = true;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    snprintf(text, sizeof text, "%s:%d: %s", p->file, line, what);
    wg_one_line(text);
    p->err(p->arg, text);
}

static bool plain(const struct parser *p)
{
    return p->at < p->end && *p->at != '\n' && *p->at != '#' && *p->at != '"' &&
           !isspace((unsigned char)*p->at);
}

/* Reads one word, quoted or not, into buf; false after an error. */
static bool read_word(struct parser *p, char *buf)
{
    size_t n = 0;

    if (*p->at != '"') {
        for (; plain(p) && n < WORD_MAX; p->at++)
            buf[n++] = *p->at;
    } else {
        for (p->at++; p->at < p->end && *p->at != '"' && *p->at != '\n' && n < WORD_MAX; p->at++) {
            if (*p->at == '\\' && p->at + 1 < p->end && p->at[1] != '\n')
                p->at++;
            buf[n++] = *p->at;
        }
        if (p->at >= p->end || *p->at != '"') {
            fail(p, p->line, "a quoted word does not end on its line");
            return false;
        }
        p->at++;
    }
    if (n == WORD_MAX || memchr(buf, '\0', n)) {
        fail(p, p->line, n == WORD_MAX ? "a word is longer than %d bytes" : "a word holds a NUL byte", WORD_MAX);
        return false;
    }
    buf[n] = '\0';
    return true;
}

static void free_words(struct parser *p)
{
    for (int i = 0; i < p->nwords; i++)
        free(p->words[i]);
    p->nwords = 0;
}

/* Splits the next line into words. False at the end of the text or after an error. */
static bool read_line(struct parser *p)
{
    char buf[WORD_MAX + 1];

    free_words(p);
    if (p->at >= p->end || p->failed)
        return false;
    p->line++;
    while (p->at < p->end && *p->at != '\n') {
        if (isspace((unsigned char)*p->at)) {
            p->at++;
        } else if (*p->at == '#') {
            while (p->at < p->end && *p->at != '\n')
                p->at++;
        } else if (p->nwords == WORDS_MAX) {
            fail(p, p->line, "more than %d words on a line", WORDS_MAX);
            return false;
        } else {
            if (!read_word(p, buf))
                return false;
            p->words[p->nwords] = strdup(buf);
            if (!p->words[p->nwords]) {
                fail(p, p->line, "out of memory");
                return false;
            }
            p->nwords++;
        }
    }
    if (p->at < p->end)
        p->at++;
    return true;
}

struct wg_xlator *wg_graph_find(struct wg_graph *g, const char *name)
{
    struct wg_xlator *xl;

    wg_graph_each(g, xl)
        if (!strcmp(xl->name, name))
            return xl;
    return NULL;
}

static void open_block(struct parser *p, const char *name)
{
    struct wg_xlator *xl;

    if (p->current)
        return fail(p, p->line, "volume '%s' begins before 'end-volume' of '%s'", name, p->current->name);
    if (wg_graph_find(p->graph, name))
        return fail(p, p->line, "volume '%s' is declared twice", name);
    if (p->graph->nxlators == XLATORS_MAX)
        return fail(p, p->line, "more than %d volumes", XLATORS_MAX);
    xl = calloc(1, sizeof *xl);
    if (!xl)
        return fail(p, p->line, "out of memory");
    xl->name = strdup(name);
    xl->file = strdup(p->graph->file);
    xl->line = p->line;
    xl->refs = 1;
    p->graph->xlators[p->graph->nxlators++] = xl;
    p->current = xl;
    if (!xl->name || !xl->file)
        fail(p, p->line, "out of memory");
}

static void set_type(struct parser *p, const char *type)
{
    char why[400];

    if (p->current->class)
        return fail(p, p->line, "volume '%s' has 'type' twice", p->current->name);
    p->current->class = wg_class_find(type);
    if (!p->current->class)
        p->current->class = wg_module_load(type, why, sizeof why);
    if (!p->current->class) {
        struct wg_nearest n = { type };

        if (why[0])
            return fail(p, p->line, "%s", why);
        for (const struct wg_class *const *c = wg_classes(); *c; c++)
            wg_nearest(&n, (*c)->type);
        fail(p, p->line, "unknown type '%s'; the nearest is '%s'", type, n.best ? n.best : "none");
    }
}

/* Adds a value; text is copied. given false: the default. */
static bool add_value(struct wg_xlator *xl, const struct wg_option *o, const char *text, bool given, int *ret_err)
{
    struct wg_kv *kv = calloc(1, sizeof *kv);

    *ret_err = 0;
    if (!kv || !(kv->text = strdup(text))) {
        free(kv);
        *ret_err = ENOMEM;
        return false;
    }
    kv->option = o;
    kv->given = given;
    kv->next = xl->options;
    xl->options = kv;
    *ret_err = wg_option_parse(o, text, &kv->number);
    return *ret_err == 0;
}

static void keep_aside(struct parser *p, const char *name, const char *text)
{
    struct aside *a = calloc(1, sizeof *a);

    if (!a || !(a->name = strdup(name)) || !(a->text = strdup(text))) {
        if (a)
            free(a->name);
        free(a);
        return fail(p, p->line, "out of memory");
    }
    a->line = p->line;
    *p->aside_tail = a;
    p->aside_tail = &a->next;
}

static void unknown_option(struct parser *p, int line, const struct wg_class *class, const char *name)
{
    struct wg_nearest n = { name };

    for (const struct wg_option *o = class->options; o && o->name; o++)
        wg_nearest(&n, o->name);
    if (n.best)
        return fail(p, line, "%s has no option '%s'; the nearest is '%s'", class->type, name, n.best);
    fail(p, line, "%s has no options", class->type);
}

static void set_option_of(struct parser *p, int line, const char *name, const char *text)
{
    struct wg_xlator *xl = p->current;
    const struct wg_option *o = wg_option_find(xl->class->options, name);
    char buf[160];
    int err;

    if (!o)
        return unknown_option(p, line, xl->class, name);
    for (const struct wg_kv *kv = xl->options; kv; kv = kv->next)
        if (kv->option == o)
            return fail(p, line, "option '%s' is given twice", name);
    if (!add_value(xl, o, text, true, &err))
        fail(p, line, "option '%s' is '%s'; it takes %s", name, text, wg_option_expects(o, buf, sizeof buf));
}

static void set_option(struct parser *p, const char *name, const char *text)
{
    struct wg_xlator *xl = p->current;

    if (!xl->class)
        return fail(p, p->line, "volume '%s': 'type' must stand before its options", xl->name);
    if (xl->class->instance && !wg_option_find(xl->class->options, name))
        return keep_aside(p, name, text);
    set_option_of(p, p->line, name, text);
}

static void set_children(struct parser *p)
{
    struct wg_xlator *xl = p->current;

    if (xl->children)
        return fail(p, p->line, "volume '%s' has 'subvolumes' twice", xl->name);
    xl->children = calloc((size_t)p->nwords, sizeof *xl->children);
    if (!xl->children)
        return fail(p, p->line, "out of memory");
    for (int i = 1; i < p->nwords; i++) {
        struct wg_xlator *child = wg_graph_find(p->graph, p->words[i]);

        if (!child || child == xl) {
            struct wg_nearest n = { p->words[i] };

            wg_graph_each(p->graph, child)
                if (child != xl)
                    wg_nearest(&n, child->name);
            return fail(p, p->line, "subvolume '%s' is not declared above; the nearest is '%s'", p->words[i],
                        n.best ? n.best : "none");
        }
        xl->children[xl->nchildren++] = child;
    }
}

static void add_defaults(struct parser *p, struct wg_xlator *xl)
{
    for (const struct wg_option *o = xl->class->options; o && o->name; o++) {
        const struct wg_kv *kv = xl->options;
        int err;

        while (kv && kv->option != o)
            kv = kv->next;
        if (kv)
            continue;
        if (!o->value)
            return fail(p, xl->line, "volume '%s' needs 'option %s': %s", xl->name, o->name, o->help);
        if (!add_value(xl, o, o->value, false, &err))
            return fail(p, xl->line, "volume '%s': the default of '%s' is not valid (%s)", xl->name, o->name,
                        wg_error_name(err));
    }
}

/* Gives the block the class of its own, and that class the options kept aside. */
static void specialise(struct parser *p, struct wg_xlator *xl)
{
    char why[400] = "";
    const struct wg_class *class = xl->class->instance(xl, why, sizeof why);

    if (!class)
        return fail(p, xl->line, "volume '%s': %s", xl->name, why);
    xl->class = class;
    for (struct wg_kv *kv = xl->options; kv; kv = kv->next)
        kv->option = wg_option_find(class->options, kv->option->name);
    for (const struct aside *a = p->aside; a && !p->failed; a = a->next)
        set_option_of(p, a->line, a->name, a->text);
    if (!p->failed)
        add_defaults(p, xl);
}

static void free_aside(struct parser *p)
{
    for (struct aside *a = p->aside, *next; a; a = next) {
        next = a->next;
        free(a->name);
        free(a->text);
        free(a);
    }
    p->aside = NULL;
    p->aside_tail = &p->aside;
}

static void close_block(struct parser *p)
{
    struct wg_xlator *xl = p->current;
    int n = (int)xl->nchildren;

    if (!xl->class)
        fail(p, xl->line, "volume '%s' has no 'type'", xl->name);
    else if (n < xl->class->min_children || (xl->class->max_children >= 0 && n > xl->class->max_children))
        fail(p, xl->line, "volume '%s': %s takes %d to %d subvolumes, not %d", xl->name,
             xl->class->type, xl->class->min_children, xl->class->max_children, n);
    else
        add_defaults(p, xl);
    if (!p->failed && xl->class->instance)
        specialise(p, xl);
    free_aside(p);
    p->current = NULL;
}

/* A line's keyword: how many words may follow it, and where it may stand. */
static void statement(struct parser *p)
{
    static const struct {
        const char *word;
        int min, max;
        bool inside;
    } table[] = {
        { "volume", 1, 1, false },  { "type", 1, 1, true },       { "option", 2, 2, true },
        { "subvolumes", 1, WORDS_MAX, true }, { "end-volume", 0, 0, true },
    };
    const size_t n = sizeof table / sizeof *table;
    struct wg_nearest near = { p->words[0] };
    size_t i;

    for (i = 0; i < n && strcmp(p->words[0], table[i].word); i++)
        wg_nearest(&near, table[i].word);
    if (i == n)
        return fail(p, p->line, "unknown word '%s'; the nearest is '%s'", p->words[0], near.best);
    if (p->nwords - 1 < table[i].min || p->nwords - 1 > table[i].max)
        return fail(p, p->line, "'%s' takes %s", table[i].word,
                    table[i].max == 0 ? "no words" : table[i].max == 1 ? "one word"
                    : table[i].max == 2 ? "a name and a value" : "one or more names");
    if (table[i].inside && !p->current)
        return fail(p, p->line, "'%s' stands outside of a volume block", table[i].word);
    switch (i) {
    case 0:
        return open_block(p, p->words[1]);
    case 1:
        return set_type(p, p->words[1]);
    case 2:
        return set_option(p, p->words[1], p->words[2]);
    case 3:
        return set_children(p);
    default:
        return close_block(p);
    }
}

static bool has_parent(const struct wg_graph *g, const struct wg_xlator *xl)
{
    struct wg_xlator *up;

    wg_graph_each(g, up)
        for (unsigned i = 0; i < up->nchildren; i++)
            if (up->children[i] == xl)
                return true;
    return false;
}

static void find_top(struct parser *p)
{
    struct wg_graph *g = p->graph;
    struct wg_xlator *xl, *last = g->nxlators ? g->xlators[g->nxlators - 1] : NULL;

    if (!last)
        return fail(p, p->line ? p->line : 1, "no volume is declared");
    wg_graph_each(g, xl) {
        if (xl != last && !has_parent(g, xl))
            return fail(p, xl->line, "volume '%s' is in no other's subvolumes, and is not the last one", xl->name);
        if (xl != last && xl->class->door)
            return fail(p, xl->line, "volume '%s': %s can only stand on top", xl->name, xl->class->type);
    }
    g->top = last;
    g->entry = last->class->door && last->nchildren ? last->children[0] : last;
}

struct wg_graph *wg_graph_parse(const char *file, const char *text, size_t len,
                                void (*err)(void *arg, const char *text), void *arg)
{
    struct wg_graph *g = wg_graph_new();
    struct parser p = { .file = file, .err = err, .arg = arg, .graph = g };

    if (!g || !(g->text = malloc(len + 1)) || !(g->file = strdup(file)) ||
        !(g->xlators = calloc(XLATORS_MAX, sizeof(struct wg_xlator *)))) {
        fail(&p, 0, "out of memory");
        if (g)
            wg_graph_free(g);
        return NULL;
    }
    memcpy(g->text, text, len);
    g->text[len] = '\0';
    p.at = g->text;
    p.end = g->text + len;
    p.aside_tail = &p.aside;
    while (read_line(&p))
        if (p.nwords > 0)
            statement(&p);
    if (!p.failed && p.current)
        fail(&p, p.current->line, "volume '%s' has no 'end-volume'", p.current->name);
    if (!p.failed)
        find_top(&p);
    free_words(&p);
    free_aside(&p);
    if (p.failed) {
        wg_graph_free(g);
        return NULL;
    }
    return g;
}
