/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The S3 front end of a process: listeners, connections, users. Requests enter the graph at its
 * top; buckets are the directories in the volume's root.
 */
#ifndef WG_S3_SERVER_H
#define WG_S3_SERVER_H

#include "types.h"

struct wg_s3;
struct wg_volume;

#define WG_S3_VOLUMES_MAX 64

/* A volume besides the first: its top-level directories are buckets too. */
struct wg_s3_volume {
    const char *name;         /* the LocationConstraint that makes a bucket there */
    struct wg_volume *volume; /* as below */
};

/* Strings are copied by wg_s3_start. */
struct wg_s3_config {
    struct wg_volume *volume; /* started; the caller keeps it until wg_s3_stop. The first one */
    const char *volume_name;  /* NULL: it has none */
    const struct wg_s3_volume *more;
    unsigned nmore;           /* at most WG_S3_VOLUMES_MAX - 1 */
    const char *http;         /* "0.0.0.0:9000", "[::]:9000", "9000" (all addresses); NULL: no http */
    const char *https;        /* the same; NULL: no https. At least one of both */
    const char *cert_file;    /* PEM: certificate and chain; needed for https */
    const char *key_file;     /* PEM */
    const char *region;       /* NULL: "us-east-1" */
    const char *const *domains; /* virtual hosts: "s3.example" serves bucket.s3.example */
    unsigned ndomains;
    const char *users_file;
    unsigned threads;         /* per listener; 0: one per core, at most 4 */
    unsigned max_connections; /* per listener; 0: 10,000. The limit of descriptors must be above */
    unsigned idle_timeout_s;  /* a connection without traffic; 0: 60 */
    unsigned request_timeout_s; /* for a request's headers; 0: 30 */
    unsigned min_rate;        /* bytes a second of a body, in any idle_timeout_s seconds; 0: 1024 */
    uint64_t body_memory;     /* bytes of body buffers, all requests; 0: 256 MiB */
};

/* 0, or an errno after one log line. Blocks until the listeners are ready. */
int wg_s3_start(const struct wg_s3_config *config, struct wg_s3 **ret);
/* Users and certificates are read again; those that can't be are kept, and that is logged. */
void wg_s3_reload(struct wg_s3 *s3);
/*
 * Stops accepting, lets requests finish for at most drain_ms, aborts the rest, ends the threads
 * and frees s3. Blocks.
 */
void wg_s3_stop(struct wg_s3 *s3, unsigned drain_ms);
/* The ports in use (for port 0 in the configuration); 0: not listening. */
uint16_t wg_s3_port(const struct wg_s3 *s3, bool https);
/* Since the start; bytes are those of bodies. Any thread. */
struct wg_s3_counts {
    uint64_t connections;  /* now */
    uint64_t requests, errors, bytes_in, bytes_out;
};
void wg_s3_counts(struct wg_s3 *s3, struct wg_s3_counts *ret);
struct wg_users *wg_s3_users(struct wg_s3 *s3);

#endif
