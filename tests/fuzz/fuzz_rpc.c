/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer: a stream of bytes on one NFS connection, cut into pieces: record marks, fragments,
 * call headers, calls, replies. The first byte is the size of the pieces, the second whether the
 * peer reads, and hangs up in the middle. Whatever comes, the connection is freed at its end, and
 * what is answered is made of whole records.
 *
 * In the input, eight bytes 0xfe stand for a valid handle of the export's root, and 0xfd 0xfd for
 * the mark of a last fragment that takes all that follows until the next such mark.
 */
#include "frontends/nfs/conn_read.c"
#include "frontends/nfs/conn_send.c"

#include "frontends/nfs/request.h"
#include "tests/nfs/teststore.h"

enum { STREAM_MAX = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t fh[NFS3_FHSIZE + 4];
static uint32_t fh_len;
static unsigned refs;     /* of the one connection; it is its own "library's object" */
static bool destroyed;

/* ---- rpc.c's part, without the library ---- */

void wg_xprt_ref(void *xprt)
{
    (void)xprt;
    refs++;
}

void wg_xprt_unref(void *xprt)
{
    struct wg_rpc_conn **c = xprt;

    if (refs == 0)
        abort();
    if (--refs == 0) {
        wg_conn_free(*c);
        *c = NULL;
    }
}

void wg_xprt_destroy(void *xprt)
{
    struct wg_rpc_conn **c = xprt;

    if (destroyed)
        return;
    destroyed = true;
    wg_conn_unlinked(*c);
    wg_xprt_unref(xprt);
}

void wg_peer_set(struct wg_rpc_peer *p, const struct sockaddr_storage *ss)
{
    (void)ss;
    memset(p, 0, sizeof *p);
    p->addr.s6_addr[10] = p->addr.s6_addr[11] = 0xff;
    p->addr.s6_addr[12] = 127;
    p->port = 700;
    strcpy(p->text, "127.0.0.0");
}

void wg_udp_send(struct wg_rpc *r)
{
    wg_conn_done(r);
}

void wg_udp_drop(struct wg_rpc *r)
{
    wg_conn_done(r);
}

/* ---- The peer ---- */

static void start(void)
{
    static const struct wg_rpc_config config = {
        .record_max = 128 << 10, .total_bytes = 4 << 20, .request_size = sizeof(struct nfs_req), .call = nfs_call,
        .release = nfs_release, .closed = drc_forget, .conn_requests = 8, .conn_bytes = 1 << 20, .threads = 1,
    };
    struct wg_nfs_config c = { 0 };
    struct wg_nfs_volume v;
    struct wg_xdr_out x = { fh, fh + sizeof fh, false };
    uint8_t handle[NFS3_FHSIZE];
    struct nfs_exports *t;
    uint32_t n;

    ts_exports(&c, &v, ts_store());
    t = nfs_exports_new(&c, ts_error, NULL);
    if (!t)
        abort();
    n = nfs_handle_seal(&t->exports[0], &(struct wg_ref){ .gfid = WG_ROOT_GFID }, handle);
    wg_xdr_put_bytes(&x, handle, n);
    fh_len = (uint32_t)(x.at - fh);
    nfs_exports_set(t);
    drc_size(64);
    /* Its threads are not wanted: their work is done here, in order. */
    if (wg_conn_start(&config))
        abort();
    wg_conn_stop();
    atomic_store(&wg_conns.stop, false);
    wg_conns.in_epoll = epoll_create1(EPOLL_CLOEXEC);
    wg_conns.out_epoll = epoll_create1(EPOLL_CLOEXEC);
}

/* The input with handles and marks put in. */
static uint32_t expand(const uint8_t *data, size_t size, uint8_t *to)
{
    static const uint8_t handle[8] = { 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe };
    uint8_t *at = to, *end = to + STREAM_MAX - sizeof fh, *mark = NULL;

    for (; size > 0 && at < end; data++, size--) {
        bool is_mark = size >= 2 && data[0] == 0xfd && data[1] == 0xfd;

        if (mark && is_mark) {
            uint32_t be = htobe32(LAST_FRAGMENT | (uint32_t)(at - mark - 4));
            memcpy(mark, &be, 4);
        }
        if (is_mark) {
            mark = at;
            at += 4;
            data++, size--;
        } else if (size >= sizeof handle && memcmp(data, handle, sizeof handle) == 0) {
            memcpy(at, fh, fh_len);
            at += fh_len;
            data += sizeof handle - 1;
            size -= sizeof handle - 1;
        } else {
            *at++ = *data;
        }
    }
    if (mark) {
        uint32_t be = htobe32(LAST_FRAGMENT | (uint32_t)(at - mark - 4));
        memcpy(mark, &be, 4);
    }
    return (uint32_t)(at - to);
}

struct peer {
    int fd;
    uint8_t mark[4];
    unsigned nmark;
    uint32_t left; /* of the record */
};

/* Takes what was answered: marks of last fragments, and their bytes. */
static void take_answers(struct peer *p)
{
    static uint8_t buf[1 << 16];
    ssize_t n;

    while ((n = recv(p->fd, buf, sizeof buf, MSG_DONTWAIT)) > 0)
        for (ssize_t i = 0; i < n;) {
            uint32_t use = p->left < n - i ? p->left : (uint32_t)(n - i);

            if (p->left == 0) {
                p->mark[p->nmark++] = buf[i++];
                if (p->nmark < 4)
                    continue;
                memcpy(&p->left, p->mark, 4);
                p->left = be32toh(p->left);
                if (!(p->left & LAST_FRAGMENT) || (p->left &= ~LAST_FRAGMENT) < 12 || p->left % 4)
                    abort();
                p->nmark = 0;
                continue;
            }
            p->left -= use;
            i += use;
        }
}

/* What the threads would do for the events that there are. */
static void serve(struct wg_reader *t, struct wg_rpc_conn **c)
{
    struct epoll_event ev;

    while (*c && epoll_wait(wg_conns.in_epoll, &ev, 1, 0) == 1 && ev.data.ptr)
        readable(t, ev.data.ptr);
    while (*c && epoll_wait(wg_conns.out_epoll, &ev, 1, 0) == 1 && ev.data.ptr)
        writable(ev.data.ptr);
}

static void run(uint8_t step, uint8_t how, const uint8_t *stream, uint32_t len)
{
    struct wg_reader reader = { 0 };
    struct sockaddr_storage ss = { 0 };
    struct wg_rpc_conn *c = NULL;
    struct peer peer = { 0 };
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
        abort();
    peer.fd = pair[1];
    refs = 1;
    destroyed = false;
    c = wg_conn_new(&c, pair[0], &ss);
    if (!c)
        abort();
    wg_conn_take(c);
    for (uint32_t at = 0; c && at < len;) {
        uint32_t want = step ? (uint32_t)step * step : len;
        ssize_t n = send(pair[1], stream + at, want < len - at ? want : len - at, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno != EAGAIN)
            break;
        at += n > 0 ? (uint32_t)n : 0;
        serve(&reader, &c);
        if ((how & 1) || n < 0)
            take_answers(&peer);
        if ((how & 2) && at > len / 2)
            break;
    }
    if (how & 4)
        shutdown(pair[1], SHUT_WR);
    for (int i = 0; c && i < 100 && !(how & 2); i++) {
        take_answers(&peer);
        serve(&reader, &c);
    }
    close(pair[1]);
    for (int i = 0; c && i < 10; i++)
        serve(&reader, &c);
    if (c)
        abort();
    wg_iobuf_unref(reader.buf);
    close(pair[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t *stream;

    if (!stream) {
        stream = malloc(STREAM_MAX);
        start();
    }
    if (size < 2)
        return 0;
    run(data[0], data[1], stream, expand(data + 2, size - 2, stream));
    return 0;
}
