/* SPDX-License-Identifier: Apache-2.0 */
#include "control.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "command.h"
#include "log.h"
#include "report.h"

#define WG_LOG_PART "control"

enum { REQUEST_MAX = 64 * 1024, CLIENT_SECONDS = 2 };

static struct {
    pthread_t thread;
    bool running;
    int fd, wake[2];
    char *path;
    const struct wg_control_command *commands;
} control = { .fd = -1, .wake = { -1, -1 } };

/*
 * A Unix address holds 107 bytes; longer paths go through the directory's descriptor, *ret_dir,
 * which the caller closes (or -1).
 */
static int address(const char *path, struct sockaddr_un *ret, int *ret_dir)
{
    char copy[PATH_MAX], base[PATH_MAX];

    *ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
    *ret_dir = -1;
    if (strlen(path) < sizeof ret->sun_path) {
        memcpy(ret->sun_path, path, strlen(path));
        return 0;
    }
    if (strlen(path) >= sizeof copy)
        return ENAMETOOLONG;
    memcpy(base, path, strlen(path) + 1);
    memcpy(copy, path, strlen(path) + 1);
    *ret_dir = open(dirname(copy), O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (*ret_dir < 0)
        return errno;
    if (snprintf(ret->sun_path, sizeof ret->sun_path, "/proc/self/fd/%d/%s", *ret_dir,
                 basename(base)) < (int)sizeof ret->sun_path)
        return 0;
    close(*ret_dir);
    *ret_dir = -1;
    return ENAMETOOLONG;
}

static int connect_to(const char *path, int *ret)
{
    struct sockaddr_un to;
    int dir, err, fd;

    err = address(path, &to, &dir);
    if (err)
        return err;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        *ret = fd;
    else
        err = errno;
    if (err && fd >= 0)
        close(fd);
    if (dir >= 0)
        close(dir);
    return err;
}

/* --- the daemon's side --- */

static int run(const cJSON *request, cJSON *answer)
{
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(request, "command"));
    const struct wg_report *report;

    if (!name) {
        cJSON_AddStringToObject(answer, "error", "the request names no command");
        return EINVAL;
    }
    if (strcmp(name, "ping") == 0)
        return 0;
    for (const struct wg_control_command *c = control.commands; c->name; c++)
        if (strcmp(c->name, name) == 0)
            return c->fn(request, answer, c->arg);
    report = wg_report_find(name);
    if (report)
        return report->fn(request, answer);
    cJSON_AddStringToObject(answer, "error", "unknown command");
    return EINVAL;
}

static char *answer_to(const char *text, size_t len)
{
    cJSON *request = cJSON_ParseWithLength(text, len), *answer = cJSON_CreateObject();
    char *out;
    int err;

    if (!request)
        cJSON_AddStringToObject(answer, "error", "the request is not JSON");
    err = request ? run(request, answer) : EINVAL;
    cJSON_AddBoolToObject(answer, "ok", err == 0);
    if (err && !cJSON_HasObjectItem(answer, "error"))
        cJSON_AddStringToObject(answer, "error", strerror(err));
    out = cJSON_PrintUnformatted(answer);
    cJSON_Delete(request);
    cJSON_Delete(answer);
    return out;
}

/* Reads up to a newline, or the end. The length, or -1. */
static ssize_t read_line(int fd, char *buf, size_t size)
{
    size_t len = 0;

    while (len < size) {
        ssize_t n = recv(fd, buf + len, size - len, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0 || memchr(buf + len, '\n', (size_t)n))
            return (ssize_t)(len + (size_t)n);
        len += (size_t)n;
    }
    errno = EMSGSIZE;
    return -1;
}

static int send_all(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        text += n;
        len -= (size_t)n;
    }
    return 0;
}

/* One client. It may be slow, but not for long: there is one thread. */
static void serve(int fd)
{
    struct timeval limit = { .tv_sec = CLIENT_SECONDS };
    char *request = malloc(REQUEST_MAX), *answer = NULL;
    ssize_t len = -1;

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (request)
        len = read_line(fd, request, REQUEST_MAX);
    if (len > 0)
        answer = answer_to(request, (size_t)len);
    if (answer && send_all(fd, answer, strlen(answer)) == 0)
        send_all(fd, "\n", 1);
    cJSON_free(answer);
    free(request);
    close(fd);
}

static void *control_main(void *arg)
{
    struct pollfd p[2] = { { .fd = control.fd, .events = POLLIN },
                           { .fd = control.wake[0], .events = POLLIN } };

    (void)arg;
    pthread_setname_np(pthread_self(), "wg-control");
    for (;;) {
        int fd;

        if (poll(p, 2, -1) < 0 && errno != EINTR)
            break;
        if (p[1].revents)
            break;
        if (!(p[0].revents & POLLIN))
            continue;
        fd = accept4(control.fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            serve(fd);
        else if (errno == EMFILE || errno == ENFILE)
            usleep(100000); /* descriptors are exhausted: don't spin */
    }
    return NULL;
}

static int listen_at(const char *path)
{
    struct sockaddr_un at;
    struct stat st;
    int dir, other, err;
    mode_t mask;

    if (connect_to(path, &other) == 0) {
        close(other);
        return EADDRINUSE;
    }
    err = address(path, &at, &dir);
    if (err)
        return err;
    control.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* Only a stale socket is replaced; bind refuses whatever else is there. */
    if (lstat(at.sun_path, &st) == 0 && S_ISSOCK(st.st_mode))
        unlink(at.sun_path);
    mask = umask(0177);
    if (control.fd < 0 || bind(control.fd, (struct sockaddr *)&at, sizeof at) ||
        listen(control.fd, 16))
        err = errno;
    umask(mask);
    if (dir >= 0)
        close(dir);
    return err;
}

static void close_all(void)
{
    int *fds[] = { &control.fd, &control.wake[0], &control.wake[1] };

    for (size_t i = 0; i < 3; i++) {
        if (*fds[i] >= 0)
            close(*fds[i]);
        *fds[i] = -1;
    }
}

int wg_control_start(const char *path, const struct wg_control_command *commands)
{
    int err = listen_at(path);

    control.commands = commands;
    if (!err && pipe2(control.wake, O_CLOEXEC))
        err = errno;
    if (!err) {
        control.path = strdup(path);
        err = control.path ? pthread_create(&control.thread, NULL, control_main, NULL) : ENOMEM;
    }
    control.running = !err;
    if (err) {
        wg_error("control socket %s: %s", path,
                 err == EADDRINUSE ? "in use by another process, or not a socket" : strerror(err));
        close_all();
    }
    return err;
}

void wg_control_stop(void)
{
    struct sockaddr_un at;
    int dir;

    if (!control.running)
        return;
    control.running = false;
    if (write(control.wake[1], "", 1) == 1)
        pthread_join(control.thread, NULL);
    if (address(control.path, &at, &dir) == 0) {
        unlink(at.sun_path);
        if (dir >= 0)
            close(dir);
    }
    close_all();
    free(control.path);
    control.path = NULL;
}

/* --- the client's side --- */

static char *read_answer(int fd, int timeout_ms)
{
    struct timeval limit = { timeout_ms / 1000, timeout_ms % 1000 * 1000 };
    size_t len = 0, size = 65536;
    char *text = malloc(size), *grown;

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    while (text) {
        ssize_t n = recv(fd, text + len, size - len - 1, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            text[len] = '\0';
            if (n == 0)
                return text;
            break;
        }
        len += (size_t)n;
        if (size - len > 4096)
            continue;
        grown = realloc(text, size *= 2);
        if (!grown)
            break;
        text = grown;
    }
    free(text);
    return NULL;
}

cJSON *wg_control_ask(const char *path, cJSON *request, int timeout_ms)
{
    char *line = cJSON_PrintUnformatted(request), *text = NULL;
    cJSON *answer = NULL;
    int fd = -1, err;

    cJSON_Delete(request);
    err = line ? connect_to(path, &fd) : ENOMEM;
    if (err) {
        wg_fail("control socket %s: %s%s", path, strerror(err), err == ECONNREFUSED ||
                err == ENOENT ? "; is the daemon running?" : "");
        cJSON_free(line);
        return NULL;
    }
    err = send_all(fd, line, strlen(line));
    if (!err)
        err = send_all(fd, "\n", 1);
    if (!err)
        text = read_answer(fd, timeout_ms);
    close(fd);
    cJSON_free(line);
    if (text)
        answer = cJSON_Parse(text);
    free(text);
    if (!answer)
        wg_fail("control socket %s: no answer within %d ms", path, timeout_ms);
    return answer;
}
