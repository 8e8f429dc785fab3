/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who might still believe in a lease of an earlier instance of this brick: a gateway that stood still
 * while the brick was restarted. Its client id is in a file, a line each, since before it was granted
 * anything; so the next instance knows whom it has to wait for (until they come back, or for as
 * long as a lease runs), and waits for nobody when there was nobody. The page cache outlives a
 * killed process; a machine takes longer to start than a lease runs.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define WG_LOG_PART "server"
#include "log.h"
#include "xlators/protocol/server/lease.h"

#define LINE 33        /* 32 hex digits and a newline */
#define FILE_MAX (1u << 20)

static void to_line(const uint8_t client[16], char line[LINE + 1])
{
    for (unsigned i = 0; i < 16; i++)
        snprintf(line + 2 * i, 3, "%02x", client[i]);
    line[32] = '\n';
    line[33] = '\0';
}

static bool from_line(const char *line, uint8_t client[16])
{
    unsigned v;

    for (unsigned i = 0; i < 16; i++) {
        if (sscanf(line + 2 * i, "%2x", &v) != 1)
            return false;
        client[i] = (uint8_t)v;
    }
    return line[32] == '\n';
}

static int find_ghost(const struct wg_leases *t, const uint8_t client[16])
{
    for (unsigned i = 0; i < t->nghosts; i++)
        if (!memcmp(t->ghosts[i], client, 16))
            return (int)i;
    return -1;
}

static void read_ghosts(struct wg_leases *t)
{
    struct stat st;
    char *text;
    ssize_t n;

    if (fstat(t->fd, &st) || st.st_size < LINE)
        return;
    text = malloc(FILE_MAX + 1);
    t->ghosts = calloc(FILE_MAX / LINE + 1, sizeof *t->ghosts);
    n = text && t->ghosts ? pread(t->fd, text, FILE_MAX, 0) : 0;
    for (ssize_t at = 0; at + LINE <= n; at += LINE) {
        uint8_t client[16];

        if (from_line(text + at, client) && find_ghost(t, client) < 0)
            memcpy(t->ghosts[t->nghosts++], client, 16);
    }
    free(text);
}

void wg_lease_file_open(struct wg_leases *t, const char *path)
{
    if (!*path || !t->term_ns)
        return;
    /* Kept open: later writes come from threads that are somebody else to the kernel. */
    t->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (t->fd < 0) {
        wg_warning("%s: %s: %s; a gateway that stands still while this brick is restarted may show "
                   "what it remembers for some seconds", t->name, path, wg_error_name(errno));
        return;
    }
    read_ghosts(t);
    if (t->nghosts == 0)
        return;
    atomic_store(&t->ghost.until_ns, wg_now_ns() + t->term_ns + WG_LEASE_COARSE_NS);
    atomic_fetch_add(&t->terms, 1);
    wg_info("%s: changes wait for %u gateways of before the restart, at most %llu ms", t->name,
            t->nghosts, (unsigned long long)(t->term_ns / 1000000));
}

void wg_lease_file_close(struct wg_leases *t)
{
    if (t->fd >= 0)
        close(t->fd);
    t->fd = -1;
    free(t->ghosts);
    t->ghosts = NULL;
    t->nghosts = 0;
}

bool wg_lease_file_add(struct wg_leases *t, const uint8_t client[16])
{
    char line[LINE + 1];
    struct stat st;
    ssize_t n;

    if (t->fd < 0)
        return true;
    to_line(client, line);
    n = fstat(t->fd, &st) ? -1 : pwrite(t->fd, line, LINE, st.st_size / LINE * LINE);
    if (n != LINE && !t->unnoted) /* once: it asks again with each request */
        wg_warning("%s: can't note a gateway that would remember answers: %s; it may not", t->name,
                   n < 0 ? wg_error_name(errno) : "ENOSPC");
    t->unnoted = n != LINE;
    return n == LINE;
}

/* First those that count, then the end: killed between the two, it says too much, not too little. */
void wg_lease_file_rewrite(struct wg_leases *t)
{
    uint32_t n = atomic_load(&t->nholders);
    char *text = t->fd < 0 ? NULL : malloc((n + t->nghosts) * LINE + 1);
    size_t len = 0;

    if (!text)
        return;
    for (uint32_t i = 0; i < n; i++)
        if (atomic_load(&t->holder[i]->until_ns)) {
            to_line(t->holder[i]->client, text + len);
            len += LINE;
        }
    for (unsigned i = 0; i < t->nghosts; i++, len += LINE)
        to_line(t->ghosts[i], text + len);
    if (pwrite(t->fd, text, len, 0) != (ssize_t)len || ftruncate(t->fd, (off_t)len))
        wg_warning("%s: can't note the gateways that remember answers: %s", t->name,
                   wg_error_name(errno));
    free(text);
}

bool wg_lease_file_seen(struct wg_leases *t, const uint8_t client[16])
{
    int i = find_ghost(t, client);

    if (i < 0)
        return false;
    memcpy(t->ghosts[i], t->ghosts[--t->nghosts], 16);
    return t->nghosts == 0;
}
