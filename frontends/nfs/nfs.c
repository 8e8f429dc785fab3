/* SPDX-License-Identifier: Apache-2.0 */
/* The front end as a whole: configuration, start, reload, stop, statedump. */
#include <fcntl.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define WG_LOG_PART "nfs"
#include "conn.h"
#include "dump.h"
#include "log.h"
#include "request.h"

enum {
    CONNECTIONS = 1024,
    CONN_REQUESTS = 64,
    CONN_BYTES = 32 << 20,
    DRC_ENTRIES = 1024,
    RECORD_MAX = NFS3_IO_MAX + (64 << 10),
    TOTAL_BYTES = 512 << 20,
};

static void log_mistake(void *arg, const char *text)
{
    (void)arg;
    wg_error("%s", text);
}

static unsigned threads_wanted(const struct wg_nfs_config *c)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned n = cores > 4 ? (unsigned)cores + 4 : 8;

    return c->threads ? c->threads : n;
}

static unsigned or_default(unsigned value, unsigned otherwise)
{
    return value ? value : otherwise;
}

static void dump(struct wg_dump *d)
{
    struct nfs_exports *t = nfs_exports_get();

    wg_rpc_dump(d);
    drc_dump(d);
    mount_dump(d);
    wg_dump_array(d, "exports");
    for (unsigned i = 0; t && i < t->nexports; i++) {
        const struct nfs_export *e = &t->exports[i];

        wg_dump_fmt(d, NULL, "%s is %s of volume %s", e->path, e->dir, e->volume->name);
    }
    wg_dump_end(d);
    nfs_exports_unref(t);
}

static void register_programs(const struct wg_nfs_config *c)
{
    if (!c->rpcbind)
        return;
    wg_rpc_register(NFS_PROGRAM, NFS_V3, 0);
    wg_rpc_register(MOUNT_PROGRAM, MOUNT_V3, 1);
    wg_rpc_register(MOUNT_PROGRAM, MOUNT_V1, 1);
}

int wg_nfs_start(const struct wg_nfs_config *c)
{
    static struct wg_dump_section section = { .name = "nfs", .fn = dump };
    struct wg_rpc_config rpc = {
        .listen = c->listen,
        .nlisten = c->nlisten,
        .ports = { c->nfs_port, c->mount_port },
        .udp = c->mount_udp,
        .udp_prog = MOUNT_PROGRAM,
        .threads = threads_wanted(c),
        .max_connections = or_default(c->max_connections, CONNECTIONS),
        .conn_requests = or_default(c->conn_requests, CONN_REQUESTS),
        .conn_bytes = or_default(c->conn_bytes, CONN_BYTES),
        .record_max = RECORD_MAX,
        .total_bytes = TOTAL_BYTES,
        .request_size = sizeof(struct nfs_req),
        .call = nfs_call,
        .release = nfs_release,
        .closed = drc_forget,
    };
    struct nfs_exports *t = nfs_exports_new(c, log_mistake, NULL);
    int err;

    if (!t)
        return EINVAL;
    drc_size(or_default(c->drc_entries, DRC_ENTRIES));
    nfs_exports_set(t);
    err = wg_rpc_start(&rpc);
    if (err) {
        nfs_exports_set(NULL);
        return err;
    }
    register_programs(c);
    wg_dump_register(&section);
    nfs_find_roots(t);
    return 0;
}

void wg_nfs_counts(struct wg_nfs_counts *ret)
{
    wg_conn_counts(ret);
}

void wg_nfs_ports(uint16_t *ret_nfs, uint16_t *ret_mount)
{
    uint16_t ports[2];

    wg_rpc_ports(ports);
    *ret_nfs = ports[0];
    *ret_mount = ports[1];
}

int wg_nfs_reload(const struct wg_nfs_config *c)
{
    struct nfs_exports *t = nfs_exports_new(c, log_mistake, NULL);

    if (!t)
        return EINVAL;
    wg_rpc_limits(or_default(c->conn_requests, CONN_REQUESTS),
                  or_default(c->conn_bytes, CONN_BYTES));
    atomic_fetch_add(&t->refs, 1);
    nfs_exports_set(t);
    nfs_find_roots(t);
    nfs_exports_unref(t);
    return 0;
}

int wg_nfs_check(const struct wg_nfs_config *c, void (*err)(void *arg, const char *text), void *arg)
{
    struct nfs_exports *t = nfs_exports_new(c, err, arg);

    if (!t)
        return EINVAL;
    nfs_exports_unref(t);
    return 0;
}

int wg_nfs_stop(unsigned drain_ms)
{
    int err = wg_rpc_stop(drain_ms);

    nfs_exports_set(NULL);
    if (!err) {
        drc_free();
        mount_free();
    }
    return err;
}

/* --- the key --- */

static int read_key(const char *path, uint8_t key[NFS_KEY])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n;
    int err;

    if (fd < 0)
        return errno;
    n = read(fd, key, NFS_KEY);
    err = n < 0 ? errno : n == NFS_KEY ? 0 : EINVAL;
    close(fd);
    return err;
}

static int write_synced(int fd, const uint8_t key[NFS_KEY])
{
    ssize_t n = write(fd, key, NFS_KEY);

    if (n != NFS_KEY)
        return n < 0 ? errno : EIO;
    return fsync(fd) != 0 ? errno : 0;
}

/* Written aside and linked: a crash leaves no half key, a racing start wins or loses whole. */
static int make_key(const char *path, uint8_t key[NFS_KEY])
{
    char temp[4096];
    int fd, err;

    if ((size_t)snprintf(temp, sizeof temp, "%s.XXXXXX", path) >= sizeof temp)
        return ENAMETOOLONG;
    if (RAND_bytes(key, NFS_KEY) != 1)
        return EIO;
    fd = mkostemp(temp, O_CLOEXEC); /* mode 0600 */
    if (fd < 0)
        return errno;
    err = write_synced(fd, key);
    close(fd);
    if (!err && link(temp, path) != 0)
        err = errno;
    unlink(temp);
    return err == EEXIST ? read_key(path, key) : err;
}

int wg_nfs_key_file(const char *path, uint8_t ret_key[NFS_KEY])
{
    int err = read_key(path, ret_key);

    if (err == ENOENT)
        err = make_key(path, ret_key);
    if (err)
        wg_error("the key for file handles, %s: %s", path,
                 err == EINVAL ? "shorter than 16 bytes" : strerror(err));
    return err;
}
