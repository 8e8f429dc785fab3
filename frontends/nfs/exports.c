/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "exports.h"

/* Where mistakes in a configuration go. */
struct report {
    void (*fn)(void *arg, const char *text);
    void *arg;
    bool bad;
};

__attribute__((format(printf, 2, 3))) static void report(struct report *r, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    r->bad = true;
    r->fn(r->arg, text);
}

void nfs_normal_path(const char *path, char *out)
{
    char *o = out;

    while (*path) {
        while (*path == '/')
            path++;
        if (!*path)
            break;
        *o++ = '/';
        while (*path && *path != '/')
            *o++ = *path++;
    }
    if (o == out)
        *o++ = '/';
    *o = '\0';
}

static char *normal_copy(const char *path)
{
    char *copy = malloc(strlen(path) + 2);

    if (copy)
        nfs_normal_path(path, copy);
    return copy;
}

/* --- rules --- */

/* "*", or an address with or without "/bits". */
static bool parse_network(const char *text, struct in6_addr *net, unsigned *bits)
{
    char addr[INET6_ADDRSTRLEN + 1];
    const char *slash = strchr(text, '/');
    size_t len = slash ? (size_t)(slash - text) : strlen(text);
    unsigned max = 128, shift = 0;
    char *end = NULL;
    unsigned long n;

    memset(net, 0, sizeof *net);
    *bits = 0;
    if (strcmp(text, "*") == 0)
        return true;
    if (len == 0 || len >= sizeof addr)
        return false;
    memcpy(addr, text, len);
    addr[len] = '\0';
    if (inet_pton(AF_INET, addr, &net->s6_addr[12]) == 1) {
        net->s6_addr[10] = net->s6_addr[11] = 0xff;
        max = 32;
        shift = 96;
    } else if (inet_pton(AF_INET6, addr, net) != 1) {
        return false;
    }
    n = slash ? strtoul(slash + 1, &end, 10) : max;
    if (slash && (end == slash + 1 || *end || slash[1] < '0' || slash[1] > '9'))
        return false;
    *bits = (unsigned)n + shift;
    return n <= max;
}

bool wg_nfs_clients_ok(const char *text)
{
    struct in6_addr net;
    unsigned bits;

    return parse_network(text, &net, &bits);
}

static bool in_network(const struct nfs_rule *r, const struct in6_addr *a)
{
    unsigned bytes = r->bits / 8, rest = r->bits % 8;

    if (memcmp(a->s6_addr, r->net.s6_addr, bytes) != 0)
        return false;
    return rest == 0 || ((a->s6_addr[bytes] ^ r->net.s6_addr[bytes]) >> (8 - rest)) == 0;
}

const struct nfs_rule *nfs_rule_for(const struct nfs_export *e, const struct in6_addr *addr)
{
    for (unsigned i = 0; i < e->nrules; i++)
        if (in_network(&e->rules[i], addr))
            return &e->rules[i];
    return NULL;
}

static int copy_rules(const struct wg_nfs_export *from, struct nfs_export *to, struct report *rep)
{
    to->rules = calloc(from->nrules ? from->nrules : 1, sizeof *to->rules);
    if (!to->rules)
        return ENOMEM;
    for (unsigned i = 0; i < from->nrules; i++) {
        const struct wg_nfs_rule *f = &from->rules[i];
        struct nfs_rule *r = &to->rules[i];

        r->clients = strdup(f->clients ? f->clients : "*");
        if (!r->clients)
            return ENOMEM;
        to->nrules++;
        if (!parse_network(r->clients, &r->net, &r->bits))
            report(rep, "export \"%s\": clients \"%s\" is neither \"*\" nor an address nor a "
                        "network (10.0.0.0/8)", from->path, r->clients);
        r->read_only = f->read_only;
        r->privileged_port = f->privileged_port;
        r->allow_none = f->allow_none;
        r->squash = f->squash;
        r->anon_uid = f->anon_uid;
        r->anon_gid = f->anon_gid;
    }
    return 0;
}

/* --- the table --- */

static int copy_volume(const struct wg_nfs_volume *from, struct nfs_volume *to)
{
    uint64_t fsid;

    to->name = strdup(from->name ? from->name : "");
    memcpy(to->id, from->id, sizeof to->id);
    memcpy(to->key, from->key, sizeof to->key);
    memcpy(&fsid, from->id, sizeof fsid);
    to->ids = (struct nfs3_ids){ be64toh(fsid), from->fileid32 };
    to->volume = from->volume;
    return to->name ? 0 : ENOMEM;
}

/* The id in handles depends on the path only, so that it is the same on every gateway. */
static bool hash_path(const char *path, uint32_t *ret)
{
    static const char fixed_key[NFS_KEY] = "windgate-exports";
    struct wg_str part = wg_str_of(path);
    uint8_t mac[NFS_MAC];

    if (!nfs_mac((const uint8_t *)fixed_key, &part, 1, mac))
        return false;
    memcpy(ret, mac, sizeof *ret);
    *ret = be32toh(*ret);
    return true;
}

static int copy_export(const struct wg_nfs_export *from, struct nfs_exports *t, struct report *rep)
{
    struct nfs_export *e = &t->exports[t->nexports++];

    if (!from->path || from->path[0] != '/') {
        report(rep, "export \"%s\": a path begins with '/'", from->path ? from->path : "");
        return 0;
    }
    if (from->volume >= t->nvolumes) {
        report(rep, "export \"%s\": there is no volume %u", from->path, from->volume);
        return 0;
    }
    e->volume = &t->volumes[from->volume];
    e->path = normal_copy(from->path);
    e->dir = normal_copy(from->dir ? from->dir : "/");
    if (!e->path || !e->dir || !hash_path(e->path, &e->id))
        return ENOMEM;
    if (strlen(e->path) > 1024)
        report(rep, "export \"%.64s...\": longer than 1024 bytes, the limit of MOUNT", e->path);
    for (unsigned i = 0; i + 1 < t->nexports; i++)
        if (t->exports[i].path && t->exports[i].id == e->id)
            report(rep, "exports \"%s\" and \"%s\" are the same", t->exports[i].path, e->path);
    if (strcmp(e->dir, "/") == 0)
        nfs_export_set_root(e, WG_ROOT_GFID);
    return copy_rules(from, e, rep);
}

static void free_table(struct nfs_exports *t)
{
    for (unsigned i = 0; i < t->nexports; i++) {
        for (unsigned k = 0; k < t->exports[i].nrules; k++)
            free(t->exports[i].rules[k].clients);
        free(t->exports[i].rules);
        free(t->exports[i].path);
        free(t->exports[i].dir);
    }
    for (unsigned i = 0; i < t->nvolumes; i++)
        free(t->volumes[i].name);
    free(t->exports);
    free(t->volumes);
    free(t);
}

struct nfs_exports *nfs_exports_new(const struct wg_nfs_config *config,
                                    void (*err)(void *arg, const char *text), void *arg)
{
    struct report rep = { err, arg, false };
    struct nfs_exports *t = calloc(1, sizeof *t);
    int no_memory = !t;

    if (t) {
        atomic_init(&t->refs, 1);
        t->timeout_ms = config->call_timeout_ms ? config->call_timeout_ms : 30000;
        t->volumes = calloc(config->nvolumes + 1, sizeof *t->volumes);
        t->exports = calloc(config->nexports + 1, sizeof *t->exports);
        no_memory = !t->volumes || !t->exports;
    }
    for (unsigned i = 0; !no_memory && i < config->nvolumes; i++, t->nvolumes++)
        no_memory = copy_volume(&config->volumes[i], &t->volumes[i]);
    for (unsigned i = 0; !no_memory && i < config->nexports; i++)
        no_memory = copy_export(&config->exports[i], t, &rep);
    if (no_memory)
        report(&rep, "out of memory");
    if (rep.bad && t) {
        free_table(t);
        t = NULL;
    }
    return t;
}

void nfs_exports_unref(struct nfs_exports *t)
{
    if (t && atomic_fetch_sub(&t->refs, 1) == 1)
        free_table(t);
}

/*
 * The current table. Each thread keeps a reference of the one it used last, so that taking it
 * again costs one comparison: what it compares with can't be freed and made anew meanwhile.
 */
static pthread_mutex_t current_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(struct nfs_exports *) current;
static pthread_key_t thread_end;
static pthread_once_t thread_once = PTHREAD_ONCE_INIT;

static void thread_ends(void *t)
{
    nfs_exports_unref(t);
}

static void make_key(void)
{
    pthread_key_create(&thread_end, thread_ends);
}

void nfs_exports_set(struct nfs_exports *t)
{
    struct nfs_exports *old;

    pthread_mutex_lock(&current_lock);
    old = atomic_exchange(&current, t);
    pthread_mutex_unlock(&current_lock);
    nfs_exports_unref(old);
}

struct nfs_exports *nfs_exports_get(void)
{
    static __thread struct nfs_exports *mine;

    if (mine != atomic_load_explicit(&current, memory_order_acquire)) {
        pthread_once(&thread_once, make_key);
        nfs_exports_unref(mine);
        pthread_mutex_lock(&current_lock);
        mine = current;
        if (mine)
            atomic_fetch_add(&mine->refs, 1);
        pthread_mutex_unlock(&current_lock);
        pthread_setspecific(thread_end, mine);
    }
    if (mine)
        atomic_fetch_add_explicit(&mine->refs, 1, memory_order_relaxed);
    return mine;
}

/* --- paths --- */

struct nfs_export *nfs_export_of_path(const struct nfs_exports *t, const char *path,
                                      const char **ret_rest)
{
    struct nfs_export *best = NULL;
    size_t best_len = 0;

    for (unsigned i = 0; i < t->nexports; i++) {
        struct nfs_export *e = &t->exports[i];
        size_t len = strcmp(e->path, "/") == 0 ? 0 : strlen(e->path);

        if (strncmp(path, e->path, len) != 0 || (path[len] != '/' && path[len] != '\0'))
            continue;
        if (!best || len > best_len) {
            best = e;
            best_len = len;
        }
    }
    if (best)
        *ret_rest = path + best_len;
    return best;
}

void nfs_export_set_root(struct nfs_export *e, wg_gfid root)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

    /* The first answer stays: handles of clients are measured against it. */
    pthread_mutex_lock(&lock);
    if (!atomic_load(&e->root_known)) {
        e->root = root;
        atomic_store(&e->root_known, true);
    }
    pthread_mutex_unlock(&lock);
}

int nfs_export_is_root(const struct nfs_export *e, wg_gfid g, bool *ret)
{
    if (!atomic_load(&e->root_known))
        return EAGAIN;
    *ret = wg_gfid_eq(e->root, g);
    return 0;
}
