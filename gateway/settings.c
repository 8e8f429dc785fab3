/* SPDX-License-Identifier: Apache-2.0 */
#include "settings.h"

#include <errno.h>
#include <inttypes.h>
#include <libconfig.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "arena.h"
#include "log.h"
#include "module.h"
#include "options.h"
#include "settings_read.h"
#include "settings_table.h"

#define WG_LOG_PART "settings"

enum { FILE_MAX = 1 << 20, NESTING_MAX = 32, MESSAGE_MAX = 512 };

struct priv {
    struct wg_arena arena; /* all strings and lists */
    char *directory;       /* of the file: what relative paths are relative to */
};

void wg_set_complain(struct wg_set_reader *r, int line, const char *fmt, ...)
{
    char what[MESSAGE_MAX], text[MESSAGE_MAX + 300];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    snprintf(text, sizeof text, "%s:%d: %s", r->s->file, line, what);
    wg_one_line(text);
    r->errors++;
    r->err(r->arg, text);
}

/* The setting's name as in the manual: "nfs.port". */
static const char *full_name(const struct wg_set_reader *r, const struct wg_set_row *row, char buf[64])
{
    snprintf(buf, 64, "%s%s%s", r->section, *r->section ? "." : "", row->name);
    return buf;
}

struct wg_arena *wg_set_arena(struct wg_set_reader *r)
{
    return &((struct priv *)r->s->priv)->arena;
}

void *wg_set_out_of_memory(struct wg_set_reader *r)
{
    wg_set_complain(r, 0, "out of memory");
    return NULL;
}

const char *wg_set_keep(struct wg_set_reader *r, const char *text)
{
    const char *copy = wg_memdup(wg_set_arena(r), text, strlen(text));

    return copy ? copy : wg_set_out_of_memory(r);
}

static const char *keep_path(struct wg_set_reader *r, const char *text)
{
    const char *dir = ((struct priv *)r->s->priv)->directory;
    const char *path;

    if (text[0] == '/' || text[0] == '\0')
        return wg_set_keep(r, text);
    path = wg_printf(wg_set_arena(r), "%s/%s", dir, text);
    return path ? path : wg_set_out_of_memory(r);
}

static int put_number(struct wg_set_reader *r, int line, const struct wg_set_row *row, int64_t v,
                      void *at)
{
    char name[64];

    if (v < row->min || v > row->max) {
        wg_set_complain(r, line, "%s must be from %" PRId64 " to %" PRId64 "%s, not %" PRId64,
                 full_name(r, row, name), row->min, row->max, row->type == WG_SET_MS ? " ms" : "", v);
        return EINVAL;
    }
    *(int64_t *)at = v;
    return 0;
}

/* false, after the line that says so, for a text that the row does not take. */
static bool wanted_text(struct wg_set_reader *r, int line, const struct wg_set_row *row, const char *text)
{
    const char *must = row->wants ? row->wants(text) : NULL;
    char name[64];

    if (must)
        wg_set_complain(r, line, "%s must be %s%s%s%s", full_name(r, row, name), must,
                 *text ? ", not '" : "", text, *text ? "'" : "");
    return !must;
}

/* A value given as text: the default of a row, or a string in the file. */
static void put_text(struct wg_set_reader *r, int line, const struct wg_set_row *row, const char *text,
                     void *at)
{
    char name[64];
    int64_t v;
    size_t len;

    if (!wanted_text(r, line, row, text))
        return;
    switch (row->type) {
    case WG_SET_STR:
        *(const char **)at = wg_set_keep(r, text);
        break;
    case WG_SET_PATH:
        *(const char **)at = keep_path(r, text);
        break;
    case WG_SET_WORD:
        len = strlen(text);
        for (const char *c = row->choices; c; c = strchr(c, '|') ? strchr(c, '|') + 1 : NULL)
            if (len && strcspn(c, "|") == len && strncmp(c, text, len) == 0) {
                *(const char **)at = wg_set_keep(r, text);
                return;
            }
        wg_set_complain(r, line, "%s must be one of %s, not '%s'", full_name(r, row, name), row->choices, text);
        break;
    case WG_SET_INT:
        put_number(r, line, row, strtoll(text, NULL, 10), at);
        break;
    case WG_SET_MS:
        if (wg_option_parse(&(struct wg_option){ .name = row->name, .type = WG_OPT_TIME }, text, &v))
            wg_set_complain(r, line, "%s must be a time such as \"500ms\", \"10s\" or \"5m\", not '%s'",
                     full_name(r, row, name), text);
        else
            put_number(r, line, row, v, at);
        break;
    case WG_SET_BOOL:
        *(bool *)at = strcmp(text, "true") == 0;
        break;
    default:
        break;
    }
}

/* "a b c" as a list: defaults only. */
static void put_words(struct wg_set_reader *r, const char *text, struct wg_set_strs *ret)
{
    char *copy = wg_memdup(wg_set_arena(r), text, strlen(text)), *word, *save = NULL;

    ret->s = wg_alloc(wg_set_arena(r), (strlen(text) + 1) * sizeof *ret->s);
    ret->n = 0;
    if (!copy || !ret->s) {
        wg_set_out_of_memory(r);
        return;
    }
    for (word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save))
        ret->s[ret->n++] = word;
}

static void put_strs(struct wg_set_reader *r, config_setting_t *c, const struct wg_set_row *row, void *at)
{
    struct wg_set_strs *ret = at;
    int n = config_setting_type(c) == CONFIG_TYPE_STRING ? 1 : config_setting_length(c);
    int line = (int)config_setting_source_line(c);
    char name[64];

    ret->s = wg_alloc(wg_set_arena(r), ((size_t)n + 1) * sizeof *ret->s);
    ret->n = 0;
    if (!ret->s) {
        wg_set_out_of_memory(r);
        return;
    }
    for (int i = 0; i < n; i++) {
        const char *text = config_setting_type(c) == CONFIG_TYPE_STRING
                               ? config_setting_get_string(c) : config_setting_get_string_elem(c, i);

        if (!text) {
            wg_set_complain(r, line, "%s must be a list of strings", full_name(r, row, name));
            return;
        }
        if (config_setting_type(c) != CONFIG_TYPE_STRING)
            line = (int)config_setting_source_line(config_setting_get_elem(c, (unsigned)i));
        if (!wanted_text(r, line, row, text))
            continue;
        ret->s[ret->n++] = row->type == WG_SET_PATHS ? keep_path(r, text) : wg_set_keep(r, text);
    }
}

/* One setting of the file into its field. */
static void put(struct wg_set_reader *r, config_setting_t *c, const struct wg_set_row *row, void *at)
{
    int line = (int)config_setting_source_line(c), type = config_setting_type(c);
    char name[64];
    static const char *const wanted[] = {
        [WG_SET_STR] = "a string", [WG_SET_WORD] = "a string", [WG_SET_PATH] = "a string",
        [WG_SET_STRS] = "a list of strings", [WG_SET_PATHS] = "a list of strings",
        [WG_SET_INT] = "a whole number",
        [WG_SET_MS] = "a time such as \"10s\"", [WG_SET_BOOL] = "true or false",
    };

    switch (row->type) {
    case WG_SET_TUNE:
        wg_set_put_tune(r, c, at);
        return;
    case WG_SET_LAYERS:
        wg_set_put_layers(r, c, at);
        return;
    case WG_SET_STRS:
    case WG_SET_PATHS:
        if (type == CONFIG_TYPE_STRING || type == CONFIG_TYPE_ARRAY || type == CONFIG_TYPE_LIST) {
            put_strs(r, c, row, at);
            return;
        }
        break;
    case WG_SET_INT:
        if (type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64) {
            put_number(r, line, row, config_setting_get_int64(c), at);
            return;
        }
        break;
    case WG_SET_BOOL:
        if (type == CONFIG_TYPE_BOOL) {
            *(bool *)at = config_setting_get_bool(c) != 0;
            return;
        }
        break;
    default:
        if (type == CONFIG_TYPE_STRING) {
            put_text(r, line, row, config_setting_get_string(c), at);
            return;
        }
    }
    wg_set_complain(r, line, "%s must be %s", full_name(r, row, name), wanted[row->type]);
}

static void defaults(struct wg_set_reader *r, const struct wg_set_section *s, char *base)
{
    for (const struct wg_set_row *row = s->rows; row->name; row++) {
        if (!row->value)
            continue;
        if (row->type == WG_SET_STRS)
            put_words(r, row->value, (struct wg_set_strs *)(base + row->at));
        else
            put_text(r, 0, row, row->value, base + row->at);
    }
}

static const struct wg_set_section *section_of(const char *name)
{
    for (const struct wg_set_section *s = wg_set_sections + 1; s->name; s++)
        if (strcmp(s->name, name) == 0)
            return s;
    return NULL;
}

static void unknown(struct wg_set_reader *r, config_setting_t *c, const struct wg_set_section *s)
{
    const char *name = config_setting_name(c);
    struct wg_nearest n = { 0 };

    n = (struct wg_nearest){ .word = name };
    for (const struct wg_set_row *row = s->rows; row->name; row++)
        wg_nearest(&n, row->name);
    for (const struct wg_set_section *t = wg_set_sections + 1; !*s->name && t->name; t++)
        wg_nearest(&n, t->name);
    wg_set_complain(r, (int)config_setting_source_line(c), "unknown setting '%s'%s%s%s", name,
             *s->name ? " in " : "", s->name, wg_nearest_hint(&n));
}

static void read_section(struct wg_set_reader *r, config_setting_t *group, const struct wg_set_section *s,
                         char *base);

static void read_list(struct wg_set_reader *r, config_setting_t *c, const struct wg_set_section *s)
{
    struct wg_set_list *list = (struct wg_set_list *)((char *)r->s + s->at);
    int n = config_setting_length(c);

    list->items = wg_alloc(wg_set_arena(r), (size_t)n * s->size + 1);
    if (!list->items) {
        wg_set_out_of_memory(r);
        return;
    }
    for (int i = 0; i < n; i++) {
        config_setting_t *item = config_setting_get_elem(c, (unsigned)i);

        if (!config_setting_is_group(item)) {
            wg_set_complain(r, (int)config_setting_source_line(item), "each entry of %s must be { ... }",
                     s->name);
            return;
        }
        read_section(r, item, s, (char *)list->items + s->size * list->n++);
    }
}

/* A subsection of the file's own level. */
static void read_named(struct wg_set_reader *r, config_setting_t *c)
{
    const struct wg_set_section *s = section_of(config_setting_name(c));

    if (!s)
        unknown(r, c, &wg_set_sections[0]);
    else if (s->list && (config_setting_is_list(c) || config_setting_is_array(c)))
        read_list(r, c, s);
    else if (!s->list && config_setting_is_group(c))
        read_section(r, c, s, (char *)r->s + s->at);
    else
        wg_set_complain(r, (int)config_setting_source_line(c), "%s must be %s", s->name,
                 s->list ? "( { ... }, ... )" : "{ ... }");
}

static void read_section(struct wg_set_reader *r, config_setting_t *group, const struct wg_set_section *s,
                         char *base)
{
    const char *outer = r->section;

    r->section = s->name;
    if (s->list)
        defaults(r, s, base);
    *(int *)base = (int)config_setting_source_line(group);
    for (int i = 0; i < config_setting_length(group); i++) {
        config_setting_t *c = config_setting_get_elem(group, (unsigned)i);
        const struct wg_set_row *row = s->rows;

        while (row->name && strcmp(row->name, config_setting_name(c)) != 0)
            row++;
        if (row->name)
            put(r, c, row, base + row->at);
        else if (*s->name)
            unknown(r, c, s);
        else
            read_named(r, c);
    }
    for (const struct wg_set_row *row = s->rows; row->name; row++)
        if (row->must && !config_setting_get_member(group, row->name))
            wg_set_complain(r, *(int *)base, "%s is missing in %s", row->name, s->name);
    r->section = outer;
}

/* Bytes of the comment that text begins with; 0 when it begins with none. */
static size_t comment(const char *text, size_t len)
{
    bool star = len > 1 && text[0] == '/' && text[1] == '*';
    const char *end;

    if (text[0] == '#' || (len > 1 && text[0] == '/' && text[1] == '/'))
        end = memchr(text, '\n', len);
    else if (star)
        end = memmem(text + 2, len - 2, "*/", 2);
    else
        return 0;
    return end ? (size_t)(end - text) + 1 + star : len;
}

/* Bytes of the string that begins at text with a quotation mark; len when it does not end. */
static size_t string(const char *text, size_t len, bool *ret_ends)
{
    size_t i = 1;

    while (i < len && text[i] != '"')
        i += text[i] == '\\' ? 2 : 1;
    *ret_ends = i < len;
    return i < len ? i + 1 : len;
}

/*
 * What libconfig must not see: its parser and destructor recurse, and it reads included files by
 * itself, past these checks. Returns what is wrong and where, or NULL.
 */
static const char *unfit(const char *text, size_t len, const char **ret_at)
{
    bool ends = true;
    int depth = 0;
    size_t n;

    *ret_at = memchr(text, '\0', len);
    if (*ret_at)
        return "it holds a NUL byte";
    for (size_t i = 0; i < len; i += n) {
        *ret_at = text + i;
        n = comment(text + i, len - i);
        if (n)
            continue;
        n = text[i] == '"' ? string(text + i, len - i, &ends) : 1;
        if (!ends)
            return "the string that begins here has no end";
        if (strchr("({[", text[i]) && ++depth > NESTING_MAX)
            return "groups are nested more than 32 deep";
        if (strchr(")}]", text[i]) && depth > 0)
            depth--;
        if (len - i >= 8 && strncasecmp(text + i, "@include", 8) == 0)
            return "@include is not supported";
    }
    return NULL;
}

/*
 * libconfig loses the memory of a string that stands where its grammar has none. So mistakes of
 * the grammar are looked for without strings: each, or several side by side, becomes one number.
 * Lines stay where they are. to has room for twice len bytes.
 */
static void without_strings(const char *text, size_t len, char *to)
{
    bool ends, follows = false;
    size_t n;

    for (size_t i = 0; i < len; i += n) {
        n = comment(text + i, len - i);
        if (!n)
            n = text[i] == '"' ? string(text + i, len - i, &ends) : 1;
        if (text[i] != '"') {
            follows = follows && (n > 1 || strchr(" \t\r\n\f", text[i]));
            memcpy(to, text + i, n);
            to += n;
            continue;
        }
        if (!follows)
            to = stpcpy(to, " 0 ");
        for (size_t k = 0; k < n; k++)
            if (text[i + k] == '\n')
                *to++ = '\n';
        follows = true;
    }
    *to = '\0';
}

static int line_of(const char *text, const char *at)
{
    int line = 1;

    for (; at && text < at; text++)
        line += *text == '\n';
    return line;
}

/* Before the rest is read: what names translators needs them. */
static void read_module_path(struct wg_set_reader *r, config_setting_t *root)
{
    const struct wg_set_row *row = wg_set_sections[0].rows;
    config_setting_t *c = config_setting_get_member(root, "module-path");

    while (strcmp(row->name, "module-path") != 0)
        row++;
    if (!c || r->errors)
        return;
    put(r, c, row, (char *)r->s + row->at);
    for (unsigned i = 0; i < r->s->module_path.n && !r->errors; i++)
        if (wg_module_path_add(r->s->module_path.s[i]))
            wg_set_complain(r, (int)config_setting_source_line(c), "module-path has too many directories");
}

static struct wg_settings *settings_new(const char *file)
{
    struct wg_settings *s = calloc(1, sizeof *s);
    struct priv *p = calloc(1, sizeof *p);
    char *full = realpath(file, NULL);

    if (!full)
        full = realpath(".", NULL);
    else if (strrchr(full, '/') != full)
        *strrchr(full, '/') = '\0';
    if (!s || !p || !full) {
        free(s);
        free(p);
        free(full);
        return NULL;
    }
    wg_arena_init(&p->arena, NULL, 0);
    p->directory = full;
    s->priv = p;
    s->file = wg_memdup(&p->arena, file, strlen(file));
    return s;
}

struct wg_settings *wg_settings_parse(const char *file, const char *text, size_t len,
                                      wg_set_error *err, void *arg)
{
    struct wg_set_reader r = { .s = settings_new(file), .err = err, .arg = arg, .section = "" };
    const char *wrong, *at = NULL;
    config_t config;
    char *copy, *bare;
    bool ok;

    if (!r.s) {
        err(arg, "out of memory");
        return NULL;
    }
    wrong = len > FILE_MAX ? "the file is larger than 1 MiB" : unfit(text, len, &at);
    copy = wrong ? NULL : wg_memdup(wg_set_arena(&r), text, len);
    bare = copy ? malloc(2 * len + 4) : NULL;
    if (!bare) {
        wg_set_complain(&r, line_of(text, at), "%s", wrong ? wrong : "out of memory");
        wg_settings_free(r.s);
        return NULL;
    }
    without_strings(text, len, bare);
    config_init(&config);
    ok = config_read_string(&config, bare);
    free(bare);
    if (ok) {
        config_destroy(&config);
        config_init(&config);
        ok = config_read_string(&config, copy);
    }
    if (!ok) {
        wg_set_complain(&r, config_error_line(&config), "%s", config_error_text(&config));
    } else {
        for (const struct wg_set_section *s = wg_set_sections; s->name; s++)
            if (!s->list)
                defaults(&r, s, (char *)r.s + s->at);
        read_module_path(&r, config_root_setting(&config));
        read_section(&r, config_root_setting(&config), &wg_set_sections[0], (char *)r.s);
    }
    config_destroy(&config);
    if (r.errors) {
        wg_settings_free(r.s);
        return NULL;
    }
    return r.s;
}

struct wg_settings *wg_settings_load(const char *file, wg_set_error *err, void *arg)
{
    char message[PATH_MAX + 100], *text = malloc(FILE_MAX + 2);
    FILE *f = text ? fopen(file, "re") : NULL;
    struct wg_settings *s = NULL;
    size_t len;

    len = f ? fread(text, 1, FILE_MAX + 1, f) : 0;
    if (!f || ferror(f)) {
        snprintf(message, sizeof message, "configuration file %s: %s; --config FILE names another", file,
                 strerror(errno));
        err(arg, message);
    } else {
        s = wg_settings_parse(file, text, len, err, arg);
    }
    if (f)
        fclose(f);
    free(text);
    return s;
}

void wg_settings_free(struct wg_settings *s)
{
    struct priv *p = s ? s->priv : NULL;

    if (!s)
        return;
    wg_arena_fini(&p->arena);
    free(p->directory);
    free(p);
    free(s);
}

void wg_settings_complain(void *arg, const char *text)
{
    (void)arg;
    fprintf(stderr, "windgate: %s\n", text);
}

void wg_settings_log(void *arg, const char *text)
{
    (void)arg;
    wg_error("%s", text);
}

char *wg_settings_quote(const char *text)
{
    char *quoted = malloc(strlen(text) * 4 + 3), *at = quoted;

    if (!quoted)
        return NULL;
    *at++ = '"';
    for (; *text; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            at += sprintf(at, "\\x%02x", (unsigned char)*text);
        else if (*text == '"' || *text == '\\')
            *at++ = '\\', *at++ = *text;
        else
            *at++ = *text;
    }
    *at++ = '"';
    *at = '\0';
    return quoted;
}
