/* SPDX-License-Identifier: Apache-2.0 */
/* Clients' xattrs: the user. name space, less what an unprivileged brick keeps there itself. */
#include "posix.h"

#include <sys/xattr.h>
#include <unistd.h>

#define VALUE_MAX 65536u /* XATTR_SIZE_MAX of Linux */
#define LIST_MAX 65536u

/* The kernel's name for a client's, NUL-terminated in buf; EINVAL, ERANGE, ENOTSUP. */
static int check_name(struct wg_str name, char buf[WG_NAME_MAX + 1])
{
    if (name.len == 0 || memchr(name.s, '\0', name.len))
        return EINVAL;
    if (name.len > WG_NAME_MAX)
        return ERANGE;
    memcpy(buf, name.s, name.len);
    buf[name.len] = '\0';
    if (strncmp(buf, "user.", 5) != 0)
        return ENOTSUP;
    return !strcmp(buf, "user.wg") || !strncmp(buf, "user.wg.", 8) ? EACCES : 0;
}

static int append_value(struct wg_appender *a, const char *path, const char *name, char *value)
{
    ssize_t n = getxattr(path, name, value, VALUE_MAX);

    if (n < 0)
        return errno;
    return wg_append_xattr(a, &(struct wg_xattr){ wg_str_of(name), { value, (uint32_t)n } }) ? 0
                                                                                              : E2BIG;
}

/* Every name of a client, with an empty value: values are asked for one by one. */
static int append_names(struct wg_appender *a, const char *path, char *names)
{
    ssize_t n = listxattr(path, names, LIST_MAX);
    char buf[WG_NAME_MAX + 1];

    if (n < 0)
        return errno;
    for (const char *at = names; at < names + n; at += strlen(at) + 1)
        if (check_name(wg_str_of(at), buf) == 0 &&
            !wg_append_xattr(a, &(struct wg_xattr){ .name = wg_str_of(at) }))
            return E2BIG;
    return 0;
}

static int get_xattrs(struct wg_frame *f, struct px_inode *ino, struct wg_getxattr_out *out)
{
    const struct wg_getxattr_in *in = wg_in(f, getxattr);
    char path[PX_FD_PATH], name[WG_NAME_MAX + 1];
    struct wg_appender a;
    char *room;
    int err = in->name.len > 0 ? check_name(in->name, name) : 0;

    if (err)
        return err == EACCES ? ENODATA : err;
    room = wg_alloc(&f->call->arena, VALUE_MAX);
    if (!room)
        return ENOMEM;
    err = wg_px_as(wg_px(f), &f->call->cred);
    if (err == 0)
        err = wg_append_start(&a, VALUE_MAX + 1024);
    if (err)
        return err;
    wg_px_fd_path(path, ino->fd);
    err = in->name.len > 0 ? append_value(&a, path, name, room) : append_names(&a, path, room);
    if (err) {
        wg_append_abort(&a);
        return err;
    }
    out->xattrs = wg_append_end(&a);
    return wg_keep_iobuf(&f->call->arena, out->xattrs.buf);
}

void wg_posix_getxattr(struct wg_frame *f)
{
    const struct wg_getxattr_in *in = wg_in(f, getxattr);
    struct wg_getxattr_out *out = wg_new_out(f, getxattr);
    struct posix *px = wg_px(f);
    struct px_inode *ino;
    int err;

    if (!out)
        return wg_unwind(f, ENOMEM);
    wg_px_ino_uses(f, &in->at.gfid);
    err = wg_px_find(px, &in->at, &ino);
    if (err)
        return wg_unwind(f, err);
    err = get_xattrs(f, ino, out);
    wg_px_release(px, ino);
    wg_unwind(f, err);
}

/* value NULL removes. */
static int change(struct wg_frame *f, const struct wg_ref *at, struct wg_str name,
                  const struct wg_str *value, uint32_t flags, struct wg_wcc *wcc)
{
    char path[PX_FD_PATH], buf[WG_NAME_MAX + 1];
    struct posix *px = wg_px(f);
    struct px_alone alone;
    struct px_inode *ino;
    struct statx st;
    int err = check_name(name, buf);

    if (err == 0 && value && value->len > VALUE_MAX)
        err = E2BIG;
    if (err == 0)
        err = value ? wg_px_room(px, value->len) : px->readonly ? EROFS : 0;
    if (err == 0)
        err = wg_px_find(px, at, &ino);
    if (err)
        return err;
    wg_px_alone_begin(ino, &alone);
    err = wg_px_stat_inode(px, ino, &st);
    if (err == 0) {
        wg_px_wcc_pre(&st, wcc);
        err = wg_px_as(px, &f->call->cred);
    }
    wg_px_fd_path(path, ino->fd);
    if (err == 0 && (value ? setxattr(path, buf, value->s, value->len, (int)flags)
                           : removexattr(path, buf)) != 0)
        err = errno;
    wg_px_wcc_end(ino, &alone, wcc);
    if (err == 0)
        wg_px_ino_changed(f, &ino->gfid);
    wg_px_release(px, ino);
    return err;
}

void wg_posix_setxattr(struct wg_frame *f)
{
    const struct wg_setxattr_in *in = wg_in(f, setxattr);
    struct wg_setxattr_out *out = wg_new_out(f, setxattr);

    if (!out)
        return wg_unwind(f, ENOMEM);
    if (in->flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE))
        return wg_unwind(f, EINVAL);
    wg_unwind(f, change(f, &in->at, in->name, &in->value, in->flags, &out->wcc));
}

void wg_posix_removexattr(struct wg_frame *f)
{
    const struct wg_removexattr_in *in = wg_in(f, removexattr);
    struct wg_removexattr_out *out = wg_new_out(f, removexattr);

    if (!out)
        return wg_unwind(f, ENOMEM);
    wg_unwind(f, change(f, &in->at, in->name, NULL, 0, &out->wcc));
}
