/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: any bytes as a key and as a path; what maps must map back. */
#include <stdlib.h>

#include "keymap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char path[WG_KEY_PATH_MAX], key[8 * WG_KEY_PATH_MAX];
    struct wg_str in = { (const char *)data, (uint32_t)size };
    uint32_t path_len, key_len;

    if (size > WG_KEY_PATH_MAX)
        return 0;
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
