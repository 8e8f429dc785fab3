/* SPDX-License-Identifier: Apache-2.0 */
#include "process.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "daemon.h"
#include "dump.h"
#include "graph_control.h"
#include "call.h"
#include "log.h"
#include "slow.h"
#include "top.h"

#define WG_LOG_PART "daemon"

int wg_process_logs(const struct wg_settings *s)
{
    int err = wg_log_set(s->log.level);

    if (err) {
        wg_fail("%s:%d: log.level: '%s' is none", s->file, s->log.line, s->log.level);
        return err;
    }
    wg_slow_limit(s->log.slow_ms);
    err = wg_log_file(s->log.file);
    if (err)
        wg_fail("log file %s: %s", s->log.file, strerror(err));
    return err;
}

int wg_process_directory(const char *path)
{
    struct stat st;

    if (mkdir(path, 0700) == 0)
        return 0;
    if (errno == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return 0;
    if (errno == EEXIST)
        errno = ENOTDIR;
    wg_fail("directory %s: %s", path, strerror(errno));
    return errno ? errno : EIO;
}

int wg_process_drain(int64_t ms)
{
    uint64_t end = wg_now_ns() + (uint64_t)ms * 1000000;

    while (wg_calls_live() > 0) {
        if (wg_now_ns() > end)
            return ETIMEDOUT;
        usleep(5000);
    }
    return 0;
}

/* --- the control socket's commands --- */

static uint64_t started_ns;

static unsigned open_descriptors(void)
{
    DIR *d = opendir("/proc/self/fd");
    unsigned n = 0;

    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n > 3 ? n - 3 : 0; /* ".", ".." and the directory's own */
}

static double resident_bytes(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    unsigned long size = 0, resident = 0;

    if (f && fscanf(f, "%lu %lu", &size, &resident) != 2)
        resident = 0;
    if (f)
        fclose(f);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static int do_status(const cJSON *request, cJSON *answer, void *arg)
{
    const struct wg_process *p = arg;
    struct rlimit limit = { 0 };
    cJSON *notes;

    (void)request;
    getrlimit(RLIMIT_NOFILE, &limit);
    cJSON_AddStringToObject(answer, "role", p->role);
    cJSON_AddStringToObject(answer, "version", PACKAGE_VERSION);
    cJSON_AddNumberToObject(answer, "pid", getpid());
    cJSON_AddNumberToObject(answer, "uptime_s", (double)((wg_now_ns() - started_ns) / 1000000000));
    cJSON_AddNumberToObject(answer, "calls", wg_calls_live());
    cJSON_AddNumberToObject(answer, "descriptors", open_descriptors());
    cJSON_AddNumberToObject(answer, "descriptors_max", (double)limit.rlim_cur);
    cJSON_AddNumberToObject(answer, "memory_bytes", resident_bytes());
    if (p->status)
        p->status(answer, p->arg);
    notes = wg_dump_notes();
    if (notes)
        cJSON_AddItemToObject(answer, "notes", notes);
    return 0;
}

static int do_statedump(const cJSON *request, cJSON *answer, void *arg)
{
    bool json = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(request, "json"));
    const char *only = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(request, "only"));
    char *text = wg_dump_only(NULL, json, only);

    (void)arg;
    if (!text && only)
        cJSON_AddStringToObject(answer, "error", "no section and no translator is called so");
    if (!text)
        return only ? ENOENT : ENOMEM;
    cJSON_AddStringToObject(answer, "dump", text);
    free(text);
    return 0;
}

static int do_top(const cJSON *request, cJSON *answer, void *arg)
{
    const cJSON *max = cJSON_GetObjectItemCaseSensitive(request, "max");
    bool given = cJSON_IsNumber(max) && max->valuedouble >= 1 && max->valuedouble <= 10000;

    (void)arg;
    return wg_top(NULL, given ? (unsigned)max->valuedouble : 20, answer);
}

static int do_log(const cJSON *request, cJSON *answer, void *arg)
{
    const char *levels = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(request, "levels"));
    int err = levels ? wg_log_set(levels) : EINVAL;

    (void)arg;
    if (err)
        cJSON_AddStringToObject(answer, "error", "no such level; there are error, warning, notice, "
                                "info, debug, trace");
    return err;
}

static int do_drain(const cJSON *request, cJSON *answer, void *arg)
{
    (void)request;
    (void)answer;
    (void)arg;
    wg_daemon_request_stop();
    return 0;
}

int wg_process_control(const struct wg_process *p, const char *path)
{
    static struct wg_control_command commands[7];

    started_ns = wg_now_ns();
    wg_slow_start();
    commands[0] = (struct wg_control_command){ "status", do_status, (void *)(uintptr_t)p };
    commands[1] = (struct wg_control_command){ "statedump", do_statedump, (void *)(uintptr_t)p };
    commands[2] = (struct wg_control_command){ "log", do_log, NULL };
    commands[3] = (struct wg_control_command){ "drain", do_drain, NULL };
    commands[4] = (struct wg_control_command){ "top", do_top, (void *)(uintptr_t)p };
    commands[5] = (struct wg_control_command){ "graph", wg_graph_control, NULL };
    if (!path) {
        wg_notice("no control socket (--control)");
        return 0;
    }
    return wg_control_start(path, commands);
}
