/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests of the NFS front end without a store: the server over an xlator that holds no files
 * (every name is a file of 4 MiB, but "absent"), answers at once or late, and counts; and a
 * bare RPC client. One server per process, so tests run with CK_NOFORK.
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

#include "frontends/nfs/nfs.h"
#include "frontends/nfs/nfs3.h"
#include "graph.h"
#include "iobuf.h"
#include "list.h"
#include "log.h"

/* --- the store --- */

static atomic_uint ts_delay_ms, ts_creates, ts_writes, ts_reads, ts_payloads;
static uint8_t ts_bytes[1 << 20];

struct ts_late {
    struct wg_frame *f;
    int err;
    uint64_t at_ns;
    struct ts_late *next;
};
static struct ts_late *ts_first, **ts_last = &ts_first;
static pthread_mutex_t ts_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool ts_stop;

static inline void *ts_late_main(void *arg)
{
    while (!ts_stop) {
        struct ts_late *l = NULL;

        pthread_mutex_lock(&ts_lock);
        if (ts_first && ts_first->at_ns <= wg_now_ns()) {
            l = ts_first;
            ts_first = l->next;
            if (!ts_first)
                ts_last = &ts_first;
        }
        pthread_mutex_unlock(&ts_lock);
        if (l)
            wg_unwind(l->f, l->err);
        else
            usleep(1000);
        free(l);
    }
    return arg;
}

static inline void ts_unwind(struct wg_frame *f, int err)
{
    struct ts_late *l;

    if (ts_delay_ms == 0)
        return wg_unwind(f, err);
    l = malloc(sizeof *l);
    *l = (struct ts_late){ f, err, wg_now_ns() + ts_delay_ms * 1000000ull, NULL };
    pthread_mutex_lock(&ts_lock);
    *ts_last = l;
    ts_last = &l->next;
    pthread_mutex_unlock(&ts_lock);
}

static inline struct wg_iatt ts_attr(wg_gfid g)
{
    bool root = wg_gfid_eq(g, WG_ROOT_GFID);

    return (struct wg_iatt){ .valid = true, .type = root ? WG_DIR : WG_REG, .gfid = g, .mode = 0755,
                             .nlink = 1, .size = 4 << 20 };
}

static inline void ts_lookup(struct wg_frame *f)
{
    const struct wg_lookup_in *in = wg_in(f, lookup);
    struct wg_lookup_out *out = wg_new_out(f, lookup);
    wg_gfid g = in->at.parent.gfid;

    if (wg_str_eq(in->at.name, WG_STR("absent")))
        return ts_unwind(f, ENOENT);
    if (!wg_str_eq(in->at.name, WG_STR(".")) && !wg_str_eq(in->at.name, WG_STR(".."))) {
        memset(&g, 0, sizeof g);
        memcpy(g.b, in->at.name.s, in->at.name.len < 14 ? in->at.name.len : 14);
    }
    out->ref.gfid = g;
    out->attr = ts_attr(g);
    out->parent = ts_attr(in->at.parent.gfid);
    ts_unwind(f, 0);
}

static inline void ts_getattr(struct wg_frame *f)
{
    wg_new_out(f, getattr)->attr = ts_attr(wg_in(f, getattr)->at.gfid);
    ts_unwind(f, 0);
}

static inline void ts_released(struct wg_iobuf *buf)
{
    atomic_fetch_sub(&ts_payloads, 1);
    free(buf);
}

static inline void ts_read(struct wg_frame *f)
{
    struct wg_read_out *out = wg_new_out(f, read);
    struct wg_seg *seg = WG_NEW(&f->call->arena, struct wg_seg);
    struct wg_iobuf *buf = malloc(sizeof *buf);

    wg_iobuf_wrap(buf, ts_bytes, sizeof ts_bytes, ts_released, NULL);
    atomic_fetch_add(&ts_payloads, 1);
    wg_keep_iobuf(&f->call->arena, buf);
    *seg = (struct wg_seg){ buf, ts_bytes, wg_in(f, read)->size };
    out->data = (struct wg_data){ seg, 1, seg->len };
    out->attr = ts_attr(wg_in(f, read)->at.gfid);
    atomic_fetch_add(&ts_reads, 1);
    ts_unwind(f, 0);
}

static inline void ts_write(struct wg_frame *f)
{
    const struct wg_write_in *in = wg_in(f, write);
    struct wg_write_out *out = wg_new_out(f, write);

    for (uint32_t i = 0; i < in->data.nseg; i++)
        if (in->data.seg[i].len && *(const char *)in->data.seg[i].base == '!')
            return ts_unwind(f, EIO);
    out->count = in->data.len;
    atomic_fetch_add(&ts_writes, 1);
    ts_unwind(f, 0);
}

static inline void ts_create(struct wg_frame *f)
{
    struct wg_create_out *out = wg_new_out(f, create);

    out->ref.gfid = wg_in(f, create)->gfid;
    out->attr = ts_attr(out->ref.gfid);
    atomic_fetch_add(&ts_creates, 1);
    ts_unwind(f, 0);
}

static inline void ts_readdir(struct wg_frame *f)
{
    const struct wg_readdir_in *in = wg_in(f, readdir);
    struct wg_readdir_out *out = wg_new_out(f, readdir);
    struct wg_appender a;
    uint64_t i;

    if (wg_append_start(&a, in->size) != 0)
        return ts_unwind(f, ENOMEM);
    for (i = in->cookie < 10 ? 10 : in->cookie; i < 1010; i++) {
        char name[32];
        struct wg_dirent d = { .cookie = i + 1 };

        d.name = (struct wg_str){ name, (uint32_t)sprintf(name, "entry-%llu", (unsigned long long)i) };
        d.ref.gfid.b[15] = 7;
        memcpy(d.ref.gfid.b, name, 8);
        if (in->plus)
            d.attr = ts_attr(d.ref.gfid);
        if (!wg_append_dirent(&a, &d))
            break;
    }
    out->eof = i == 1010;
    out->entries = wg_append_end(&a);
    wg_keep_iobuf(&f->call->arena, out->entries.buf);
    out->attr = ts_attr(in->at.gfid);
    ts_unwind(f, 0);
}

static const struct wg_class ts_class = {
    .type = "test/nfs-store",
    .help = "Holds nothing.",
    .fops = { [WG_OP_lookup] = ts_lookup, [WG_OP_getattr] = ts_getattr, [WG_OP_read] = ts_read,
              [WG_OP_write] = ts_write, [WG_OP_create] = ts_create, [WG_OP_readdir] = ts_readdir },
};

/* --- the server --- */

static struct wg_graph *ts_graph;
static uint16_t ts_port;
static pthread_t ts_thread;

static inline void ts_error(void *arg, const char *text)
{
    (void)arg;
    fprintf(stderr, "%s\n", text);
}

static inline int ts_start(const struct wg_nfs_config *limits)
{
    static const char volfile[] = "volume top\n type test/nfs-store\nend-volume\n";
    static const char *const listen[] = { "127.0.0.1" };
    static const struct wg_nfs_rule all = { .clients = "*", .squash = WG_SQUASH_NONE };
    static const struct wg_nfs_rule few = { .clients = "192.0.2.0/24" };
    static const struct wg_nfs_rule ro = { .clients = "127.0.0.0/8", .read_only = true };
    static const struct wg_nfs_export exports[] = {
        { .path = "/test", .dir = "/", .rules = &all, .nrules = 1 },
        { .path = "/closed", .dir = "/", .rules = &few, .nrules = 1 },
        { .path = "/ro", .dir = "/", .rules = &ro, .nrules = 1 },
    };
    struct wg_nfs_volume volume = { .name = "test", .id = "volume-id-16byte", .key = "0123456789abcde" };
    struct wg_nfs_config c = *limits;
    uint16_t mount_port;
    int err;

    wg_log_set("error");
    wg_class_add(&ts_class);
    ts_graph = wg_graph_parse("test", volfile, sizeof volfile - 1, ts_error, NULL);
    if (!ts_graph || wg_graph_init(ts_graph) != 0 || wg_graph_start(ts_graph) != 0)
        return EINVAL;
    pthread_create(&ts_thread, NULL, ts_late_main, NULL);
    volume.graph = ts_graph;
    c.listen = listen;
    c.nlisten = 1;
    c.volumes = &volume;
    c.nvolumes = 1;
    c.exports = exports;
    c.nexports = 3;
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
