/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order of starting: logs, workers, graphs from below, front doors, control socket, READY; of
 * stopping: front doors first, so that no new call comes, then calls under way, then graphs.
 */
#include "appliance.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "co.h"
#include "command.h"
#include "daemon.h"
#include "frontends/nfs/nfs.h"
#include "frontends/s3/server.h"
#include "log.h"
#include "process.h"
#include "transport.h"
#include "volgen.h"
#include "volume.h"
#include "volumes.h"
#include "work.h"

#define WG_LOG_PART "gateway"

/* Configuration of the front doors, as made from settings; the memory behind it. */
struct doors {
    struct wg_nfs_config nfs;
    struct wg_nfs_volume *volumes;
    struct wg_nfs_export *exports;
    struct wg_nfs_rule *rules;
    struct wg_s3_config s3;
    struct wg_s3_volume *buckets; /* the volumes of s3.volumes */
    char http[300], https[300], users[4096];
};

struct appliance {
    struct wg_settings *s;
    const struct wg_appliance_run *run;
    uint8_t key[16];
    struct doors *doors;
    struct wg_s3 *s3;
    bool nfs_up;
    struct wg_process process;
    pthread_mutex_t lock; /* s, against the control socket's thread */
};

static unsigned volume_index(const struct wg_settings *s, const char *name)
{
    const struct wg_set_volume *v = s->volumes.items;
    unsigned i = 0;

    while (name && i < s->volumes.n && strcmp(v[i].name, name) != 0)
        i++;
    return name ? i : 0;
}

static const char *s3_volume(const struct wg_settings *s)
{
    const struct wg_set_volume *v = s->volumes.items;

    return s->s3.volume ? s->s3.volume : v[0].name;
}

static enum wg_nfs_squash squash_of(const char *word)
{
    return strcmp(word, "none") == 0 ? WG_SQUASH_NONE
         : strcmp(word, "all") == 0 ? WG_SQUASH_ALL : WG_SQUASH_ROOT;
}

static void doors_free(struct doors *d)
{
    if (!d)
        return;
    free(d->volumes);
    free(d->exports);
    free(d->rules);
    free(d->buckets);
    free(d);
}

static unsigned count_rules(const struct wg_settings *s)
{
    const struct wg_set_export *e = s->exports.items;
    unsigned n = 0;

    for (unsigned i = 0; i < s->exports.n; i++)
        n += e[i].clients.n;
    return n;
}

static void fill_exports(struct doors *d, const struct wg_settings *s)
{
    const struct wg_set_export *e = s->exports.items;
    struct wg_nfs_rule *rule = d->rules;

    for (unsigned i = 0; i < s->exports.n; i++) {
        d->exports[i] = (struct wg_nfs_export){
            .path = e[i].path, .dir = e[i].directory, .volume = volume_index(s, e[i].volume),
            .rules = rule, .nrules = e[i].clients.n,
        };
        for (unsigned j = 0; j < e[i].clients.n; j++)
            *rule++ = (struct wg_nfs_rule){
                .clients = e[i].clients.s[j], .read_only = e[i].read_only,
                .privileged_port = e[i].privileged_port, .allow_none = e[i].allow_none,
                .squash = squash_of(e[i].squash), .anon_uid = (uint32_t)e[i].anon_uid,
                .anon_gid = (uint32_t)e[i].anon_gid,
            };
    }
}

static int fill_volumes(struct doors *d, const struct appliance *a, const struct wg_settings *s)
{
    const struct wg_set_volume *v = s->volumes.items;

    for (unsigned i = 0; i < s->volumes.n; i++) {
        d->volumes[i] = (struct wg_nfs_volume){
            .name = v[i].name, .volume = wg_volume_find(v[i].name), .fileid32 = s->nfs.fileid32,
        };
        memcpy(d->volumes[i].key, a->key, sizeof a->key);
        if (wg_volgen_id(v[i].name, v[i].id, d->volumes[i].id)) {
            wg_error("%s:%d: volume %s: id '%s' is no UUID", s->file, v[i].line, v[i].name, v[i].id);
            return EINVAL;
        }
    }
    return 0;
}

static void fill_nfs(struct doors *d, const struct wg_settings *s)
{
    d->nfs = (struct wg_nfs_config){
        .listen = s->nfs.listen.s, .nlisten = s->nfs.listen.n,
        .nfs_port = (uint16_t)s->nfs.port, .mount_port = (uint16_t)s->nfs.mount_port,
        .mount_udp = s->nfs.mount_udp, .rpcbind = s->nfs.rpcbind,
        .volumes = d->volumes, .nvolumes = s->volumes.n,
        .exports = d->exports, .nexports = s->exports.n,
        .max_connections = (unsigned)s->nfs.connections,
        .call_timeout_ms = (unsigned)s->nfs.timeout_ms,
    };
}

static void address(char *ret, size_t size, const char *host, int64_t port)
{
    if (!host)
        snprintf(ret, size, "%d", (int)port);
    else if (strchr(host, ':') && host[0] != '[')
        snprintf(ret, size, "[%s]:%d", host, (int)port);
    else
        snprintf(ret, size, "%s:%d", host, (int)port);
}

static bool has_volume(const struct wg_s3_volume *v, unsigned n, const char *name)
{
    for (unsigned i = 0; i < n; i++)
        if (strcmp(v[i].name, name) == 0)
            return true;
    return false;
}

static void fill_s3(struct doors *d, const struct wg_settings *s)
{
    const struct wg_set_s3 *c = &s->s3;
    unsigned first = volume_index(s, c->volume), more = 0;

    address(d->http, sizeof d->http, c->listen, c->port);
    address(d->https, sizeof d->https, c->listen, c->tls_port);
    snprintf(d->users, sizeof d->users, "%s%s", c->users ? c->users : s->state,
             c->users ? "" : "/users.db");
    for (unsigned i = 0; i < c->volumes.n; i++) {
        unsigned v = volume_index(s, c->volumes.s[i]);

        if (v != first && !has_volume(d->buckets, more, c->volumes.s[i]))
            d->buckets[more++] = (struct wg_s3_volume){ c->volumes.s[i], wg_volume_find(c->volumes.s[i]) };
    }
    d->s3 = (struct wg_s3_config){
        .volume = wg_volume_find(((const struct wg_set_volume *)s->volumes.items)[first].name),
        .volume_name = ((const struct wg_set_volume *)s->volumes.items)[first].name,
        .more = d->buckets, .nmore = more,
        .http = c->port ? d->http : NULL, .https = c->tls_port ? d->https : NULL,
        .cert_file = c->certificate ? c->certificate : s->tls.certificate,
        .key_file = c->key ? c->key : s->tls.key,
        .region = c->region, .domains = c->domains.s, .ndomains = c->domains.n,
        .users_file = d->users, .max_connections = (unsigned)c->connections,
    };
}

/* What the front doors are to do, by settings s over the graphs of a. NULL after a message. */
static struct doors *doors_new(const struct appliance *a, const struct wg_settings *s)
{
    struct doors *d = calloc(1, sizeof *d);

    if (d) {
        d->volumes = calloc(s->volumes.n + 1, sizeof *d->volumes);
        d->exports = calloc(s->exports.n + 1, sizeof *d->exports);
        d->rules = calloc(count_rules(s) + 1, sizeof *d->rules);
    }
    if (d)
        d->buckets = calloc(s->s3.volumes.n + 1, sizeof *d->buckets);
    if (!d || !d->volumes || !d->exports || !d->rules || !d->buckets) {
        wg_error("out of memory");
        doors_free(d);
        return NULL;
    }
    if (fill_volumes(d, a, s)) {
        doors_free(d);
        return NULL;
    }
    fill_exports(d, s);
    fill_nfs(d, s);
    fill_s3(d, s);
    return d;
}

static int doors_up(struct appliance *a)
{
    int err = 0;

    a->doors = doors_new(a, a->s);
    if (!a->doors)
        return EINVAL;
    if (a->s->nfs.enabled) {
        err = wg_nfs_start(&a->doors->nfs);
        a->nfs_up = !err;
    }
    if (!err && a->s->s3.enabled)
        err = wg_s3_start(&a->doors->s3, &a->s3);
    return err;
}

static struct wg_appliance_ports ports(const struct appliance *a)
{
    struct wg_appliance_ports p = { 0 };

    if (a->nfs_up)
        wg_nfs_ports(&p.nfs, &p.mount);
    if (a->s3) {
        p.http = wg_s3_port(a->s3, false);
        p.https = wg_s3_port(a->s3, true);
    }
    return p;
}

/* On the control socket's thread. A door that is being stopped is gone before: the lock. */
static void status(cJSON *answer, void *arg)
{
    struct appliance *a = arg;
    struct wg_appliance_ports p;
    const struct wg_set_volume *v;
    const struct wg_set_export *e;
    struct wg_nfs_counts nfs;
    struct wg_s3_counts s3;
    cJSON *list, *door;

    pthread_mutex_lock(&a->lock);
    p = ports(a);
    v = a->s->volumes.items;
    e = a->s->exports.items;
    list = cJSON_AddArrayToObject(answer, "volumes");
    for (unsigned i = 0; i < a->s->volumes.n; i++) {
        cJSON *item = cJSON_CreateObject();
        const struct wg_set_remote *b = v[i].brick ? wg_settings_remote(a->s, v[i].brick) : NULL;

        cJSON_AddStringToObject(item, "name", v[i].name);
        cJSON_AddStringToObject(item, b ? "brick" : "directory", b ? b->address : v[i].directory);
        cJSON_AddItemToArray(list, item);
    }
    list = cJSON_AddArrayToObject(answer, "exports");
    for (unsigned i = 0; i < a->s->exports.n; i++)
        cJSON_AddItemToArray(list, cJSON_CreateString(e[i].path));
    if (a->nfs_up) {
        door = cJSON_AddObjectToObject(answer, "nfs");
        cJSON_AddNumberToObject(door, "port", p.nfs);
        cJSON_AddNumberToObject(door, "mount_port", p.mount);
        wg_nfs_counts(&nfs);
        cJSON_AddNumberToObject(door, "connections", (double)nfs.connections);
        cJSON_AddNumberToObject(door, "requests", (double)nfs.requests);
        cJSON_AddNumberToObject(door, "bytes_in", (double)nfs.bytes_in);
        cJSON_AddNumberToObject(door, "bytes_out", (double)nfs.bytes_out);
    }
    if (a->s3) {
        door = cJSON_AddObjectToObject(answer, "s3");
        cJSON_AddNumberToObject(door, "http_port", p.http);
        cJSON_AddNumberToObject(door, "https_port", p.https);
        wg_s3_counts(a->s3, &s3);
        cJSON_AddNumberToObject(door, "connections", (double)s3.connections);
        cJSON_AddNumberToObject(door, "requests", (double)s3.requests);
        cJSON_AddNumberToObject(door, "errors", (double)s3.errors);
        cJSON_AddNumberToObject(door, "bytes_in", (double)s3.bytes_in);
        cJSON_AddNumberToObject(door, "bytes_out", (double)s3.bytes_out);
    }
    pthread_mutex_unlock(&a->lock);
}

/* The front doors by the new settings, over volumes that are there already. */
static int change_doors(struct appliance *a, struct wg_settings *s)
{
    struct doors *d = doors_new(a, s);

    if (!d || (a->nfs_up && wg_nfs_reload(&d->nfs))) {
        doors_free(d);
        return EINVAL;
    }
    doors_free(a->doors);
    a->doors = d;
    return 0;
}

static bool same_buckets(const struct wg_settings *a, const struct wg_settings *b)
{
    bool same = strcmp(s3_volume(a), s3_volume(b)) == 0 && a->s3.volumes.n == b->s3.volumes.n;

    for (unsigned i = 0; same && i < a->s3.volumes.n; i++)
        same = strcmp(a->s3.volumes.s[i], b->s3.volumes.s[i]) == 0;
    return same;
}

static int change(struct appliance *a, struct wg_settings *s)
{
    int err;

    if (a->s3 && !same_buckets(a->s, s)) {
        wg_error("%s:%d: the volumes of S3 can't change while it runs", s->file, s->s3.line);
        return EBUSY;
    }
    err = wg_volumes_apply(a->s, s);
    if (err)
        return err;
    err = change_doors(a, s);
    if (!err)
        wg_volumes_close(a->s, s);
    else if (wg_volumes_apply(s, a->s) == 0)
        wg_volumes_close(s, a->s);
    return err;
}

/* SIGHUP. What can't be taken stays as it was, and the log says so. */
static void reload(void *arg)
{
    struct appliance *a = arg;
    struct wg_settings *s = a->run->again ? a->run->again(a->run->arg) : NULL, *old = a->s;
    const struct wg_set_volume *v = old->volumes.items;

    for (unsigned i = 0; i < old->volumes.n; i++)
        wg_volume_reload(wg_volume_find(v[i].name));
    if (a->s3)
        wg_s3_reload(a->s3);
    if (!s || wg_settings_check_gateway(s, wg_settings_log, NULL)) {
        wg_process_logs(a->s); /* reopens the log file all the same */
        wg_settings_free(s);
        return;
    }
    wg_process_logs(s);
    if (change(a, s)) {
        wg_settings_free(s);
        return;
    }
    pthread_mutex_lock(&a->lock);
    a->s = s;
    pthread_mutex_unlock(&a->lock);
    wg_settings_free(old);
    wg_notice("reloaded");
}

static int stop(struct appliance *a)
{
    unsigned drain = (unsigned)a->s->drain_ms;
    struct wg_s3 *s3;
    bool nfs_up;
    int err = 0;

    wg_daemon_stopping(a->s->drain_ms + 5000);
    wg_volumes_drain();
    pthread_mutex_lock(&a->lock); /* status() asks no door from here on */
    s3 = a->s3;
    nfs_up = a->nfs_up;
    a->s3 = NULL;
    a->nfs_up = false;
    pthread_mutex_unlock(&a->lock);
    if (nfs_up)
        err = wg_nfs_stop(drain);
    if (s3)
        wg_s3_stop(s3, drain);
    wg_co_cancel_all(); /* flows that no client waits for any more */
    if (err || wg_process_drain(a->s->drain_ms)) {
        wg_error("%u calls are still under way after %u ms: stopped without them",
                 wg_calls_live(), drain);
        _Exit(WG_EXIT_FAILED); /* their threads run on, so memory can't be freed in order */
    }
    wg_control_stop();
    wg_volumes_stop(a->s->drain_ms);
    wg_work_stop();
    return 0;
}

static int up(struct appliance *a)
{
    char path[4096];
    int err = wg_work_start(0);

    if (err)
        return err;
    wg_transport_register_dump();
    err = wg_volumes_apply(NULL, a->s);
    /* After the graphs: with serve, the state is inside the store's private directory. */
    if (!err)
        err = wg_process_directory(a->s->state);
    snprintf(path, sizeof path, "%s/handle.key", a->s->state);
    if (!err)
        err = wg_nfs_key_file(path, a->key);
    if (!err && a->run->prepare)
        err = a->run->prepare(a->run->arg, a->s);
    if (!err)
        err = doors_up(a);
    a->process = (struct wg_process){ .role = a->run->role, .status = status, .arg = a };
    if (!err)
        err = wg_process_control(&a->process, a->run->control ? a->run->control : a->s->control);
    return err;
}

int wg_appliance_run(struct wg_settings *s, const struct wg_appliance_run *run)
{
    struct appliance a = { .s = s, .run = run, .lock = PTHREAD_MUTEX_INITIALIZER };
    struct wg_appliance_ports p;
    int err, sig;

    err = wg_daemon_begin(s->descriptors);
    if (!err)
        err = wg_process_logs(s);
    if (!err)
        err = up(&a);
    if (!err) {
        p = ports(&a);
        if (run->ready)
            run->ready(run->arg, a.s, &p);
        wg_notice("%s serves", run->role);
        sig = wg_daemon_wait(reload, &a);
        wg_notice("stopping on %s", strsignal(sig));
    }
    stop(&a);
    doors_free(a.doors);
    wg_settings_free(a.s);
    if (!err)
        wg_notice("stopped");
    return err ? WG_EXIT_FAILED : WG_EXIT_OK;
}
