/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration file, windgate.conf (libconfig's syntax). One table (settings.c) has a row
 * per setting: name, type, bounds, default and its sentence; reading, checking, the manual and
 * "windgate help --settings" are made from it. An unknown setting is an error that names the
 * nearest known one. Relative paths are relative to the file's own directory.
 */
#ifndef WG_SETTINGS_H
#define WG_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct wg_set_list {
    void *items; /* structs of the section's type */
    unsigned n;
};

struct wg_set_strs {
    const char **s;
    unsigned n;
};

/* "tune = { posix = { replaced-keep = "1m"; }; }": one option of an xlator of the volume. */
struct wg_set_tune {
    const char *type;   /* the class, "storage/posix" */
    const char *option; /* its option */
    const char *value;  /* as text, in the volfile's form */
    int line;
};

struct wg_set_tunes {
    struct wg_set_tune *t;
    unsigned n;
};

/* An entry of "layers": a translator that the user puts into the graph; top first. */
struct wg_set_layer {
    int line;
    const char *type;   /* the class, in full: "debug/trace" */
    const char *name;   /* in the graph; one that follows from the type when none is given */
    struct wg_set_tunes options;
};

struct wg_set_layers {
    struct wg_set_layer *l;
    unsigned n;
};

/* brick: what "windgate brick" serves. */
struct wg_set_brick {
    int line; /* where it stands in the file; 0: not given. First in each section. */
    const char *name, *volume, *volume_id, *directory, *listen;
    struct wg_set_strs allow, pull_allow, peers;
    bool plain, init;
    struct wg_set_layers layers;
    struct wg_set_tunes tune;
};

/* An entry of bricks: a brick server that volumes use. */
struct wg_set_remote {
    int line;
    const char *name, *address, *peer_name, *volume, *volume_id;
    int64_t lanes;
    bool plain;
};

struct wg_set_volume {
    int line;
    const char *name, *id, *brick, *directory;
    struct wg_set_layers layers;
    struct wg_set_tunes tune;
};

struct wg_set_export {
    int line;
    const char *path, *volume, *directory, *squash;
    struct wg_set_strs clients;
    bool read_only, privileged_port, allow_none;
    int64_t anon_uid, anon_gid;
};

struct wg_set_nfs {
    int line;
    bool enabled;
    struct wg_set_strs listen;
    int64_t port, mount_port, connections, timeout_ms;
    bool mount_udp, rpcbind, fileid32;
};

struct wg_set_s3 {
    int line;
    bool enabled;
    const char *volume, *users, *region, *listen;
    struct wg_set_strs domains, volumes;
    int64_t port, tls_port;
    const char *certificate, *key;
    int64_t connections;
};

struct wg_set_tls {
    int line;
    const char *certificate, *key, *ca, *crl;
};

struct wg_set_log {
    int line;
    const char *level, *file;
    int64_t slow_ms;
};

struct wg_settings {
    int line;
    const char *file;    /* name of the file, for messages */
    const char *control, *state;
    int64_t descriptors, drain_ms;
    struct wg_set_strs module_path;
    struct wg_set_log log;
    struct wg_set_tls tls;
    struct wg_set_brick brick;
    struct wg_set_nfs nfs;
    struct wg_set_s3 s3;
    struct wg_set_list bricks, volumes, exports;
    void *priv;
};

typedef void wg_set_error(void *arg, const char *text);

/*
 * Reads and checks the text of a configuration; every error is one line "file:line: what"
 * through err. The result refers to nothing of text; wg_settings_free frees it. NULL after errors.
 */
struct wg_settings *wg_settings_parse(const char *file, const char *text, size_t len,
                                      wg_set_error *err, void *arg);
/* The same from a file; errors of opening it are told too. */
struct wg_settings *wg_settings_load(const char *file, wg_set_error *err, void *arg);
void wg_settings_free(struct wg_settings *s);

/* err for the above that prints "windgate: ..." on stderr; arg is not used. */
void wg_settings_complain(void *arg, const char *text);
/* The same into the log, for daemons that run. */
void wg_settings_log(void *arg, const char *text);

/*
 * What a gateway needs besides: volumes, exports that name them, TLS for bricks. The number of
 * errors told through err.
 */
int wg_settings_check_gateway(const struct wg_settings *s, wg_set_error *err, void *arg);
int wg_settings_check_brick(const struct wg_settings *s, wg_set_error *err, void *arg);

const struct wg_set_volume *wg_settings_volume(const struct wg_settings *s, const char *name);
const struct wg_set_remote *wg_settings_remote(const struct wg_settings *s, const char *name);

/* Letters, digits, '-', '_' and '.', 1 to 64 of them: what bricks, volumes and layers may be called. */
bool wg_settings_is_name(const char *name);

/* A quoted string of libconfig's syntax, for generated files. Allocated; NULL: out of memory. */
char *wg_settings_quote(const char *text);

/* Every setting with its default and sentence: as text, and as sections of the manual page. */
void wg_settings_help(FILE *out);
void wg_settings_man(FILE *out);

#endif
