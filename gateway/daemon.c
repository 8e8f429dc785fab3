/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "log.h"
#include "pool.h"

#define WG_LOG_PART "daemon"

enum { DESCRIPTORS_MAX = 1 << 20, TIDY_S = 5, TIDY_MIN = 8 << 20 };

static sigset_t handled(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    return set;
}

static int raise_descriptors(int64_t want)
{
    struct rlimit l;

    if (getrlimit(RLIMIT_NOFILE, &l))
        return errno;
    if (want == 0)
        want = l.rlim_max < DESCRIPTORS_MAX ? (int64_t)l.rlim_max : DESCRIPTORS_MAX;
    if ((rlim_t)want > l.rlim_max)
        l.rlim_max = (rlim_t)want; /* needs privilege */
    l.rlim_cur = (rlim_t)want;
    if (setrlimit(RLIMIT_NOFILE, &l)) {
        int err = errno;

        wg_fail("can't have %lld file descriptors: %s", (long long)want, strerror(err));
        return err;
    }
    return 0;
}

int wg_daemon_begin(int64_t want_descriptors)
{
    sigset_t set = handled();
    int err;

    umask(0);
    signal(SIGPIPE, SIG_IGN);
    err = pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (err)
        return err;
    /* A core file would hold keys and clients' data. */
    setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
    return raise_descriptors(want_descriptors);
}

/* The protocol is one datagram of lines (sd_notify(3)); a library for that would be a burden. */
void wg_daemon_notify(const char *fmt, ...)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    socklen_t len;
    char text[512];
    va_list ap;
    int fd, n;

    if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof to.sun_path)
        return;
    memcpy(to.sun_path, path, strlen(path));
    len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    if (path[0] == '@')
        to.sun_path[0] = '\0'; /* the abstract name space */
    else
        len++;
    va_start(ap, fmt);
    n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || n < 0)
        return;
    if ((size_t)n >= sizeof text)
        n = sizeof text - 1;
    if (sendto(fd, text, (size_t)n, MSG_NOSIGNAL, (struct sockaddr *)&to, len) < 0)
        wg_warning("can't notify %s: %s", path, strerror(errno));
    close(fd);
}

/*
 * What a burst has taken goes back to the system: buffers that lie in pools, and the pages of what
 * was freed, which malloc keeps for ever otherwise (600 MB after clients that asked for much and read
 * nothing). kept is what malloc holds free although it was trimmed.
 */
static void tidy(void)
{
    static size_t kept;
    size_t free_bytes;

    wg_pools_trim();
    free_bytes = mallinfo2().fordblks;
    if (free_bytes > kept + TIDY_MIN) {
        malloc_trim(0);
        free_bytes = mallinfo2().fordblks;
    } else if (free_bytes > kept) {
        return;
    }
    kept = free_bytes;
}

int wg_daemon_wait(void (*reload)(void *arg), void *arg)
{
    sigset_t set = handled();

    wg_daemon_notify("READY=1\nMAINPID=%ld", (long)getpid());
    for (;;) {
        int sig = sigtimedwait(&set, NULL, &(struct timespec){ .tv_sec = TIDY_S });
        struct timespec now;

        if (sig < 0 && errno == EAGAIN)
            tidy();
        if (sig < 0)
            continue; /* or EINTR: a debugger, a stop and continue */
        if (sig != SIGHUP)
            return sig;
        clock_gettime(CLOCK_MONOTONIC, &now);
        wg_daemon_notify("RELOADING=1\nMONOTONIC_USEC=%lld",
                         now.tv_sec * 1000000LL + now.tv_nsec / 1000);
        wg_notice("reloading");
        reload(arg);
        wg_daemon_notify("READY=1");
    }
}

void wg_daemon_request_stop(void)
{
    kill(getpid(), SIGTERM);
}

/* Waits for the second signal, or the deadline. */
static void *impatience(void *arg)
{
    sigset_t set = handled();
    int64_t ms = *(int64_t *)arg;
    struct timespec end, now;

    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += ms / 1000 + 1;
    for (;;) {
        struct timespec left;
        int sig;

        clock_gettime(CLOCK_MONOTONIC, &now);
        left = (struct timespec){ .tv_sec = end.tv_sec > now.tv_sec ? end.tv_sec - now.tv_sec : 0 };
        sig = sigtimedwait(&set, NULL, &left);
        if (sig == SIGTERM || sig == SIGINT) {
            wg_warning("stopped at once by a second signal");
            _exit(WG_EXIT_FAILED);
        }
        if (sig < 0 && errno == EAGAIN) {
            wg_error("still not stopped after %lld ms: giving up on what is under way",
                     (long long)ms);
            _exit(WG_EXIT_FAILED);
        }
    }
    return NULL;
}

void wg_daemon_stopping(int64_t deadline_ms)
{
    static int64_t ms;
    pthread_t thread;

    ms = deadline_ms;
    wg_daemon_notify("STOPPING=1");
    if (pthread_create(&thread, NULL, impatience, &ms) == 0)
        pthread_detach(thread);
}
