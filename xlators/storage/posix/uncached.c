/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Large objects beside the page cache. What is written (RWF_DONTCACHE, Linux 6.14) goes to disk at once and
 * its pages serve the next write, so an upload takes no memory from what is read often, and its sync
 * finds little to do. The first pass of a reader over a large file goes from the disk into our buffers; who
 * comes to a part again shows that it is wanted more than once, and from then on the file is cached like
 * any other. What is wholly in the cache already (cachestat, Linux 6.5) is read there and stays.
 */
#include "posix.h"

#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

#ifndef RWF_DONTCACHE
#define RWF_DONTCACHE 0x00000080
#endif

#define PAGE 4096u
#define READ_MIN (512u << 10)    /* smaller ones are random reads, or metadata of some format */
#define OUT_OF_ORDER (16u << 20) /* streams come with several reads in flight */
#define CACHED UINT64_MAX        /* of px_inode.pass */

static bool is_large(const struct posix *px, uint64_t size)
{
    uint64_t least = atomic_load_explicit(&px->uncached_size, memory_order_relaxed);

    return least > 0 && size >= least;
}

void wg_px_uncached_size(struct posix *px, struct px_inode *ino, uint64_t size)
{
    if (is_large(px, size) != atomic_load_explicit(&ino->large, memory_order_relaxed))
        atomic_store_explicit(&ino->large, is_large(px, size), memory_order_relaxed);
}

bool wg_px_uncached_read(struct px_inode *ino, uint64_t offset, uint32_t size)
{
    uint64_t pass;

    if (size < READ_MIN || !atomic_load_explicit(&ino->large, memory_order_relaxed))
        return false;
    pass = atomic_load_explicit(&ino->pass, memory_order_relaxed);
    if (pass == CACHED)
        return false;
    if (pass > OUT_OF_ORDER && offset < pass - OUT_OF_ORDER) {
        atomic_store_explicit(&ino->pass, CACHED, memory_order_relaxed);
        return false;
    }
    while (pass != CACHED && pass < offset + size &&
           !atomic_compare_exchange_weak_explicit(&ino->pass, &pass, offset + size, memory_order_relaxed,
                                                  memory_order_relaxed))
        ;
    return true;
}

/* Some flag is not for this kernel or file system: is it to be tried without this one? */
static bool refused(ssize_t n, int flags)
{
    return n < 0 && errno == EOPNOTSUPP && (flags & RWF_DONTCACHE);
}

/* What came without the flag tells whether that was it (RWF_NOWAIT may be refused as well): then no more of it. */
static ssize_t tried_without(struct posix *px, ssize_t n)
{
    if (n >= 0 || errno != EOPNOTSUPP)
        atomic_store(&px->uncached_size, 0);
    return n;
}

/* Pages of the range that are cached, or -1. The thread is the brick: the kernel tells only who may write. */
static int64_t cached_pages(int fd, uint64_t offset, uint64_t size)
{
    uint64_t range[2] = { offset, size };
    uint64_t stat[5]; /* cached, dirty, in writeback, evicted, lately evicted */

    return syscall(SYS_cachestat, fd, range, stat, 0) == 0 ? (int64_t)stat[0] : -1;
}

/* fd's own flags are everybody's, so another one; opening takes microseconds, the read hundreds. */
static ssize_t read_disk(int fd, const struct iovec *iov, uint64_t offset)
{
    char path[PX_FD_PATH];
    int direct = open(wg_px_fd_path(path, fd), O_RDONLY | O_DIRECT | O_CLOEXEC);
    ssize_t n = direct < 0 ? -1 : preadv(direct, iov, 1, (off_t)offset);
    int err = errno;

    if (direct >= 0)
        close(direct);
    errno = err;
    return n;
}

static ssize_t read_cached(struct posix *px, int fd, const struct iovec *iov, uint64_t offset, int flags)
{
    ssize_t n = preadv2(fd, iov, 1, (off_t)offset, flags);

    if (refused(n, flags))
        n = tried_without(px, preadv2(fd, iov, 1, (off_t)offset, flags & ~RWF_DONTCACHE));
    return n;
}

ssize_t wg_px_preadv(struct posix *px, int fd, const struct iovec *iov, uint64_t offset, bool nowait, bool uncached)
{
    int flags = nowait ? RWF_NOWAIT : 0;
    int64_t pages;
    ssize_t n;

    if (!uncached || wg_px_as_brick(px) != 0)
        return read_cached(px, fd, iov, offset, flags);
    pages = cached_pages(fd, offset, iov->iov_len);
    if (pages < 0 || pages == (int64_t)(iov->iov_len / PAGE))
        return read_cached(px, fd, iov, offset, flags | RWF_DONTCACHE);
    if (nowait) /* even a try would make the kernel read ahead into its cache, and so would part of a read */
        return errno = EAGAIN, -1;
    if (offset % PAGE || iov->iov_len % PAGE || (uintptr_t)iov->iov_base % PAGE)
        return read_cached(px, fd, iov, offset, RWF_DONTCACHE);
    n = read_disk(fd, iov, offset);
    return n < 0 ? read_cached(px, fd, iov, offset, RWF_DONTCACHE) : n;
}

ssize_t wg_px_pwritev(struct posix *px, int fd, const struct iovec *iov, unsigned n, uint64_t offset, bool uncached)
{
    int flags = uncached ? RWF_DONTCACHE : 0;
    ssize_t w = pwritev2(fd, iov, (int)n, (off_t)offset, flags);

    if (refused(w, flags))
        w = tried_without(px, pwritev2(fd, iov, (int)n, (off_t)offset, 0));
    return w;
}
