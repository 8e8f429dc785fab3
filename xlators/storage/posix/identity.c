/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a thread is. The C library's setfsuid and setgroups change every thread of a process (or
 * warn against themselves); the raw calls change one. Switching costs some microseconds, so a
 * thread stays who it was until somebody else is needed (R2).
 */
#include "posix.h"

#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define KEEP ((uint32_t)-1) /* setfsuid(-1) changes nothing and tells who we are */

/*
 * known is false in a new thread: it inherits its creator's identity, whatever that is.
 * The values are those of the kernel, not of the last caller asked for.
 */
static _Thread_local struct {
    bool known;
    uint32_t uid, gid, ngroups;
    uint32_t groups[WG_NGROUPS_MAX];
} me;

static bool same_groups(const struct wg_cred *cred)
{
    return me.ngroups == cred->ngroups &&
           (cred->ngroups == 0 ||
            memcmp(me.groups, cred->groups, cred->ngroups * sizeof me.groups[0]) == 0);
}

/* Each setfs*id call answers the old value and no error, so a second one reads it back. */
static int set_uid(uint32_t uid)
{
    if (me.known && me.uid == uid)
        return 0;
    (void)syscall(SYS_setfsuid, uid);
    me.uid = (uint32_t)syscall(SYS_setfsuid, KEEP);
    return me.uid == uid ? 0 : EPERM;
}

static int set_gid(uint32_t gid)
{
    if (me.known && me.gid == gid)
        return 0;
    (void)syscall(SYS_setfsgid, gid);
    me.gid = (uint32_t)syscall(SYS_setfsgid, KEEP);
    return me.gid == gid ? 0 : EPERM;
}

static int set_groups(const struct wg_cred *cred)
{
    if (me.known && same_groups(cred))
        return 0;
    if (cred->ngroups > WG_NGROUPS_MAX)
        return EINVAL;
    if (syscall(SYS_setgroups, (size_t)cred->ngroups, cred->groups) != 0)
        return EPERM;
    me.ngroups = cred->ngroups;
    if (cred->ngroups > 0)
        memcpy(me.groups, cred->groups, cred->ngroups * sizeof me.groups[0]);
    return 0;
}

int wg_px_as(struct posix *px, const struct wg_cred *cred)
{
    int err;

    if (!px->switches)
        return 0;
    /* (uid_t)-1 is no identity, and would leave the last caller's in place. */
    if (cred->uid == KEEP || cred->gid == KEEP)
        return EPERM;
    /* Groups change under CAP_SETGID, which a switched fsuid keeps: no order is needed. */
    err = set_groups(cred);
    if (err == 0)
        err = set_gid(cred->gid);
    if (err == 0)
        err = set_uid(cred->uid);
    me.known = err == 0;
    return err;
}

int wg_px_as_brick(struct posix *px)
{
    static const struct wg_cred brick;

    if (!px->switches)
        return 0;
    /* With fsuid 0 the capabilities are back, so that group ids do not matter. */
    return me.known ? set_uid(0) : wg_px_as(px, &brick);
}

uint32_t wg_px_brick_begin(struct posix *px)
{
    uint32_t uid = me.uid;

    if (!px->switches || !me.known)
        uid = 0;
    (void)wg_px_as_brick(px);
    return uid;
}

void wg_px_brick_end(struct posix *px, uint32_t uid)
{
    if (px->switches && uid != 0)
        (void)set_uid(uid);
}

/* Identities seen, never forgotten: there are as many as users of the volume. */
struct who {
    struct who *next;
    uint32_t number, uid, gid, ngroups;
    uint32_t groups[];
};

#define WHO_BUCKETS 1024
#define WHO_MAX 65536
static struct who *whos[WHO_BUCKETS];
static uint32_t nwhos;
static pthread_mutex_t who_lock = PTHREAD_MUTEX_INITIALIZER;

static bool is_who(const struct who *w, const struct wg_cred *cred)
{
    return w->uid == cred->uid && w->gid == cred->gid && w->ngroups == cred->ngroups &&
           (w->ngroups == 0 || memcmp(w->groups, cred->groups, w->ngroups * sizeof w->groups[0]) == 0);
}

static struct who *who_new(const struct wg_cred *cred)
{
    size_t bytes = cred->ngroups * sizeof(uint32_t);
    struct who *w;

    if (nwhos >= WHO_MAX)
        return NULL;
    w = malloc(sizeof *w + bytes);
    if (!w)
        return NULL;
    w->number = ++nwhos;
    w->uid = cred->uid;
    w->gid = cred->gid;
    w->ngroups = cred->ngroups;
    if (bytes > 0)
        memcpy(w->groups, cred->groups, bytes);
    return w;
}

uint32_t wg_px_who(const struct wg_cred *cred)
{
    static _Thread_local const struct who *last;
    struct who **head = &whos[(cred->uid ^ cred->gid << 5) % WHO_BUCKETS];
    struct who *w;

    if (last && is_who(last, cred))
        return last->number;
    pthread_mutex_lock(&who_lock);
    for (w = *head; w && !is_who(w, cred); w = w->next)
        ;
    if (!w && (w = who_new(cred)) != NULL) {
        w->next = *head;
        *head = w;
    }
    pthread_mutex_unlock(&who_lock);
    if (!w)
        return 0;
    last = w;
    return w->number;
}
