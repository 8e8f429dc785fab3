/* SPDX-License-Identifier: Apache-2.0 */
/* A brick server: one graph, whose top listens for gateways. */
#include <errno.h>
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
#include "work.h"

#define WG_LOG_PART "brick"

struct brick {
    struct wg_settings *s;
    const struct wg_appliance_run *run;
    struct wg_graph *graph;
    struct wg_process process;
};

static void status(cJSON *answer, void *arg)
{
    const struct brick *b = arg;

    cJSON_AddStringToObject(answer, "brick", b->s->brick.name);
    cJSON_AddStringToObject(answer, "volume", b->s->brick.volume);
    cJSON_AddStringToObject(answer, "directory", b->s->brick.directory);
    cJSON_AddStringToObject(answer, "listen", b->s->brick.listen);
}

static void reload(void *arg)
{
    struct brick *b = arg;
    struct wg_settings *s = b->run->again ? b->run->again(b->run->arg) : NULL;

    wg_process_logs(s ? s : b->s);
    wg_settings_free(s);
    if (wg_process_graph_reload(b->graph) == 0)
        wg_notice("reloaded");
}

static int up(struct brick *b)
{
    int err = wg_work_start(0);

    if (err)
        return err;
    wg_transport_register_dump();
    b->graph = wg_volgen_brick_graph(b->s, wg_settings_complain, NULL);
    if (!b->graph)
        return EINVAL;
    err = wg_process_graph_up(&b->graph);
    if (err)
        return err;
    b->process = (struct wg_process){ .role = "brick", .graphs = &b->graph, .ngraphs = 1,
                                      .status = status, .arg = b };
    return wg_process_control(&b->process, b->run->control ? b->run->control : b->s->control);
}

int wg_brick_run(struct wg_settings *s, const struct wg_appliance_run *run)
{
    struct brick b = { .s = s, .run = run };
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
    wg_daemon_stopping(s->drain_ms + 5000);
    wg_control_stop(); /* its dumps look into the graph */
    wg_process_graph_down(b.graph); /* the server's stop ends its connections and waits for calls */
    wg_work_stop();
    wg_settings_free(b.s);
    if (!err)
        wg_notice("stopped");
    return err ? WG_EXIT_FAILED : WG_EXIT_OK;
}
