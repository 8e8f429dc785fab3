/* SPDX-License-Identifier: Apache-2.0 */
/* The settings that name translators: tune (options of those that are there) and layers (more of them). */
#include <stdlib.h>
#include <string.h>

#include "module.h"
#include "options.h"
#include "settings_read.h"

static int line_of(const config_setting_t *c)
{
    return (int)config_setting_source_line(c);
}

static const char *last_word(const char *type)
{
    const char *slash = strrchr(type, '/');

    return slash ? slash + 1 : type;
}

/*
 * The class of a type in full, "storage/posix", or of its last word alone (modules in full only). why is
 * what is wrong with its module, or "".
 */
static const struct wg_class *class_of(const char *name, struct wg_nearest *n, char *why, size_t size)
{
    bool full = strchr(name, '/');

    n->word = name;
    why[0] = '\0';
    if (full && wg_class_find(name))
        return wg_class_find(name);
    if (full && wg_module_load(name, why, size))
        return wg_class_find(name);
    for (const struct wg_class *const *c = wg_classes(); *c; c++) {
        const char *called = full ? (*c)->type : last_word((*c)->type);

        wg_nearest(n, called);
        if (strcmp(called, name) == 0)
            return *c;
    }
    return NULL;
}

static const char *scalar_text(struct wg_set_reader *r, config_setting_t *c)
{
    switch (config_setting_type(c)) {
    case CONFIG_TYPE_STRING:
        return wg_set_keep(r, config_setting_get_string(c));
    case CONFIG_TYPE_BOOL:
        return config_setting_get_bool(c) ? "true" : "false";
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        return wg_printf(wg_set_arena(r), "%lld", config_setting_get_int64(c));
    default:
        return NULL;
    }
}

/* One option of a class, name and value checked. */
static void put_option(struct wg_set_reader *r, const struct wg_class *class, config_setting_t *c,
                       struct wg_set_tunes *ret)
{
    const char *name = config_setting_name(c), *value = scalar_text(r, c);
    const struct wg_option *o = wg_option_find(class->options, name);
    struct wg_nearest n = { .word = name };
    char expects[160];
    int64_t number;

    if (!o && class->instance && value) {
        /* Only the instance's own class may know it, which is made when the graph is. */
        name = wg_set_keep(r, name);
        if (name)
            ret->t[ret->n++] = (struct wg_set_tune){ class->type, name, value, line_of(c) };
    } else if (!o) {
        for (o = class->options; o && o->name; o++)
            wg_nearest(&n, o->name);
        wg_set_complain(r, line_of(c), "%s has no option '%s'%s", class->type, name, wg_nearest_hint(&n));
    } else if (!value) {
        wg_set_complain(r, line_of(c), "%s must be a plain value", name);
    } else if (wg_option_parse(o, value, &number)) {
        wg_set_complain(r, line_of(c), "%s of %s takes %s, not '%s'", name, class->type,
                        wg_option_expects(o, expects, sizeof expects), value);
    } else {
        ret->t[ret->n++] = (struct wg_set_tune){ class->type, o->name, value, line_of(c) };
    }
}

static bool room(struct wg_set_reader *r, int n, struct wg_set_tunes *ret)
{
    ret->n = 0;
    ret->t = wg_alloc(wg_set_arena(r), ((size_t)n + 1) * sizeof *ret->t);
    if (!ret->t)
        wg_set_out_of_memory(r);
    return ret->t;
}

void wg_set_put_tune(struct wg_set_reader *r, config_setting_t *c, struct wg_set_tunes *ret)
{
    int total = 0, n = config_setting_is_group(c) ? config_setting_length(c) : -1;

    for (int i = 0; i < n; i++)
        total += config_setting_length(config_setting_get_elem(c, (unsigned)i));
    if (n < 0)
        wg_set_complain(r, line_of(c), "tune must be { translator = { ... }; }");
    if (n < 0 || !room(r, total, ret))
        return;
    for (int i = 0; i < n; i++) {
        config_setting_t *group = config_setting_get_elem(c, (unsigned)i);
        struct wg_nearest near = { 0 };
        char why[400];
        const struct wg_class *class = class_of(config_setting_name(group), &near, why, sizeof why);

        if (!class || !config_setting_is_group(group)) {
            wg_set_complain(r, line_of(group), class ? "tune: %s must be { ... }%s"
                            : "tune: no translator '%s'%s", config_setting_name(group),
                            class ? "" : wg_nearest_hint(&near));
            continue;
        }
        for (int j = 0; j < config_setting_length(group); j++)
            put_option(r, class, config_setting_get_elem(group, (unsigned)j), ret);
    }
}

/* --- layers --- */

static bool taken(const struct wg_set_layers *in, const char *name)
{
    /* What volgen calls its own; a brick's name is checked when all is read. */
    static const char *const own[] = { "store", "io-threads", "locks", "server" };

    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (strcmp(own[i], name) == 0)
            return true;
    for (unsigned i = 0; i < in->n; i++)
        if (strcmp(in->l[i].name, name) == 0)
            return true;
    return false;
}

/* "trace", or "trace-2" when there is one: the name of a layer that was given none. */
static const char *free_name(struct wg_set_reader *r, const struct wg_set_layers *in, const char *type)
{
    const char *name = last_word(type);

    for (int i = 2; name && taken(in, name); i++)
        name = wg_printf(wg_set_arena(r), "%s-%d", last_word(type), i);
    return name ? name : wg_set_out_of_memory(r);
}

static void missing_options(struct wg_set_reader *r, const struct wg_class *class, const struct wg_set_layer *l)
{
    for (const struct wg_option *o = class->options; o && o->name; o++) {
        unsigned i = 0;

        while (i < l->options.n && strcmp(l->options.t[i].option, o->name) != 0)
            i++;
        if (!o->value && i == l->options.n)
            wg_set_complain(r, l->line, "layer %s (%s) needs option %s: %s", l->name, l->type, o->name, o->help);
    }
}

static const struct wg_class *layer_class(struct wg_set_reader *r, config_setting_t *c)
{
    struct wg_nearest near = { 0 };
    const char *type = NULL;
    const struct wg_class *class;
    char why[400];

    if (!config_setting_lookup_string(c, "type", &type)) {
        wg_set_complain(r, line_of(c), "a layer needs type = \"CATEGORY/NAME\"");
        return NULL;
    }
    class = class_of(type, &near, why, sizeof why);
    if (!class && why[0])
        wg_set_complain(r, line_of(c), "%s", why);
    else if (!class)
        wg_set_complain(r, line_of(c), "no translator '%s'%s", type,
                        *wg_nearest_hint(&near) ? wg_nearest_hint(&near)
                        : ": neither in the program nor a module in " WG_LIBDIR "/xlators or WG_MODULE_PATH");
    else if (class->min_children > 1 || class->max_children == 0)
        wg_set_complain(r, line_of(c), "%s can't be a layer: it does not stand on one other", class->type);
    else
        return class;
    return NULL;
}

static void put_layer(struct wg_set_reader *r, config_setting_t *c, struct wg_set_layers *ret)
{
    const struct wg_class *class = layer_class(r, c);
    struct wg_set_layer l = { .line = line_of(c) };
    config_setting_t *options = config_setting_get_member(c, "options");
    const char *name = NULL;

    if (!class)
        return;
    for (int i = 0; i < config_setting_length(c); i++) {
        config_setting_t *m = config_setting_get_elem(c, (unsigned)i);
        struct wg_nearest n = { .word = config_setting_name(m) };

        if (!strcmp(n.word, "type") || !strcmp(n.word, "name") || !strcmp(n.word, "options"))
            continue;
        wg_nearest(&n, "type");
        wg_nearest(&n, "name");
        wg_nearest(&n, "options");
        wg_set_complain(r, line_of(m), "unknown setting '%s' in a layer%s", n.word, wg_nearest_hint(&n));
    }
    if (config_setting_get_member(c, "name") && !config_setting_lookup_string(c, "name", &name))
        wg_set_complain(r, l.line, "name of a layer must be a string");
    if (name && (!wg_settings_is_name(name) || taken(ret, name))) {
        wg_set_complain(r, l.line, taken(ret, name) ? "there are two translators '%s'"
                        : "'%s' is no name for a layer (letters, digits, '-', '_', '.')", name);
        return;
    }
    if (options && !config_setting_is_group(options))
        wg_set_complain(r, line_of(options), "options of a layer must be { option = value; }");
    l.type = class->type;
    l.name = name ? wg_set_keep(r, name) : free_name(r, ret, class->type);
    if (!l.name || !room(r, options ? config_setting_length(options) : 0, &l.options))
        return;
    for (int i = 0; options && config_setting_is_group(options) && i < config_setting_length(options); i++)
        put_option(r, class, config_setting_get_elem(options, (unsigned)i), &l.options);
    missing_options(r, class, &l);
    ret->l[ret->n++] = l;
}

void wg_set_put_layers(struct wg_set_reader *r, config_setting_t *c, struct wg_set_layers *ret)
{
    int n = config_setting_is_list(c) ? config_setting_length(c) : -1;

    ret->n = 0;
    ret->l = n < 0 ? NULL : wg_alloc(wg_set_arena(r), ((size_t)n + 1) * sizeof *ret->l);
    if (n < 0)
        wg_set_complain(r, line_of(c), "layers must be ( { type = \"CATEGORY/NAME\"; }, ... )");
    else if (!ret->l)
        wg_set_out_of_memory(r);
    for (int i = 0; i < n && ret->l; i++) {
        config_setting_t *one = config_setting_get_elem(c, (unsigned)i);

        if (config_setting_is_group(one))
            put_layer(r, one, ret);
        else
            wg_set_complain(r, line_of(one), "a layer must be { type = \"CATEGORY/NAME\"; }");
    }
}
