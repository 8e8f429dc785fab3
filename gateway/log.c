/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

#define PARTS_MAX 32
#define LINE_MAX_BYTES 2048

static const char *const names[] = { "error", "warning", "notice", "info", "debug", "trace" };
static const int priorities[] = { 3, 4, 5, 6, 7, 7 }; /* syslog's, for journald */

/* Levels are read without a lock: a table is built and then published; the old one is kept. */
struct levels {
    enum wg_level all;
    int n;
    struct {
        char part[24];
        enum wg_level level;
    } part[PARTS_MAX];
    struct levels *before;
};

static struct levels initial = { .all = WG_INFO };
static _Atomic(struct levels *) current = &initial;
static atomic_int out = STDERR_FILENO;

static int parse_level(const char *s, size_t n)
{
    for (int i = 0; i <= WG_TRACE; i++)
        if (strlen(names[i]) == n && !strncmp(names[i], s, n))
            return i;
    return -1;
}

static int parse_levels(const char *text, struct levels *l)
{
    *l = (struct levels){ .all = WG_INFO };
    while (*text) {
        size_t n = strcspn(text, ",");
        const char *eq = memchr(text, '=', n);
        int level = eq ? parse_level(eq + 1, (size_t)(text + n - eq) - 1) : parse_level(text, n);
        size_t len = eq ? (size_t)(eq - text) : 0;

        if (level < 0 || (eq && (l->n == PARTS_MAX || len == 0 || len >= sizeof l->part[0].part)))
            return EINVAL;
        if (eq) {
            memcpy(l->part[l->n].part, text, len);
            l->part[l->n++].level = (enum wg_level)level;
        } else {
            l->all = (enum wg_level)level;
        }
        text += n + (text[n] == ',');
    }
    return 0;
}

int wg_log_check(const char *text)
{
    struct levels l;

    return parse_levels(text, &l);
}

int wg_log_set(const char *text)
{
    struct levels *l = malloc(sizeof *l);
    int err = l ? parse_levels(text, l) : ENOMEM;

    if (err) {
        free(l);
        return err;
    }
    /* The old table is kept: a thread may be reading it, and changes are rare and small. */
    l->before = atomic_exchange(&current, l);
    return 0;
}

int wg_log_file(const char *path)
{
    int fd = STDERR_FILENO, old;

    if (path) {
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
        if (fd < 0)
            return errno;
    }
    old = atomic_load(&out);
    if (old != STDERR_FILENO && fd != STDERR_FILENO) {
        /* In place: a thread that writes meanwhile must not find the number closed, or another's. */
        int err = dup3(fd, old, O_CLOEXEC) < 0 ? errno : 0;

        close(fd);
        return err;
    }
    atomic_store(&out, fd);
    if (old != STDERR_FILENO)
        close(old); /* back to stderr: in tests, when nobody logs */
    return 0;
}

bool wg_log_on(const char *part, enum wg_level level)
{
    const struct levels *l = atomic_load_explicit(&current, memory_order_acquire);

    for (int i = 0; i < l->n; i++)
        if (!strcmp(l->part[i].part, part))
            return level <= l->part[i].level;
    return level <= l->all;
}

void wg_one_line(char *text)
{
    for (unsigned char *c = (unsigned char *)text; *c; c++)
        if (*c < 0x20 || *c == 0x7f)
            *c = '?';
}

static size_t head(char *line, size_t size, const char *part, enum wg_level level)
{
    static atomic_int journal = -1;
    struct timespec now;
    struct tm tm;
    size_t n = 0;

    if (journal < 0)
        journal = getenv("JOURNAL_STREAM") != NULL;
    if (journal)
        return (size_t)snprintf(line, size, "<%d>%s: ", priorities[level], part);
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    n = strftime(line, size, "%Y-%m-%dT%H:%M:%S", &tm);
    return n + (size_t)snprintf(line + n, size - n, ".%03ldZ %s %s: ", now.tv_nsec / 1000000, names[level], part);
}

static __thread char *captured;
static __thread size_t captured_size;

void wg_log_capture(char *buf, size_t size)
{
    captured = buf;
    captured_size = size;
}

void wg_log_(const char *part, enum wg_level level, const char *fmt, ...)
{
    char text[LINE_MAX_BYTES / 2], line[LINE_MAX_BYTES];
    size_t n = head(line, sizeof line, part, level);
    int saved = errno;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (captured && level == WG_ERROR && !captured[0])
        snprintf(captured, captured_size, "%s", text);
    /* A client's bytes must not forge lines or move a terminal's cursor. */
    for (const unsigned char *c = (unsigned char *)text; *c && n < sizeof line - 6; c++) {
        if (*c < 0x20 || *c == 0x7f)
            n += (size_t)sprintf(line + n, "\\x%02x", *c);
        else
            line[n++] = (char)*c;
    }
    line[n++] = '\n';
    /* One write a line: lines of several threads do not mix. Nothing to do when it fails. */
    if (write(atomic_load(&out), line, n) < 0)
        errno = saved;
    errno = saved;
}
