/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: any bytes as a key and as a path; what maps must map back. */
#include <stdlib.h>

#include "keymap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* data as a name in each kind of directory: its sort form must give it back; its twin shows the same key. */
static void as_name(struct wg_str name)
{
    uint8_t sort[WG_KEY_SORT_MAX];
    char back[WG_NAME_MAX], twin[WG_KEY_TWIN_MAX];
    struct wg_key_name shown;
    uint32_t len, n;

    if (name.len == 0 || name.len > WG_NAME_MAX || memchr(name.s, '\0', name.len) || memchr(name.s, '/', name.len))
        return;
    for (enum wg_key_dir in = WG_KEY_IN_DIR; in <= WG_KEY_IN_DOTCHUNK; in++)
        for (int is_dir = 0; is_dir < 2; is_dir++) {
            struct wg_key_name is = wg_key_of_name(in, name, is_dir);

            if (wg_key_name_ok(in, name, is_dir) != (is.kind != WG_KEY_NONE))
                abort();
            len = wg_key_sort(in, name, is_dir, sort);
            if (len > sizeof sort)
                abort();
            if (is.kind != WG_KEY_NONE && !wg_key_unsort(sort, len, back, &n, &shown) && shown.slash != is.slash)
                abort();
            if (!is_dir && !wg_key_twin(in, name, twin, &n) && n >= sizeof twin)
                abort();
        }
    wg_key_dir_rename_ok(name, WG_STR("plain"));
    wg_key_dir_rename_ok(WG_STR(".@+chunk"), name);
}

static void as_sort_form(const uint8_t *data, size_t size)
{
    char name[WG_NAME_MAX];
    struct wg_key_name shown;
    uint32_t n;

    if (size <= WG_KEY_SORT_MAX && !wg_key_unsort(data, (uint32_t)size, name, &n, &shown) && n > sizeof name)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char path[WG_KEY_PATH_MAX], key[8 * WG_KEY_PATH_MAX];
    struct wg_str in = { (const char *)data, (uint32_t)size };
    uint32_t path_len, key_len;

    if (size > WG_KEY_PATH_MAX)
        return 0;
    as_name(in);
    as_sort_form(data, size);
    for (int twin = 0; twin < 2; twin++)
        if (!wg_key_to_path(in, twin, path, &path_len) &&
            (wg_path_to_key((struct wg_str){ path, path_len }, false, key, sizeof key, &key_len) ||
             !wg_str_eq(in, (struct wg_str){ key, key_len })))
            abort();
    if (!wg_path_to_key(in, false, key, sizeof key, &key_len) && key_len <= WG_KEY_MAX) {
        struct wg_str k = { key, key_len };

        if (wg_key_to_path(k, false, path, &path_len))
            abort();
        if (!wg_str_eq(in, (struct wg_str){ path, path_len }) &&
            (wg_key_to_path(k, true, path, &path_len) || !wg_str_eq(in, (struct wg_str){ path, path_len })))
            abort();
    }
    return 0;
}
