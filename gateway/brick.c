/* SPDX-License-Identifier: Apache-2.0 */
/* A brick server: one graph, whose top listens for gateways. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "appliance.h"
#include "command.h"
#include "daemon.h"
#include "log.h"
#include "process.h"
#include "transport.h"
#include "volgen.h"
#include "volume.h"
#include "work.h"

#define WG_LOG_PART "brick"

struct brick {
    struct wg_settings *s;
    const struct wg_appliance_run *run;
    struct wg_volume *volume;
    struct wg_process process;
    pthread_mutex_t lock; /* s, against the control socket's thread */
};

static void status(cJSON *answer, void *arg)
{
    struct brick *b = arg;

    pthread_mutex_lock(&b->lock);
    cJSON_AddStringToObject(answer, "brick", b->s->brick.name);
    cJSON_AddStringToObject(answer, "volume", b->s->brick.volume);
    cJSON_AddStringToObject(answer, "directory", b->s->brick.directory);
    cJSON_AddStringToObject(answer, "listen", b->s->brick.listen);
    pthread_mutex_unlock(&b->lock);
}

/* The graph that new settings make, when it differs from that of the old ones; else the old stays, as it is. */
static int change_graph(struct brick *b, const struct wg_settings *s)
{
    char *was = wg_volgen_brick(b->s), *now = wg_volgen_brick(s), why[300];
    bool same = was && now && strcmp(was, now) == 0;
    struct wg_graph *g;
    int err;

    free(was);
    free(now);
    if (same)
        return 0;
    if (strcmp(s->brick.volume, b->s->brick.volume) != 0) {
        wg_error("%s:%d: the volume of a brick can't change", s->file, s->brick.line);
        return EINVAL;
    }
    g = wg_volgen_brick_graph(s, wg_settings_log, NULL);
    if (!g)
        return EINVAL;
    err = wg_volume_change(b->volume, g, why, sizeof why);
    if (err)
        wg_error("%s:%d: the brick stays as it is: %s", s->file, s->brick.line, why);
    return err;
}

/* SIGHUP. What can't be taken stays as it was, and the log says so. */
static void reload(void *arg)
{
    struct brick *b = arg;
    struct wg_settings *s = b->run->again ? b->run->again(b->run->arg) : NULL, *old = b->s;
    int failed = wg_volume_reload(b->volume);

    wg_process_logs(s ? s : b->s);
    if (!s || change_graph(b, s)) {
        wg_settings_free(s);
        return;
    }
    pthread_mutex_lock(&b->lock);
    b->s = s;
    pthread_mutex_unlock(&b->lock);
    wg_settings_free(old);
    if (!failed)
        wg_notice("reloaded");
}

static int up(struct brick *b)
{
    int err = wg_work_start(0);
    struct wg_graph *g;

    if (err)
        return err;
    wg_transport_register_dump();
    g = wg_volgen_brick_graph(b->s, wg_settings_complain, NULL);
    if (!g)
        return EINVAL;
    err = wg_volume_start(b->s->brick.volume, g, &b->volume);
    if (err)
        return err;
    b->process = (struct wg_process){ .role = "brick", .status = status, .arg = b };
    return wg_process_control(&b->process, b->run->control ? b->run->control : b->s->control);
}

int wg_brick_run(struct wg_settings *s, const struct wg_appliance_run *run)
{
    struct brick b = { .s = s, .run = run, .lock = PTHREAD_MUTEX_INITIALIZER };
    int err, sig;

    err = wg_daemon_begin(s->descriptors);
    if (!err)
        err = wg_process_logs(s);
    if (!err)
        err = up(&b);
    if (!err) {
        wg_notice("brick %s serves %s at %s", s->brick.name, s->brick.directory, s->brick.listen);
        sig = wg_daemon_wait(reload, &b);
        wg_notice("stopping on %s", strsignal(sig));
    }
    wg_daemon_stopping(b.s->drain_ms + 5000);
    wg_control_stop(); /* its dumps look into the graph */
    wg_volumes_drain();
    wg_volumes_stop(b.s->drain_ms); /* the server's stop ends its connections and waits for calls */
    wg_work_stop();
    wg_settings_free(b.s);
    if (!err)
        wg_notice("stopped");
    return err ? WG_EXIT_FAILED : WG_EXIT_OK;
}
