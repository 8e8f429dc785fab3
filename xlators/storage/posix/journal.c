/* SPDX-License-Identifier: Apache-2.0 */
#include "journal.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAGIC "wgjour1\n"
#define FILE_SIZE (1u << 20)

struct header {
    char magic[8];
    char boot_id[PX_BOOT_ID];
    uint32_t clean;
    uint32_t unused;
    _Atomic uint64_t head, tail; /* offsets in the file: rows are in [head, tail) */
    uint8_t pad[48];
};
_Static_assert(sizeof(struct header) == 120, "the rows begin at a multiple of 8");

struct px_journal {
    struct header *h;
    int fd;
    pthread_mutex_t lock;
    uint32_t pending;
};

void wg_px_boot_id(char id[PX_BOOT_ID])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

    memset(id, 0, PX_BOOT_ID);
    if (fd >= 0) {
        if (read(fd, id, PX_BOOT_ID - 1) < 0)
            id[0] = '\0';
        close(fd);
    }
}

/* Counts the rows; false when they make no sense. */
static bool rows_valid(const struct header *h, uint32_t *ret_count)
{
    uint64_t at = h->head, end = h->tail;

    *ret_count = 0;
    if (at < sizeof *h || at > end || end > FILE_SIZE || at % 8 || end % 8)
        return false;
    while (at < end) {
        const struct px_jrow *r = (const struct px_jrow *)((const uint8_t *)h + at);

        if (end - at < offsetof(struct px_jrow, name) || r->size % 8 || r->size > end - at ||
            r->size < offsetof(struct px_jrow, name) + r->name_len || r->hint_len > WG_HINT_MAX)
            return false;
        at += r->size;
        ++*ret_count;
    }
    return true;
}

static enum px_jstate judge(const struct px_journal *j, const char *now)
{
    const struct header *h = j->h;

    if (memcmp(h->magic, MAGIC, sizeof h->magic) != 0)
        return PX_J_NEW;
    if (h->clean)
        return h->head == h->tail ? PX_J_CLEAN : PX_J_LOST;
    return now[0] && memcmp(h->boot_id, now, PX_BOOT_ID) == 0 ? PX_J_KILLED : PX_J_LOST;
}

static int map(int dirfd, struct px_journal *j)
{
    struct stat st;
    int err;

    j->fd = openat(dirfd, "journal", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (j->fd < 0)
        return errno;
    if (fstat(j->fd, &st) < 0)
        return errno;
    if (st.st_size != FILE_SIZE && ftruncate(j->fd, 0) < 0)
        return errno;
    /* Blocks must be there: a store into a hole of a full disk is a SIGBUS. */
    err = posix_fallocate(j->fd, 0, FILE_SIZE);
    if (err)
        return err;
    j->h = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, j->fd, 0);
    if (j->h == MAP_FAILED) {
        j->h = NULL;
        return errno;
    }
    return 0;
}

/* The mark must be on disk before anything that it judges. */
static int mark_in_use(struct px_journal *j, const char *now)
{
    memcpy(j->h->boot_id, now, PX_BOOT_ID);
    j->h->clean = 0;
    memcpy(j->h->magic, MAGIC, sizeof j->h->magic);
    if (msync(j->h, 4096, MS_SYNC) < 0 || fsync(j->fd) < 0)
        return errno;
    return 0;
}

int wg_px_journal_open(int dirfd, struct px_journal **ret, enum px_jstate *ret_state)
{
    struct px_journal *j = calloc(1, sizeof *j);
    char now[PX_BOOT_ID];
    int err;

    if (!j)
        return ENOMEM;
    j->fd = -1;
    pthread_mutex_init(&j->lock, NULL);
    err = map(dirfd, j);
    if (!err) {
        wg_px_boot_id(now);
        *ret_state = judge(j, now);
        if (*ret_state == PX_J_KILLED && !rows_valid(j->h, &j->pending))
            *ret_state = PX_J_LOST;
        if (*ret_state != PX_J_KILLED)
            wg_px_journal_reset(j);
        err = mark_in_use(j, now);
    }
    if (err) {
        wg_px_journal_close(j, false);
        return err;
    }
    *ret = j;
    return 0;
}

void wg_px_journal_close(struct px_journal *j, bool clean)
{
    if (j->h && clean && j->h->head == j->h->tail) {
        j->h->clean = 1;
        (void)msync(j->h, 4096, MS_SYNC);
        (void)fsync(j->fd);
    }
    if (j->h)
        munmap(j->h, FILE_SIZE);
    if (j->fd >= 0)
        close(j->fd);
    pthread_mutex_destroy(&j->lock);
    free(j);
}

void wg_px_journal_reset(struct px_journal *j)
{
    pthread_mutex_lock(&j->lock);
    j->h->head = sizeof *j->h;
    j->h->tail = sizeof *j->h;
    j->pending = 0;
    pthread_mutex_unlock(&j->lock);
}

bool wg_px_journal_append(struct px_journal *j, const struct px_jrow *row, const char *name,
                          uint32_t *ret_pending)
{
    uint32_t size = (uint32_t)((offsetof(struct px_jrow, name) + row->name_len + 7) & ~(size_t)7);
    uint64_t tail;
    bool room;

    pthread_mutex_lock(&j->lock);
    tail = atomic_load_explicit(&j->h->tail, memory_order_relaxed);
    room = size <= FILE_SIZE - tail;
    if (room) {
        struct px_jrow *to = (struct px_jrow *)((uint8_t *)j->h + tail);

        memcpy(to, row, offsetof(struct px_jrow, name));
        to->size = (uint16_t)size;
        memcpy(to->name, name, row->name_len);
        /* A process killed before this store has not appended the row. */
        atomic_store_explicit(&j->h->tail, tail + size, memory_order_release);
        j->pending++;
    }
    *ret_pending = j->pending;
    pthread_mutex_unlock(&j->lock);
    return room;
}

uint32_t wg_px_journal_pending(struct px_journal *j)
{
    uint32_t n;

    pthread_mutex_lock(&j->lock);
    n = j->pending;
    pthread_mutex_unlock(&j->lock);
    return n;
}

void wg_px_journal_rows(struct px_journal *j, const uint8_t **ret_at, const uint8_t **ret_end)
{
    pthread_mutex_lock(&j->lock);
    *ret_at = (const uint8_t *)j->h + j->h->head;
    *ret_end = (const uint8_t *)j->h + j->h->tail;
    pthread_mutex_unlock(&j->lock);
}

void wg_px_journal_applied(struct px_journal *j, const uint8_t *end, uint32_t rows)
{
    uint64_t at = (uint64_t)(end - (const uint8_t *)j->h);

    pthread_mutex_lock(&j->lock);
    j->pending -= rows;
    if (at == j->h->tail) {
        /* Killed between the two stores, rows would be applied again: that changes nothing. */
        j->h->head = sizeof *j->h;
        j->h->tail = sizeof *j->h;
    } else {
        j->h->head = at;
    }
    pthread_mutex_unlock(&j->lock);
}
