/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests of the NFS front end without files: the server over teststore.h, and a bare RPC client. One
 * server per process, so tests run with CK_NOFORK.
 */
#ifndef WG_TEST_NFS_SERVER_H
#define WG_TEST_NFS_SERVER_H

#include <arpa/inet.h>
#include <check.h>
#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/nfs/teststore.h"

/* --- the server --- */

static struct wg_graph *ts_graph;
static uint16_t ts_port;
static pthread_t ts_thread;

static inline int ts_start(const struct wg_nfs_config *limits)
{
    static const char *const listen[] = { "127.0.0.1" };
    struct wg_nfs_config c = *limits;
    struct wg_nfs_volume volume;
    uint16_t mount_port;
    int err;

    ts_graph = ts_store();
    if (!ts_graph)
        return EINVAL;
    pthread_create(&ts_thread, NULL, ts_late_main, NULL);
    ts_exports(&c, &volume, ts_graph);
    c.listen = listen;
    c.nlisten = 1;
    err = wg_nfs_start(&c);
    wg_nfs_ports(&ts_port, &mount_port);
    return err;
}

static inline int ts_end(void)
{
    int err = wg_nfs_stop(5000);

    ts_stop = true;
    pthread_join(ts_thread, NULL);
    wg_graph_stop(ts_graph);
    wg_graph_free(ts_graph);
    return err;
}

/* --- a client --- */

struct ts_msg {
    uint8_t bytes[4096];
    struct wg_xdr_out x;
};

static inline int ts_connect(void)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(ts_port) };
    struct timeval limit = { .tv_sec = 10 };
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

/* A call's header; the arguments go to m->x. */
static inline void ts_begin(struct ts_msg *m, uint32_t xid, uint32_t prog, uint32_t vers, uint32_t proc)
{
    uint32_t head[] = { xid, 0, 2, prog, vers, proc };

    m->x = (struct wg_xdr_out){ m->bytes + 4, m->bytes + sizeof m->bytes, false };
    for (unsigned i = 0; i < 6; i++)
        wg_xdr_put_u32(&m->x, head[i]);
    wg_xdr_put_u32(&m->x, 1); /* AUTH_SYS: stamp, machine, uid, gid, no groups */
    wg_xdr_put_u32(&m->x, 24);
    wg_xdr_put_u32(&m->x, 0);
    wg_xdr_put_bytes(&m->x, "test", 4);
    wg_xdr_put_u32(&m->x, 0);
    wg_xdr_put_u32(&m->x, 0);
    wg_xdr_put_u32(&m->x, 0);
    wg_xdr_put_u32(&m->x, 0); /* verifier: AUTH_NONE */
    wg_xdr_put_u32(&m->x, 0);
}

/* The finished record with extra bytes announced after it. */
static inline size_t ts_record(struct ts_msg *m, uint32_t extra)
{
    size_t len = (size_t)(m->x.at - m->bytes);
    uint32_t mark = htobe32(0x80000000u | (uint32_t)(len - 4 + extra));

    memcpy(m->bytes, &mark, 4);
    return len;
}

static inline void ts_send(int fd, struct ts_msg *m)
{
    size_t len = ts_record(m, 0);

    ck_assert_int_eq(send(fd, m->bytes, len, MSG_NOSIGNAL), (ssize_t)len);
}

static inline bool ts_recv_all(int fd, void *to, size_t len)
{
    return len == 0 || recv(fd, to, len, MSG_WAITALL) == (ssize_t)len;
}

/* The next reply's body after accept_stat in x (static buffer); its accept_stat, or -1 closed. */
static inline int ts_reply(int fd, uint32_t *xid, struct wg_xdr_in *x)
{
    static uint8_t buf[2 << 20];
    uint32_t mark, len;

    if (!ts_recv_all(fd, &mark, 4))
        return -1;
    len = be32toh(mark) & 0x7fffffff;
    ck_assert_uint_le(len, sizeof buf);
    if (!ts_recv_all(fd, buf, len))
        return -1;
    *x = (struct wg_xdr_in){ buf, buf + len, false };
    *xid = wg_xdr_get_u32(x);
    ck_assert_uint_eq(wg_xdr_get_u32(x), 1);
    if (wg_xdr_get_u32(x) != 0)
        return 100 + (int)wg_xdr_get_u32(x); /* denied */
    wg_xdr_get_u32(x);
    wg_xdr_get_u32(x);
    return (int)wg_xdr_get_u32(x);
}

static inline int ts_null(int fd, uint32_t xid)
{
    struct ts_msg m;
    struct wg_xdr_in x;
    uint32_t got = 0;
    int stat;

    ts_begin(&m, xid, NFS_PROGRAM, 3, 0);
    ts_send(fd, &m);
    stat = ts_reply(fd, &got, &x);
    return stat == 0 && got == xid ? 0 : -1;
}

/* Mounts path: the handle into fh; the status. */
static inline uint32_t ts_mount(int fd, const char *path, uint8_t fh[64], uint32_t *len)
{
    struct ts_msg m;
    struct wg_xdr_in x;
    struct wg_str s;
    uint32_t xid, status;

    ts_begin(&m, 1, MOUNT_PROGRAM, 3, 1);
    wg_xdr_put_bytes(&m.x, path, (uint32_t)strlen(path));
    ts_send(fd, &m);
    ck_assert_int_eq(ts_reply(fd, &xid, &x), 0);
    status = wg_xdr_get_u32(&x);
    if (status == 0) {
        s = wg_xdr_get_bytes(&x, 64);
        ck_assert(!x.bad);
        memcpy(fh, s.s, s.len);
        *len = s.len;
    }
    return status;
}

static inline unsigned ts_descriptors(void)
{
    DIR *d = opendir("/proc/self/fd");
    unsigned n = 0;

    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

/* Waits until cond holds, ten seconds at most. */
#define ts_wait(cond)                                   \
    do {                                                \
        for (int i_ = 0; i_ < 2000 && !(cond); i_++)    \
            usleep(5000);                               \
        ck_assert_msg((cond), "still not: %s", #cond);  \
    } while (0)

#endif
