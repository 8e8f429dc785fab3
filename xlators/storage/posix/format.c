/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The brick's root: is it one, is it ours, may this release touch it? docs/on-disk-format.md says
 * what is written where. Everything is refused with one line before anything is changed.
 */
#include "posix.h"

#include <libconfig.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <uuid/uuid.h>

#define WG_LOG_PART "posix"
#include "log.h"

#define FORMAT_VERSION 1
#define FORMAT_MAX 65536
#define LOCK_WAIT_NS 2000000000u
#define ROOT_IDS 33 /* version, volume id, brick id */

/* Features of this release, by what a release without them may do with the brick. None yet. */
static const char *const known_features[] = { NULL };

static const char *root_name(const struct posix *px)
{
    return wg_opt_str(px->xl, "directory");
}

static void set_names(struct posix *px, bool handles)
{
    px->handles = px->switches = handles;
    px->rec_name = handles ? "trusted.wg" : "user.wg";
    px->meta_name = handles ? "trusted.wg.meta" : "user.wg.meta";
}

static const char *ids_name(const struct posix *px)
{
    return px->handles ? "trusted.wg.brick" : "user.wg.brick";
}

/* Can this process do what mode root needs: trusted xattrs, handles, other identities? */
static int try_root(struct posix *px)
{
    struct wg_cred nobody = { .uid = 65534, .gid = 65534 };
    struct { struct file_handle h; unsigned char b[128]; } h = { .h.handle_bytes = 128 };
    int mount, fd;

    if (geteuid() != 0)
        return EPERM;
    if (fsetxattr(px->root_fd, "trusted.wg.try", "", 0, 0) != 0)
        return errno;
    fremovexattr(px->root_fd, "trusted.wg.try");
    if (name_to_handle_at(px->root_fd, "", &h.h, &mount, AT_EMPTY_PATH) != 0)
        return errno;
    fd = open_by_handle_at(px->root_fd, &h.h, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return errno;
    close(fd);
    px->switches = true;
    if (wg_px_as(px, &nobody) != 0)
        return EPERM;
    return wg_px_as_brick(px);
}

static int try_user(struct posix *px)
{
    if (fsetxattr(px->root_fd, "user.wg.try", "", 0, 0) != 0)
        return errno;
    fremovexattr(px->root_fd, "user.wg.try");
    return 0;
}

/* ---- the format file --------------------------------------------------------------------- */

static int id_option(const struct posix *px, const char *name, uint8_t id[16], bool *given)
{
    const char *text = wg_opt_str(px->xl, name);

    *given = text && *text;
    if (*given && uuid_parse(text, id) != 0) {
        wg_error("option %s: \"%s\" is no UUID", name, text);
        return EINVAL;
    }
    return 0;
}

static int write_file(int dirfd, const char *name, const char *text, size_t len)
{
    int fd = openat(dirfd, "format.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), err = 0;

    if (fd < 0)
        return errno;
    if (write(fd, text, len) != (ssize_t)len)
        err = errno ? errno : ENOSPC;
    else if (fsync(fd) != 0)
        err = errno;
    if (close(fd) != 0 && err == 0)
        err = errno;
    if (err == 0 && renameat(dirfd, "format.new", dirfd, name) != 0)
        err = errno;
    if (err == 0 && fsync(dirfd) != 0)
        err = errno;
    return err;
}

static int write_format(struct posix *px)
{
    char text[1024], volume[37], brick[37];
    int n;

    uuid_unparse_lower(px->volume_id, volume);
    uuid_unparse_lower(px->brick_id, brick);
    n = snprintf(text, sizeof text,
                 "# A Windgate brick. Do not edit: the root's xattr repeats the ids.\n"
                 "version = %d;\n"
                 "volume = \"%s\";\n"
                 "brick = \"%s\";\n"
                 "mode = \"%s\";\n"
                 "features = { compatible = [ ]; read_only_compatible = [ ]; incompatible = [ ]; };\n",
                 FORMAT_VERSION, volume, brick, px->handles ? "root" : "unprivileged");
    return write_file(px->private_fd, "format", text, (size_t)n);
}

/* The first feature of a list that this release does not know; NULL: none. */
static const char *unknown_feature(config_t *cfg, const char *list)
{
    config_setting_t *s = config_lookup(cfg, list);
    int n = s ? config_setting_length(s) : 0;

    for (int i = 0; i < n; i++) {
        const char *name = config_setting_get_string_elem(s, i);
        bool known = false;

        for (unsigned k = 0; name && known_features[k]; k++)
            known = known || !strcmp(name, known_features[k]);
        if (!known)
            return name ? name : "?";
    }
    return NULL;
}

static int bad_format(const struct posix *px, const char *what, const char *which)
{
    wg_error("%s/" PX_PRIVATE "/format: %s %s", root_name(px), what, which);
    return EINVAL;
}

static int check_format(struct posix *px, config_t *cfg)
{
    const char *volume = "", *brick = "", *mode = "", *name;
    int version = 0;
    bool handles;

    config_lookup_int(cfg, "version", &version);
    config_lookup_string(cfg, "volume", &volume);
    config_lookup_string(cfg, "brick", &brick);
    config_lookup_string(cfg, "mode", &mode);
    if (version > FORMAT_VERSION)
        return bad_format(px, "made by a newer release:", "its version is not known here");
    if (version < 1)
        return bad_format(px, "no version", "in it");
    name = unknown_feature(cfg, "features.incompatible");
    if (name)
        return bad_format(px, "this release can't use the feature", name);
    name = unknown_feature(cfg, "features.read_only_compatible");
    if (name) {
        wg_warning("%s: read only, because of the feature %s", root_name(px), name);
        px->readonly = true;
    }
    if (uuid_parse(volume, px->volume_id) != 0)
        return bad_format(px, "no valid", "volume id");
    if (uuid_parse(brick, px->brick_id) != 0)
        return bad_format(px, "no valid", "brick id");
    handles = !strcmp(mode, "root");
    if (!handles && strcmp(mode, "unprivileged") != 0)
        return bad_format(px, "no valid", "mode");
    if (handles && try_root(px) != 0) {
        wg_error("%s was made by a privileged brick and needs root, with CAP_SYS_ADMIN, "
                 "CAP_DAC_READ_SEARCH, CAP_SETUID and CAP_SETGID", root_name(px));
        return EPERM;
    }
    set_names(px, handles);
    return 0;
}

static int read_format(struct posix *px)
{
    int fd = openat(px->private_fd, "format", O_RDONLY | O_NOFOLLOW | O_CLOEXEC), err;
    char *text;
    ssize_t n;
    config_t cfg;

    if (fd < 0)
        return errno;
    text = calloc(1, FORMAT_MAX);
    n = text ? read(fd, text, FORMAT_MAX - 1) : -1;
    close(fd);
    if (n < 0) {
        free(text);
        return EIO;
    }
    config_init(&cfg);
    err = config_read_string(&cfg, text) ? check_format(px, &cfg)
                                         : bad_format(px, config_error_text(&cfg), "");
    config_destroy(&cfg);
    free(text);
    return err;
}

/* ---- the root's xattrs ------------------------------------------------------------------- */

static void ids_of(const struct posix *px, uint8_t b[ROOT_IDS])
{
    b[0] = FORMAT_VERSION;
    memcpy(b + 1, px->volume_id, 16);
    memcpy(b + 17, px->brick_id, 16);
}

static int check_root_ids(struct posix *px)
{
    uint8_t want[ROOT_IDS], have[ROOT_IDS];
    ssize_t n = fgetxattr(px->root_fd, ids_name(px), have, sizeof have);

    ids_of(px, want);
    if (n == ROOT_IDS && !memcmp(have, want, ROOT_IDS))
        return 0;
    if (n < 0 && errno != ENODATA)
        return errno;
    wg_error("%s: the root's xattr %s does not repeat the ids of " PX_PRIVATE "/format: "
             "this is a copy without xattrs, or another brick's directory", root_name(px), ids_name(px));
    return EINVAL;
}

static int write_root(struct posix *px)
{
    struct px_rec rec = { .gfid = WG_ROOT_GFID, .generation = 1 };
    uint8_t ids[ROOT_IDS];
    int err = wg_px_rec_set(px, px->root_fd, &rec);

    if (err)
        return err;
    ids_of(px, ids);
    return fsetxattr(px->root_fd, ids_name(px), ids, sizeof ids, 0) == 0 ? 0 : errno;
}

/* ---- opening, initialising --------------------------------------------------------------- */

static int subdir(int dirfd, const char *name, int *ret)
{
    if (mkdirat(dirfd, name, 0700) != 0 && errno != EEXIST)
        return errno;
    *ret = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return *ret < 0 ? errno : 0;
}

/*
 * One brick at a time: the lock is the open file's, and ends with the process. One that was killed
 * takes a while to go (its memory is torn down first), so its successor waits a little.
 */
static int lock_root(struct posix *px)
{
    struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    uint64_t until = wg_now_ns() + LOCK_WAIT_NS;

    px->format_fd = openat(px->private_fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (px->format_fd < 0)
        return errno;
    for (;;) {
        if (fcntl(px->format_fd, F_OFD_SETLK, &fl) == 0)
            return 0;
        if ((errno != EAGAIN && errno != EACCES) || wg_now_ns() >= until)
            break;
        usleep(20000);
    }
    if (errno == EAGAIN || errno == EACCES) {
        wg_error("%s: another process serves this directory", root_name(px));
        return EBUSY;
    }
    return errno;
}

static int initialise(struct posix *px)
{
    bool given;
    int err = id_option(px, "volume-id", px->volume_id, &given);

    if (err)
        return err;
    if (!given)
        uuid_generate_random(px->volume_id);
    err = id_option(px, "brick-id", px->brick_id, &given);
    if (err)
        return err;
    if (!given)
        uuid_generate_random(px->brick_id);
    if (try_root(px) == 0) {
        set_names(px, true);
    } else {
        err = try_user(px);
        if (err) {
            wg_error("%s: this file system can't hold extended attributes here (%s)", root_name(px),
                     strerror(err));
            return err;
        }
        set_names(px, false);
    }
    err = write_root(px);
    if (err == 0)
        err = write_format(px); /* last: what has a format file is complete */
    if (err == 0 && fsync(px->root_fd) != 0)
        err = errno;
    if (err)
        wg_error("%s: making a brick: %s", root_name(px), strerror(err));
    else
        wg_notice("%s is a brick now, mode %s", root_name(px), px->handles ? "root" : "unprivileged");
    return err;
}

static int check_ids(struct posix *px)
{
    uint8_t id[16];
    bool given;
    int err = id_option(px, "volume-id", id, &given);

    if (err == 0 && given && memcmp(id, px->volume_id, 16) != 0) {
        wg_error("%s belongs to another volume than option volume-id says", root_name(px));
        return EINVAL;
    }
    if (err == 0)
        err = id_option(px, "brick-id", id, &given);
    if (err == 0 && given && memcmp(id, px->brick_id, 16) != 0) {
        wg_error("%s is another brick than option brick-id says", root_name(px));
        return EINVAL;
    }
    return err;
}

static int open_root(struct posix *px)
{
    struct statfs fs;
    struct statx st;

    px->root_fd = open(root_name(px), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (px->root_fd < 0 || fstatfs(px->root_fd, &fs) != 0 || wg_px_stat(px->root_fd, &st) != 0) {
        wg_error("%s: %s", root_name(px), strerror(errno));
        return errno;
    }
    px->dev_major = st.stx_dev_major;
    px->dev_minor = st.stx_dev_minor;
    px->fs_magic = (uint32_t)fs.f_type;
    px->total_bytes = (uint64_t)fs.f_blocks * (uint64_t)fs.f_bsize;
    return 0;
}

static int open_private(struct posix *px, bool init)
{
    if (init && mkdirat(px->root_fd, PX_PRIVATE, 0700) != 0 && errno != EEXIST) {
        wg_error("%s: can't make " PX_PRIVATE " there: %s", root_name(px), strerror(errno));
        return errno;
    }
    px->private_fd = openat(px->root_fd, PX_PRIVATE,
                            O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (px->private_fd >= 0)
        return 0;
    if (errno == ENOENT)
        wg_error("%s holds no brick (is its disk mounted?); --init makes one", root_name(px));
    else
        wg_error("%s/" PX_PRIVATE ": %s", root_name(px), strerror(errno));
    return errno;
}

static int adopt_root(struct posix *px)
{
    struct px_rec rec;
    struct statx st;
    int fd = openat(px->root_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC), err;

    if (fd < 0)
        return errno;
    err = wg_px_stat(fd, &st);
    if (err == 0)
        err = wg_px_rec_get(px, fd, &rec);
    if (err == 0 && !wg_gfid_eq(rec.gfid, WG_ROOT_GFID))
        err = EINVAL;
    if (err) {
        close(fd);
        wg_error("%s: the root's record: %s", root_name(px), strerror(err));
        return err;
    }
    return wg_px_adopt(px, fd, &rec, &st, true, &px->root);
}

int wg_px_format_open(struct posix *px)
{
    bool init = wg_opt_bool(px->xl, "init");
    uint64_t verf;
    int err = open_root(px);

    if (err == 0)
        err = open_private(px, init);
    if (err == 0)
        err = lock_root(px);
    if (err)
        return err;
    err = read_format(px);
    if (err == 0)
        err = check_root_ids(px);
    else if (err == ENOENT && init)
        err = initialise(px);
    else if (err == ENOENT)
        wg_error("%s holds no brick (is its disk mounted?); --init makes one", root_name(px));
    if (err == 0)
        err = check_ids(px);
    if (err == 0)
        err = subdir(px->private_fd, "replaced", &px->replaced_fd);
    if (err == 0)
        err = adopt_root(px);
    /* A verifier that no earlier run had. */
    if (err == 0 && getrandom(&verf, sizeof verf, 0) != (ssize_t)sizeof verf)
        err = EIO;
    if (err == 0)
        atomic_store(&px->verf, verf);
    return err;
}

void wg_px_format_close(struct posix *px)
{
    int *const fds[] = { &px->replaced_fd, &px->format_fd, &px->private_fd, &px->root_fd };

    for (unsigned i = 0; i < sizeof fds / sizeof fds[0]; i++) {
        if (*fds[i] >= 0)
            close(*fds[i]);
        *fds[i] = -1;
    }
}
