/* SPDX-License-Identifier: Apache-2.0 */
#include "edit.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "options.h"

/* An edit resolved: what it is beside, and the name of what is inserted. */
struct text {
    FILE *f;
    const struct wg_graph *g;
    const struct wg_edit *e;
    const struct wg_xlator *gone;          /* remove */
    const struct wg_xlator *above, *below; /* insert: one of them */
    char name[100];
    char *why;
    size_t size;
};

static bool refuse(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool refuse(struct text *t, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(t->why, t->size, fmt, ap);
    va_end(ap);
    return false;
}

static void word(FILE *f, const char *text)
{
    fputc('"', f);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', f);
        fputc(*text, f);
    }
    fputc('"', f);
}

static void option(FILE *f, const char *name, const char *value)
{
    fputs("    option ", f);
    word(f, name);
    fputc(' ', f);
    word(f, value);
    fputc('\n', f);
}

static void begin(FILE *f, const char *name, const char *type)
{
    fputs("volume ", f);
    word(f, name);
    fprintf(f, "\n    type %s\n", type);
}

static void put_inserted(struct text *t, const struct wg_xlator *child)
{
    fputs("volume ", t->f);
    word(t->f, t->name);
    fputs("\n    type ", t->f);
    word(t->f, t->e->type);
    fputc('\n', t->f);
    for (unsigned i = 0; i < t->e->noptions; i++)
        option(t->f, t->e->options[i].name, t->e->options[i].value);
    fputs("    subvolumes ", t->f);
    word(t->f, child->name);
    fputs("\nend-volume\n\n", t->f);
}

static const char *set_value(const struct text *t, const struct wg_xlator *xl, const char *name)
{
    if (t->e->what != WG_EDIT_SET || strcmp(xl->name, t->e->name) != 0)
        return NULL;
    for (unsigned i = t->e->noptions; i-- > 0;)
        if (strcmp(t->e->options[i].name, name) == 0)
            return t->e->options[i].value;
    return NULL;
}

static void put_options(struct text *t, const struct wg_xlator *xl)
{
    /* Parsed blocks keep them newest first; defaults are left out. */
    for (const struct wg_option *o = xl->class->options; o && o->name; o++) {
        const struct wg_kv *kv = wg_kv_find(xl, o->name);

        if (kv && kv->given && !set_value(t, xl, o->name))
            option(t->f, o->name, kv->text);
    }
    if (t->e->what == WG_EDIT_SET && strcmp(xl->name, t->e->name) == 0)
        for (unsigned i = 0; i < t->e->noptions; i++)
            option(t->f, t->e->options[i].name, t->e->options[i].value);
}

static void put_xlator(struct text *t, const struct wg_xlator *xl)
{
    if (xl == t->gone)
        return;
    if (xl == t->below)
        put_inserted(t, xl->children[0]);
    begin(t->f, xl->name, xl->class->type);
    put_options(t, xl);
    for (unsigned i = 0; i < xl->nchildren; i++) {
        const struct wg_xlator *c = xl->children[i];

        fputs(i ? " " : "    subvolumes ", t->f);
        word(t->f, c == t->gone ? c->children[0]->name : c == t->above || xl == t->below ? t->name : c->name);
    }
    fputs(xl->nchildren ? "\nend-volume\n\n" : "end-volume\n\n", t->f);
    if (xl == t->above)
        put_inserted(t, xl);
}

static const struct wg_xlator *find(struct text *t, const char *name)
{
    struct wg_nearest n = { .word = name };
    struct wg_xlator *xl;

    wg_graph_each(t->g, xl) {
        if (strcmp(xl->name, name) == 0)
            return xl;
        wg_nearest(&n, xl->name);
    }
    refuse(t, "there is no translator '%s'%s", name, wg_nearest_hint(&n));
    return NULL;
}

static bool resolve_remove(struct text *t)
{
    t->gone = find(t, t->e->name);
    if (!t->gone)
        return false;
    if (t->gone->class->door)
        return refuse(t, "%s (%s) must stay on top", t->gone->name, t->gone->class->type);
    if (t->gone->nchildren != 1)
        return refuse(t, "%s (%s) does not stand on one other: it can't be left out", t->gone->name,
                      t->gone->class->type);
    return true;
}

static bool name_it(struct text *t)
{
    const char *slash = strrchr(t->e->type, '/'), *last = slash ? slash + 1 : t->e->type;
    struct wg_xlator *xl;
    bool taken = true;

    if (strlen(t->e->name ? t->e->name : last) > 64)
        return refuse(t, "a name has at most 64 bytes");
    for (int i = 1; taken; i++) {
        if (t->e->name && i > 1)
            return refuse(t, "there is a translator '%s' already", t->e->name);
        if (t->e->name || i == 1)
            snprintf(t->name, sizeof t->name, "%s", t->e->name ? t->e->name : last);
        else
            snprintf(t->name, sizeof t->name, "%s-%d", last, i);
        taken = false;
        wg_graph_each(t->g, xl)
            taken = taken || strcmp(xl->name, t->name) == 0;
    }
    return true;
}

static bool resolve_insert(struct text *t)
{
    const struct wg_xlator *xl;

    if (!name_it(t))
        return false;
    if (t->e->above && t->e->below)
        return refuse(t, "either above or below, not both");
    if (t->e->below) {
        xl = t->below = find(t, t->e->below);
        if (xl && xl->nchildren != 1)
            return refuse(t, "%s (%s) does not stand on one other: say above which of its subvolumes", xl->name,
                          xl->class->type);
        return xl;
    }
    t->above = t->e->above ? find(t, t->e->above) : t->g->entry;
    if (t->above && t->above->class->door)
        return refuse(t, "%s (%s) must stay on top", t->above->name, t->above->class->type);
    return t->above;
}

static bool resolve(struct text *t)
{
    switch (t->e->what) {
    case WG_EDIT_SET:
        return find(t, t->e->name);
    case WG_EDIT_INSERT:
        return resolve_insert(t);
    case WG_EDIT_REMOVE:
        return resolve_remove(t);
    default:
        return true;
    }
}

char *wg_edit_text(const struct wg_graph *g, const struct wg_edit *e, char *why, size_t size)
{
    static const struct wg_edit nothing;
    struct text t = { .g = g, .e = e ? e : &nothing, .why = why, .size = size };
    struct wg_xlator *xl;
    char *text = NULL;
    size_t len;

    why[0] = '\0';
    if (!resolve(&t))
        return NULL;
    t.f = open_memstream(&text, &len);
    if (t.f)
        wg_graph_each(g, xl)
            put_xlator(&t, xl);
    if (t.f && fclose(t.f) == 0)
        return text;
    refuse(&t, "out of memory");
    free(text);
    return NULL;
}
