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

#include "call.h"
#include "command.h"
#include "log.h"
#include "report.h"

#define WG_LOG_PART "control"

enum { REQUEST_MAX = 64 * 1024, CLIENTS_MAX = 32, CLIENT_SECONDS = 2 };

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

/*
 * Clients are read and written as they can, so that one who says nothing, or reads nothing, delays nobody; what
 * they ask is done in turn. All of it belongs to the one thread.
 */
struct client {
    int fd;        /* -1: the slot is free */
    char *request, *answer;
    size_t len;    /* of the request so far, then of the answer */
    size_t sent;
    uint64_t until_ns;
};

static uint64_t patience(void)
{
    return wg_now_ns() + CLIENT_SECONDS * 1000000000ull;
}

static void end_client(struct client *c)
{
    close(c->fd);
    free(c->request);
    cJSON_free(c->answer);
    *c = (struct client){ .fd = -1 };
}

/* Who came at a bad time makes room: the one with the least patience left. */
static struct client *free_slot(struct client *clients)
{
    struct client *last = &clients[0];

    for (struct client *c = clients; c < clients + CLIENTS_MAX; c++) {
        if (c->fd < 0)
            return c;
        if (c->until_ns < last->until_ns)
            last = c;
    }
    end_client(last);
    return last;
}

/* false: there is nothing to wait for, or no descriptor. */
static bool accept_client(struct client *clients)
{
    int fd = accept4(control.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct client *c;

    if (fd < 0)
        return errno != EMFILE && errno != ENFILE;
    c = free_slot(clients);
    *c = (struct client){ .fd = fd, .request = malloc(REQUEST_MAX), .until_ns = patience() };
    if (!c->request)
        end_client(c);
    return true;
}

/* The answer with its newline, which ends it on the wire, in place of the terminator. */
static bool answer_client(struct client *c)
{
    c->answer = answer_to(c->request, c->len);
    free(c->request);
    c->request = NULL;
    if (!c->answer)
        return false;
    c->len = strlen(c->answer);
    c->answer[c->len++] = '\n';
    c->until_ns = patience();
    return true;
}

/* Up to a newline, the end, or the limit: then what there is gets its answer. false: the client is done. */
static bool read_client(struct client *c)
{
    ssize_t n = recv(c->fd, c->request + c->len, REQUEST_MAX - c->len, 0);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    if (n == 0)
        return c->len > 0 && answer_client(c);
    c->len += (size_t)n;
    if (c->len == REQUEST_MAX || memchr(c->request + c->len - n, '\n', (size_t)n))
        return answer_client(c);
    return true;
}

static bool write_client(struct client *c)
{
    ssize_t n = send(c->fd, c->answer + c->sent, c->len - c->sent, MSG_NOSIGNAL);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    c->sent += (size_t)n;
    c->until_ns = patience();
    return c->sent < c->len;
}

static void serve(struct client *c, bool ready, uint64_t now)
{
    bool on = true;

    if (ready && !c->answer)
        on = read_client(c);
    if (on && ready && c->answer)
        on = write_client(c);
    if (!on || now > c->until_ns)
        end_client(c);
}

static void *control_main(void *arg)
{
    struct pollfd p[2 + CLIENTS_MAX] = { { .fd = control.wake[0], .events = POLLIN }, { .events = POLLIN } };
    struct client clients[CLIENTS_MAX];
    bool pause = false;

    (void)arg;
    pthread_setname_np(pthread_self(), "wg-control");
    for (int i = 0; i < CLIENTS_MAX; i++)
        clients[i] = (struct client){ .fd = -1 };
    for (;;) {
        bool waiting = pause; /* for a descriptor, or a client: look at their time now and then */
        uint64_t now;

        p[1].fd = pause ? -1 : control.fd;
        for (int i = 0; i < CLIENTS_MAX; i++) {
            p[2 + i] = (struct pollfd){ clients[i].fd, clients[i].answer ? POLLOUT : POLLIN, 0 };
            waiting |= clients[i].fd >= 0;
        }
        if (poll(p, 2 + CLIENTS_MAX, waiting ? 100 : -1) < 0 && errno != EINTR)
            break;
        if (p[0].revents)
            break;
        now = wg_now_ns();
        for (int i = 0; i < CLIENTS_MAX; i++)
            if (clients[i].fd >= 0)
                serve(&clients[i], p[2 + i].revents != 0, now);
        pause = (pause || p[1].revents) && !accept_client(clients);
    }
    for (int i = 0; i < CLIENTS_MAX; i++)
        if (clients[i].fd >= 0)
            end_client(&clients[i]);
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
    control.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* Only a stale socket is replaced; bind refuses whatever else is there. */
    if (lstat(at.sun_path, &st) == 0 && S_ISSOCK(st.st_mode))
        unlink(at.sun_path);
    mask = umask(0177);
    if (control.fd < 0 || bind(control.fd, (struct sockaddr *)&at, sizeof at) ||
        listen(control.fd, 64))
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
