/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The NFS front door: NFSv3 and MOUNT v3 (v1 and v2 as far as showmount needs) over TCP, and
 * MOUNT over UDP when asked for. One per process, since libntirpc has process-wide state.
 *
 * The program fills a struct wg_nfs_config from its configuration file; nothing in it is kept
 * by reference, except volume.
 */
#ifndef WG_NFS_H
#define WG_NFS_H

#include <stdbool.h>
#include <stdint.h>

struct wg_volume;
struct wg_xlator;
struct wg_dump;

enum wg_nfs_squash {
    WG_SQUASH_ROOT = 0, /* uid 0 and gid 0 become the anonymous ones */
    WG_SQUASH_NONE,
    WG_SQUASH_ALL,      /* every caller becomes anonymous */
};

#define WG_NFS_ANON 65534 /* nobody, nogroup */

/* What some clients may do with an export. */
struct wg_nfs_rule {
    const char *clients;      /* "*", "192.0.2.7", "10.0.0.0/8", "fd00::/8" */
    bool read_only;
    bool privileged_port;     /* refuse source ports of 1024 and above */
    bool allow_none;          /* serve AUTH_NONE, as the anonymous user */
    enum wg_nfs_squash squash;
    uint32_t anon_uid, anon_gid;
};

struct wg_nfs_export {
    const char *path;         /* what clients mount: "/data"; unique, begins with '/' */
    const char *dir;          /* the directory of the volume: "/" or "/a/b" */
    unsigned volume;          /* index into volumes */
    const struct wg_nfs_rule *rules; /* the first that matches the client decides; none: refused */
    unsigned nrules;
};

struct wg_nfs_volume {
    const char *name;         /* for logs and dumps */
    uint8_t id[16];           /* of the volume; the first 8 bytes are in handles, and the fsid */
    uint8_t key[16];          /* signs handles and names new inodes: the same on every gateway and
                                 after every restart, and secret (wg_nfs_key_file makes one) */
    struct wg_volume *volume; /* where calls go; NULL: all fail (a mere check) */
    bool fileid32;            /* fold file ids to 32 bits, for old clients */
};

struct wg_nfs_config {
    const char *const *listen; /* addresses: "0.0.0.0", "::", "127.0.0.1"; none: "::" with IPv4 */
    unsigned nlisten;
    uint16_t nfs_port;        /* 0: the system picks one (wg_nfs_ports tells) */
    uint16_t mount_port;      /* 0: the same as nfs_port */
    bool mount_udp;           /* MOUNT over UDP too */
    bool rpcbind;             /* register with rpcbind (a warning when it is absent) */

    const struct wg_nfs_volume *volumes;
    unsigned nvolumes;
    const struct wg_nfs_export *exports;
    unsigned nexports;

    /* Limits; 0 takes the value in brackets. */
    unsigned threads;         /* that read, and answer inline [cores + 4, at least 8] */
    unsigned max_connections; /* [1024]; more are closed at once. RLIMIT_NOFILE must be above it */
    unsigned conn_requests;   /* in progress on one connection before it is no longer read [64] */
    uint32_t conn_bytes;      /* the same, of payload held [32 MiB] */
    unsigned drc_entries;     /* replies kept per client for retransmissions [1024] */
    unsigned call_timeout_ms; /* deadline of each call; after it NFS3ERR_JUKEBOX [30000] */
};

/*
 * Checks the configuration, binds, listens and serves. The caller has blocked the signals that
 * it handles (threads inherit the mask), ignored SIGPIPE is set here. 0, or an errno after one
 * log line that says what is wrong (a port in use: which one, on which address); nothing stays
 * behind then. Main thread. May be called once per process.
 */
int wg_nfs_start(const struct wg_nfs_config *config);

/* The ports in use, in host order. After wg_nfs_start. */
void wg_nfs_ports(uint16_t *ret_nfs, uint16_t *ret_mount);

/* Since the start; what came and went by UDP is not in it. Any thread. */
struct wg_nfs_counts {
    uint64_t connections;     /* now */
    uint64_t requests, bytes_in, bytes_out;
};
void wg_nfs_counts(struct wg_nfs_counts *ret);

/*
 * Takes exports, rules, volumes and per-connection limits of a new
 * configuration; listeners and threads stay. Requests under way end under the old one. 0, or an
 * errno after a log line, the old configuration then stays. One caller at a time.
 */
int wg_nfs_reload(const struct wg_nfs_config *config);

/*
 * Checks exports, rules and volumes without starting anything: 0, or EINVAL after one line
 * through err for each mistake. For check-config.
 */
int wg_nfs_check(const struct wg_nfs_config *config, void (*err)(void *arg, const char *text),
                 void *arg);

/* Whether text may be the clients of a rule. */
bool wg_nfs_clients_ok(const char *text);

/*
 * Stops listening, lets requests under way finish for at most drain_ms, then closes every
 * connection. After it no call of this front end is under way unless it returns ETIMEDOUT (then
 * graphs must not be freed). Main thread.
 */
int wg_nfs_stop(unsigned drain_ms);

/*
 * Reads a 16-byte key from path, or makes a random one there (mode 0600, synced) when it does
 * not exist. 0 or an errno after a log line.
 */
int wg_nfs_key_file(const char *path, uint8_t ret_key[16]);

/* The section "nfs" of a statedump registers itself in wg_nfs_start. */

#endif
