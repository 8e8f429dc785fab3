/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transport: messages over lanes. A lane is one connection (TLS 1.3 unless told otherwise) with
 * a thread of its own, the reader, which runs every callback of that lane. README.md has the
 * rules; comments cite them as "rule N".
 *
 * A message is a header, a body of at most 64 KiB and a payload of at most 1 MiB and some slack:
 *
 *     0  u32 magic "WGT1"    4  u8 version    5  u8 type       6  u16 flags
 *     8  u64 id             16  u64 low      24  u32 body_len 28  u32 payload_len
 *
 * little-endian, then the body, then the payload. A payload above 256 KiB travels in pieces
 * between which small messages may pass; nobody above this file sees that.
 *
 * Messages of one lane arrive whole and once, in no promised order (small ones overtake).
 */
#ifndef WG_TRANSPORT_H
#define WG_TRANSPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "iobuf.h"
#include "types.h"

struct wg_lane;
struct wg_listener;
struct wg_poller;
struct wg_tls;
struct wg_dump;

#define WG_MSG_VERSION 1
#define WG_MSG_HEADER 32             /* bytes on the wire */
#define WG_MSG_BODY_MAX (64u << 10)  /* default limit */
#define WG_MSG_PAYLOAD_MAX (WG_IO_MAX + (64u << 10)) /* default limit */
#define WG_MSG_FIRST_TYPE 16         /* types 0 to 15 are the transport's own */
#define WG_MSG_FLAGS 0x00ff          /* flags free for the layer above; the rest is the transport's */

/* The header, decoded. type, flags, id and low mean what the layer above says. */
struct wg_msg_hdr {
    uint8_t type;   /* WG_MSG_FIRST_TYPE to 255 */
    uint16_t flags; /* within WG_MSG_FLAGS */
    uint64_t id;    /* call id; a reply carries its request's */
    uint64_t low;   /* the layer above: a brick sends its clock in it (docs/wire.md) */
    uint32_t body_len, payload_len;
};

/* A message to send. Everything is copied or referenced by wg_lane_send; all may be on the stack. */
struct wg_msg {
    uint8_t type;
    uint16_t flags;
    uint64_t id, low;
    const void *body; /* copied */
    uint32_t body_len;
    struct wg_data payload; /* segments with a buf are referenced, never copied whole before the cipher; with buf NULL they are copied at once */
    uint64_t conn; /* only on this connection (see wg_lane_conn); 0: on any */
    bool must;     /* accept it even when the queue is full: for replies, whose number the reader bounds */
};

/* Why a connection ended. */
struct wg_down {
    uint64_t conn;    /* the number that up() got */
    int err;          /* errno: ECONNRESET, ETIMEDOUT, EPROTO, EACCES (certificate or name), ECANCELED (closed here) ... */
    const char *text; /* one clause for people; valid during the callback */
};

/*
 * Callbacks of a lane, all on its reader's thread, one at a time (but see wg_lane_handoff), with
 * no lock of the transport held: they may send, on this lane or others, and block if they must.
 */
struct wg_lane_ops {
    /*
     * Connected, certificates checked. conn counts connections of this process, never 0. No message
     * was sent or received on it yet; messages sent from here go out first, what other threads send meanwhile
     * follows when it returns.
     */
    void (*up)(struct wg_lane *lane, uint64_t conn);
    /*
     * A whole message. body (unaligned) is valid until it returns. payload is NULL when
     * hdr->payload_len is 0, else one reference that is now the callee's (wg_keep_iobuf, or unref).
     */
    void (*message)(struct wg_lane *lane, const struct wg_msg_hdr *hdr, const void *body,
                    struct wg_iobuf *payload);
    /*
     * Exactly once for each up. What had been accepted for sending and was not sent is dropped before.
     * A client lane connects again by itself; a server's lane ends with this callback.
     */
    void (*down)(struct wg_lane *lane, const struct wg_down *why);
    /* Optional: after EAGAIN from wg_lane_send the queue has fallen below half its limit. Any thread. */
    void (*writable)(struct wg_lane *lane);
    /* Optional, client: an attempt to connect failed (each one; the log has it once). */
    void (*failed)(struct wg_lane *lane, const struct wg_down *why);
};

#define WG_OFF UINT32_MAX /* for a time: never */

/* Options of a lane, and of each lane of a listener. Zero means the default in brackets. */
struct wg_lane_opts {
    const struct wg_lane_ops *ops;
    void *user;                /* wg_lane_user; a listener's lanes start with it too */
    const char *name;          /* for logs and dumps; copied */
    struct wg_tls *tls;        /* referenced while the lane lives */
    bool plain;                /* no TLS: must be said, and tls be NULL */
    const char *peer_name;     /* client: the certificate must carry this name, besides the allow list; copied */
    struct wg_poller *poller;  /* NULL: a thread of its own; else served by that one thread */
    uint32_t connect_ms;       /* TCP connect [5000] */
    uint32_t handshake_ms;     /* TLS handshake [5000] */
    uint32_t ping_ms;          /* nothing received for this long: ping; WG_OFF [5000] */
    uint32_t ping_timeout_ms;  /* no sign of life since the ping: down with ETIMEDOUT [10000] */
    uint32_t backoff_min_ms, backoff_max_ms; /* between attempts, doubling, with jitter [100, 5000] */
    uint32_t body_max, payload_max;          /* bytes accepted from the peer, and sent [defaults above] */
    uint64_t queue_max;        /* wg_lane_send answers EAGAIN above this many queued bytes [64 MiB] */
    uint64_t pause_bytes;      /* the reader stops reading while more is queued [server 8 MiB, client never] */
    uint32_t busy_us;          /* reading goes to another thread when a callback lasts longer, see wg_lane_yield [never] */
    uint32_t sndbuf, rcvbuf;   /* SO_SNDBUF, SO_RCVBUF [the kernel's own tuning; loopback 128 KiB] */
};

/* ---- client lanes ---- */

/*
 * A lane to addr: "host:port", "[::1]:port" or "unix:/path". Returns at once; connecting happens on
 * the lane's thread, again and again, until wg_lane_close. 0; EINVAL (address, options), ENOMEM, EAGAIN
 * (no thread). The caller holds one reference, which wg_lane_close drops.
 */
int wg_lane_connect(const char *addr, const struct wg_lane_opts *opts, struct wg_lane **ret);

/*
 * Ends a lane and drops the caller's reference. Called on any thread; waits until no callback runs and
 * none will, except when called from a callback of this lane (or of its shared poller), where the lane
 * ends after it returns. down() runs first if the lane is up. Client lanes only; once.
 */
void wg_lane_close(struct wg_lane *lane);

/* ---- any lane ---- */

/*
 * Sends a message; any thread, never blocks for the peer. 0: it is the lane's now, and is sent unless the
 * connection ends. ENOTCONN: not up, or another connection than msg->conn. EAGAIN: queue full (writable()
 * follows). EMSGSIZE, EINVAL (type, flags), ENOMEM. On an error nothing was taken.
 * From within this lane's callbacks several messages are gathered into one write, which happens when the
 * reader has delivered what it has, at 64 KiB or 100 microseconds, or in wg_lane_flush.
 */
int wg_lane_send(struct wg_lane *lane, const struct wg_msg *msg);

/* Sends what this lane's callbacks have gathered: call it there before doing something slow. Any thread. */
void wg_lane_flush(struct wg_lane *lane);

/* Bytes accepted and not yet given to the kernel: choose the lane with the least. Any thread, no lock. */
uint64_t wg_lane_queued(const struct wg_lane *lane);

/* The number of the present connection, 0 while down. Any thread, no lock. */
uint64_t wg_lane_conn(const struct wg_lane *lane);

/*
 * Ends the present connection with err and a reason for the log (copied); returns at once. down() follows on the
 * reader; a client lane reconnects. Any thread. conn 0: whichever it is.
 */
void wg_lane_reset(struct wg_lane *lane, uint64_t conn, int err, const char *text);

/* Stops, or lets go on, the reading of messages (those already received still arrive). Counted. Any thread. */
void wg_lane_pause(struct wg_lane *lane);
void wg_lane_resume(struct wg_lane *lane);

/*
 * Gives reading to another thread while a callback of this lane runs: from the callback itself before it does
 * something slow, or from another thread that saw wg_lane_busy_ns grow. The callback goes on with its body
 * and payload intact; from now on other callbacks of the lane may run beside it. 0; EALREADY when no
 * callback runs that holds the reading; EAGAIN when there is no thread.
 */
int wg_lane_handoff(struct wg_lane *lane);
/*
 * From a message callback: what is left of it may run beside other callbacks of the lane, down() included (so it
 * holds references of its own to what it needs). If it lasts longer than busy_us, a thread of the transport
 * hands the reading over, as wg_lane_handoff does; at most eight such callbacks of a lane run at a time. Costs a
 * store, so it can be called for every message.
 */
void wg_lane_yield(struct wg_lane *lane);
/* For how long the reader has been inside a callback, ns; 0 when it isn't. Any thread, no lock. */
uint64_t wg_lane_busy_ns(const struct wg_lane *lane);

/* Who keeps a lane pointer past its callbacks holds a reference. Any thread. */
struct wg_lane *wg_lane_ref(struct wg_lane *lane);
void wg_lane_unref(struct wg_lane *lane);

void *wg_lane_user(const struct wg_lane *lane);
/* In up() at the latest, before other threads know the lane. */
void wg_lane_set_user(struct wg_lane *lane, void *user);
/* NULL for a client lane. Not after down() has returned: the listener may be gone. */
struct wg_listener *wg_lane_listener(const struct wg_lane *lane);

enum wg_lane_state { WG_LANE_IDLE, WG_LANE_CONNECTING, WG_LANE_HANDSHAKE, WG_LANE_UP, WG_LANE_DRAINING, WG_LANE_CLOSED };

/* A copy of what is known about a lane. Counters are of the lane's life, over its connections. */
struct wg_lane_stats {
    enum wg_lane_state state;
    uint64_t conn, since_ns;       /* CLOCK_MONOTONIC: in this state since */
    uint64_t rx_bytes, tx_bytes;   /* on the wire, ciphertext with TLS */
    uint64_t rx_msgs, tx_msgs;
    uint64_t rx_calls, tx_calls;   /* recv and send system calls */
    uint64_t queued_bytes, queued_msgs;
    uint64_t connects, downs, full; /* full: sends answered EAGAIN */
    uint64_t handoffs;             /* callbacks that lost the reading to another thread by busy_us */
    char peer_addr[128];           /* "10.0.0.2:4711", "unix:/run/x" */
    char peer_name[256];           /* first name of the peer's certificate; "" when plain */
    char tls[64];                  /* "TLSv1.3 TLS_AES_128_GCM_SHA256"; "" when plain */
    char last_error[160];
};
void wg_lane_stats(struct wg_lane *lane, struct wg_lane_stats *ret);
/* Adds one object. Takes only locks that are never held across a system call. */
void wg_lane_dump(struct wg_lane *lane, struct wg_dump *d);
/* The section "lanes" of every dump: all lanes and listeners of the process. Call once. */
void wg_transport_register_dump(void);

/* ---- listeners ---- */

struct wg_listener_opts {
    struct wg_lane_opts lane;  /* of each accepted lane */
    uint32_t max_lanes;        /* more are closed as they come [1024] */
    uint32_t backlog;          /* [512] */
    uint32_t socket_mode;      /* permissions of a Unix socket [0600] */
};

/*
 * Listens on addr (as above; host "*" or "" is every address; port 0 lets the kernel choose; a stale
 * Unix socket is replaced, a live one is EADDRINUSE). 0 or errno. The accept thread is the listener's.
 */
int wg_listen(const char *addr, const struct wg_listener_opts *opts, struct wg_listener **ret);
/* Whether addr has the form of an address; whether it can be reached or bound is not asked. */
bool wg_addr_ok(const char *addr);
/* The bound TCP port; 0 for a Unix socket. */
uint16_t wg_listener_port(const struct wg_listener *l);
/* The bound address in the form wg_lane_connect takes. */
const char *wg_listener_addr(const struct wg_listener *l);
void *wg_listener_user(const struct wg_listener *l); /* opts.lane.user */
unsigned wg_listener_lanes(const struct wg_listener *l);
/* Calls each(lane, arg) for every lane; the lane is referenced meanwhile. Any thread. */
void wg_listener_each(struct wg_listener *l, void (*each)(struct wg_lane *lane, void *arg), void *arg);
/* No new lanes from now on; present ones go on. Not from a callback of its lanes. */
void wg_listener_stop(struct wg_listener *l);
/* Stops, ends every lane (their down() runs), waits for all, frees l. Not from a callback of its lanes. */
void wg_listener_close(struct wg_listener *l);

/* ---- one thread for many lanes ---- */

/* A polling thread that serves every lane given it (option threads=shared). 0 or EAGAIN, ENOMEM. */
int wg_poller_new(const char *name, struct wg_poller **ret);
/* After all its lanes are closed. Waits for the thread. */
void wg_poller_free(struct wg_poller *p);

/* ---- TLS ---- */

/*
 * TLS 1.3, mutual. A peer is accepted when its certificate is of the CA, in time, not revoked, and one of its
 * names (SAN DNS, else CN) is on the allow list. Paths are PEM files, read again by wg_tls_reload.
 */
struct wg_tls_config {
    const char *cert, *key, *ca;   /* all needed */
    const char *crl;               /* NULL: none; else every certificate of the CA is checked against it */
    const char *const *allow;      /* names, "*.example.com" for one label, "*" for anyone of the CA */
    unsigned nallow;
    const char *allow_file;        /* more names, one a line, '#' comments; NULL: none */
    uint32_t drain_ms;             /* a connection no longer allowed ends within this time [2000] */
};

/*
 * Reads everything and makes a TLS identity with one reference; config is copied. 0; ENOENT and other errno
 * of files; EINVAL for what is no key, no certificate, a key of another certificate, or an empty allow list. The
 * reason is logged, and copied to errbuf (may be NULL).
 */
int wg_tls_new(const struct wg_tls_config *config, struct wg_tls **ret, char *errbuf, size_t errsize);
/*
 * Reads all files again. On an error the old state stays in force. New connections use the new state at once; of
 * the present ones, those whose peer would now be refused stop reading and end within drain_ms,
 * with EACCES. Any thread.
 */
int wg_tls_reload(struct wg_tls *tls, char *errbuf, size_t errsize);
/* Replaces the names given in the config (not the file's), then reloads. */
int wg_tls_set_allow(struct wg_tls *tls, const char *const *allow, unsigned nallow, char *errbuf,
                     size_t errsize);
struct wg_tls *wg_tls_ref(struct wg_tls *tls);
void wg_tls_unref(struct wg_tls *tls);
/*
 * Whether a name of the lane's peer is on this list (as in wg_tls_config) or in the file (NULL: none): for
 * rights beyond that of connecting. false on a plain lane. From a callback of the lane.
 */
bool wg_lane_peer_listed(struct wg_lane *lane, const char *const *allow, unsigned nallow,
                         const char *allow_file);
/* Not-after of our certificate, seconds since 1970: for warnings and metrics. */
int64_t wg_tls_expires(struct wg_tls *tls);

#endif
