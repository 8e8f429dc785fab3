/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index's journal: a small file mapped shared, to which a name operation appends a row with
 * plain stores. What was stored survives a killed process, since the page cache keeps it, and
 * costs no system call and no transaction; the index applies the rows in batches later, and at the next
 * start what it had not. Not synced: after a machine crash it is worth as little as the index.
 */
#ifndef WG_PX_JOURNAL_H
#define WG_PX_JOURNAL_H

#include "posix.h"

enum px_jop {
    PX_J_ADD = 1, /* name row, and where gfid is */
    PX_J_REMOVE,  /* name row, if it still holds gfid */
    PX_J_FORGET,  /* where gfid is */
    PX_J_WHERE,   /* gfid is now at dir, name */
    PX_J_SEEN,    /* dir's rows are complete as of its mtime */
    PX_J_ALL,     /* every directory's rows are complete (value 1) or not known to be (0) */
};

struct px_jrow {
    uint16_t size; /* of the row with its name, a multiple of 8 */
    uint8_t op, type, hint_len, name_len;
    uint8_t value;
    uint8_t unused;
    wg_gfid dir, gfid;
    struct wg_time mtime;
    uint8_t hint[WG_HINT_MAX];
    char name[]; /* name_len bytes, no NUL */
};
#define PX_JROW_MAX (((offsetof(struct px_jrow, name) + WG_NAME_MAX) + 7) & ~(size_t)7)

enum px_jstate {
    PX_J_NEW,    /* no journal was there */
    PX_J_CLEAN,  /* closed, and the machine's restart since then, if any, does no harm */
    PX_J_KILLED, /* the process died, the machine did not: replay */
    PX_J_LOST,   /* the machine stopped without a clean close: index and journal are worthless */
};

#define PX_BOOT_ID 40

/* Names this start of the machine; "" when it can't be told. */
void wg_px_boot_id(char id[PX_BOOT_ID]);

struct px_journal;

/*
 * Opens or makes the journal in a directory; *ret_state tells what it and the index beside it
 * are worth. From here on it is marked as in use, durably. 0 or errno.
 */
int wg_px_journal_open(int dirfd, struct px_journal **ret, enum px_jstate *ret_state);
/* clean: the index has been synced with every row applied. */
void wg_px_journal_close(struct px_journal *j, bool clean);
/* Drops all rows. */
void wg_px_journal_reset(struct px_journal *j);

/*
 * Appends. false: no room, apply first. *ret_pending: rows waiting, this one included. Any thread.
 */
bool wg_px_journal_append(struct px_journal *j, const struct px_jrow *row, const char *name,
                          uint32_t *ret_pending);
uint32_t wg_px_journal_pending(struct px_journal *j);

/* The rows present now, in order: [*ret_at, *ret_end). They stay until wg_px_journal_applied(end). */
void wg_px_journal_rows(struct px_journal *j, const uint8_t **ret_at, const uint8_t **ret_end);
void wg_px_journal_applied(struct px_journal *j, const uint8_t *end, uint32_t rows);

#endif
