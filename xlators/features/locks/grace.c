/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What outlives a restart. The monotonic clock goes on while a process is killed and started again,
 * so one number in a file, overwritten in place and never synced, is exact: whoever held a lock
 * holds it at most until then. After a restart of the machine (another boot id) the number means nothing,
 * and may be old: then the longest time to live is waited for. A store that is new has no file,
 * and waits for nothing.
 */
#include <endian.h>
#include <fcntl.h>
#include <unistd.h>

#define WG_LOG_PART "locks"
#include "log.h"
#include "xlators/features/locks/locks.h"

struct state {
    char boot[36];
    char pad[4];
    uint64_t until_ns; /* little-endian; 0: none is held */
};

static int read_boot(char boot[36])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, boot, 36) : -1;

    if (fd >= 0)
        close(fd);
    return n == 36 ? 0 : EIO;
}

/* Durable once, so that a file that is absent later says: nothing was ever held. */
static int create(int fd, const struct state *s, const char *path)
{
    char dir[4096];
    const char *slash = strrchr(path, '/');
    int dirfd, err = 0;

    if (pwrite(fd, s, sizeof *s, 0) != sizeof *s)
        return errno ? errno : EIO;
    if (fsync(fd))
        return errno;
    if (!slash || (size_t)(slash - path) >= sizeof dir)
        return ENAMETOOLONG;
    memcpy(dir, path, (size_t)(slash - path));
    dir[slash - path] = 0;
    dirfd = open(*dir ? dir : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dirfd < 0)
        return errno;
    if (fsync(dirfd))
        err = errno;
    close(dirfd);
    return err;
}

/* How long the grace is, from what the file says. */
static uint64_t until_of(const struct locks *t, const struct state *s, const char *boot, uint64_t now)
{
    uint64_t longest = now + t->ttl_max_ns, until = le64toh(s->until_ns);

    if (memcmp(s->boot, boot, sizeof s->boot))
        return longest;
    return until < longest ? until : longest;
}

static int start(struct locks *t, uint64_t now)
{
    struct grace *g = &t->grace;
    struct state s = { 0 }, fresh = { 0 };
    ssize_t n;
    int err = read_boot(fresh.boot);

    if (err)
        return err;
    g->fd = open(g->path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (g->fd < 0)
        return errno;
    n = pread(g->fd, &s, sizeof s, 0);
    if (n < 0)
        return errno;
    if (n == sizeof s)
        g->until_ns = until_of(t, &s, fresh.boot, now);
    g->written_ns = g->until_ns;
    /* Of this boot it is right as it is: an instance that is about to hand over may be writing it now. */
    if (n == sizeof s && memcmp(s.boot, fresh.boot, sizeof s.boot) == 0) {
        g->written_ns = le64toh(s.until_ns);
        return 0;
    }
    fresh.until_ns = htole64(g->written_ns);
    return create(g->fd, &fresh, g->path);
}

/*
 * Without the file (a full disk, say) nothing is known of before, so the longest time is waited for; and
 * nothing is granted until the file can be written (grace_note tries again).
 */
void grace_open(struct locks *t, const char *path, uint64_t now)
{
    struct grace *g = &t->grace;
    int err;

    *g = (struct grace){ .path = path, .fd = -1 };
    if (!*path)
        return; /* its holders live in this process, and went with it */
    err = start(t, now);
    if (err) {
        wg_error("%s: can't use %s: %s", t->name, path, wg_error_name(err));
        grace_close(g);
        g->until_ns = now + t->ttl_max_ns;
    }
    if (g->until_ns > now)
        wg_notice("%s: locks may be held from before; new ones wait %llu ms", t->name,
                  (unsigned long long)((g->until_ns - now) / 1000000));
}

static int put(struct grace *g, uint64_t until_ns)
{
    uint64_t le = htole64(until_ns);

    if (pwrite(g->fd, &le, sizeof le, offsetof(struct state, until_ns)) != sizeof le)
        return errno ? errno : EIO;
    g->written_ns = until_ns;
    return 0;
}

int grace_note(struct locks *t, uint64_t until_ns)
{
    struct grace *g = &t->grace;
    uint64_t until = g->until_ns;
    int err = 0;

    if (!*g->path)
        return 0;
    if (g->fd < 0) {
        err = start(t, wg_now_ns());
        g->until_ns = until;
        if (err)
            grace_close(g);
    }
    if (!err && until_ns > g->written_ns)
        err = put(g, until_ns);
    return err;
}

/* If this fails the next start waits needlessly, which does no harm. */
void grace_clear(struct grace *g)
{
    if (g->fd >= 0 && g->written_ns && wg_now_ns() >= g->until_ns)
        put(g, 0);
}

void grace_close(struct grace *g)
{
    if (g->fd >= 0)
        close(g->fd);
    g->fd = -1;
}
