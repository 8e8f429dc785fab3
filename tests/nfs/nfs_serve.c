/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The NFS front end over storage/posix and nothing else, to test and to measure it alone:
 *     nfs_serve DIR PORT [-u] [-r] [-d LEVEL]   (MOUNT over UDP too, register with rpcbind, log level)
 * exports DIR as /export (and its directory sub as /sub), no squash. SIGTERM ends it, SIGUSR1 prints a statedump.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dump.h"
#include "frontends/nfs/nfs.h"
#include "graph.h"
#include "log.h"
#include "work.h"

static void say(void *arg, const char *text)
{
    (void)arg;
    fprintf(stderr, "%s\n", text);
}

int main(int argc, char **argv)
{
    static const struct wg_nfs_rule rule = { .clients = "*", .squash = WG_SQUASH_NONE };
    static const struct wg_nfs_export exports[] = {
        { .path = "/export", .dir = "/", .rules = &rule, .nrules = 1 },
        { .path = "/sub", .dir = "/sub", .rules = &rule, .nrules = 1 },
    };
    struct wg_nfs_volume volume = { .name = "test", .id = "windgate-tests-", .key = "not a secret" };
    struct wg_nfs_config c = { .volumes = &volume, .nvolumes = 1, .exports = exports, .nexports = 2 };
    struct wg_graph *graph;
    char text[4096];
    sigset_t set;
    int sig;

    if (argc < 3)
        return fprintf(stderr, "usage: nfs_serve DIR PORT [-u] [-r] [-d LEVEL]\n"), 2;
    for (int i = 3; i < argc; i++) {
        c.mount_udp |= strcmp(argv[i], "-u") == 0;
        c.rpcbind |= strcmp(argv[i], "-r") == 0;
        if (strcmp(argv[i], "-d") == 0 && i + 1 < argc)
            wg_log_set(argv[i + 1]);
    }
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    wg_work_start(0);
    snprintf(text, sizeof text, "volume store\n type storage/posix\n option directory \"%s\"\n"
             " option init yes\nend-volume\n", argv[1]);
    graph = wg_graph_parse("nfs_serve", text, strlen(text), say, NULL);
    if (!graph || wg_graph_init(graph) != 0 || wg_graph_start(graph) != 0)
        return 1;
    volume.volume = graph->volume;
    c.nfs_port = (uint16_t)atoi(argv[2]);
    c.max_connections = 8000;
    if (wg_nfs_start(&c) != 0)
        return 1;
    printf("serving\n");
    fflush(stdout);
    while (sigwait(&set, &sig) == 0 && sig == SIGUSR1) {
        char *d = wg_dump_process(graph, false);

        fprintf(stderr, "%s\n", d ? d : "no memory");
        free(d);
    }
    if (wg_nfs_stop(5000) != 0)
        return 1;
    wg_graph_stop(graph);
    wg_graph_free(graph);
    wg_work_stop();
    return 0;
}
