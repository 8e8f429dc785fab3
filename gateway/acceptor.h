/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accepts connections on listening sockets, on a thread of its own. When descriptors or memory are
 * out it says so once, lets clients wait in the backlog, and goes on when there are some again: a
 * level-triggered wait for such a socket would turn as fast as it can.
 */
#ifndef WG_ACCEPTOR_H
#define WG_ACCEPTOR_H

#include <stdbool.h>
#include <sys/socket.h>

struct wg_acceptor;

enum { WG_ACCEPTOR_MAX = 32 };

struct wg_acceptor_opts {
    const char *name;         /* of the thread, at most 15 characters, and in logs */
    int fds[WG_ACCEPTOR_MAX]; /* listening, non-blocking; they stay the caller's */
    unsigned nfds;
    /* May one more be taken now? Asked again ten times a second. NULL: always. */
    bool (*ready)(void *arg);
    /* fd is the callee's: non-blocking, close-on-exec. On the acceptor's thread. */
    void (*accepted)(void *arg, int fd, const struct sockaddr_storage *ss, socklen_t len);
    void *arg;
};

/* 0 or an errno. */
int wg_acceptor_start(const struct wg_acceptor_opts *opts, struct wg_acceptor **ret);
/* No callback runs after it. NULL is allowed. */
void wg_acceptor_stop(struct wg_acceptor *a);

/*
 * For other loops that accept: err of a failed accept, or 0 after one that worked. Logs when the
 * shortage begins and when it is over; true: wait a little before the next.
 */
struct wg_accept_shortage {
    bool on;
};
bool wg_accept_short(struct wg_accept_shortage *s, const char *name, int err);

#endif
