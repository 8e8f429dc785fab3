/* SPDX-License-Identifier: Apache-2.0 */
#include "acceptor.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "log.h"

#define WG_LOG_PART "accept"

enum { PAUSE_MS = 100, BATCH = 64 };

struct wg_acceptor {
    struct wg_acceptor_opts o;
    pthread_t thread;
    int wake;
    struct wg_accept_shortage shortage;
};

bool wg_accept_short(struct wg_accept_shortage *s, const char *name, int err)
{
    bool now = err == EMFILE || err == ENFILE || err == ENOBUFS || err == ENOMEM;

    if (now && !s->on)
        wg_error("%s: %s: new connections wait until there are some again", name,
                 err == EMFILE || err == ENFILE ? "out of descriptors" : strerror(err));
    else if (err == 0 && s->on)
        wg_notice("%s: connections are accepted again", name);
    if (now || err == 0)
        s->on = now;
    return now;
}

/* What waits at fd, a number of them at most. false: wait a little. */
static bool take(struct wg_acceptor *a, int fd)
{
    for (int i = 0; i < BATCH; i++) {
        struct sockaddr_storage ss = { 0 };
        socklen_t len = sizeof ss;
        int conn;

        if (a->o.ready && !a->o.ready(a->o.arg))
            return false;
        conn = accept4(fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (conn < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return true;
        /* Others concern one connection that is gone already, but for a shortage. */
        if (wg_accept_short(&a->shortage, a->o.name, conn < 0 ? errno : 0))
            return false;
        if (conn >= 0)
            a->o.accepted(a->o.arg, conn, &ss, len);
    }
    return true;
}

static void *acceptor_main(void *arg)
{
    struct wg_acceptor *a = arg;
    struct pollfd p[WG_ACCEPTOR_MAX + 1];
    bool pause = false;

    pthread_setname_np(pthread_self(), a->o.name);
    p[0] = (struct pollfd){ .fd = a->wake, .events = POLLIN };
    for (unsigned i = 0; i < a->o.nfds; i++)
        p[i + 1] = (struct pollfd){ .fd = a->o.fds[i], .events = POLLIN };
    for (;;) {
        int n = poll(p, pause ? 1 : a->o.nfds + 1, pause ? PAUSE_MS : -1);

        if (n < 0 && errno != EINTR)
            usleep(PAUSE_MS * 1000);
        if (n > 0 && p[0].revents)
            return NULL;
        pause = false;
        for (unsigned i = 0; i < a->o.nfds && !pause; i++) /* non-blocking: nothing there is no harm */
            pause = !take(a, a->o.fds[i]);
    }
}

int wg_acceptor_start(const struct wg_acceptor_opts *opts, struct wg_acceptor **ret)
{
    struct wg_acceptor *a = calloc(1, sizeof *a);
    int err;

    if (!a)
        return ENOMEM;
    a->o = *opts;
    a->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    err = a->wake < 0 ? errno : pthread_create(&a->thread, NULL, acceptor_main, a);
    if (err) {
        if (a->wake >= 0)
            close(a->wake);
        free(a);
        return err;
    }
    *ret = a;
    return 0;
}

void wg_acceptor_stop(struct wg_acceptor *a)
{
    uint64_t one = 1;

    if (!a)
        return;
    if (write(a->wake, &one, sizeof one) != sizeof one)
        wg_error("%s: cannot be woken: %s", a->o.name, strerror(errno));
    pthread_join(a->thread, NULL);
    close(a->wake);
    free(a);
}
