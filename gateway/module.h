/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Translators outside of the program: a shared object with one class,
 * <directory>/<category>/<name>.so for the type "category/name". It is loaded when a volfile or the
 * configuration first names the type, from the directories of wg_module_path_add, then those of the
 * environment's WG_MODULE_PATH, then $libdir/windgate/xlators; and stays loaded. It holds
 *
 *     WG_MODULE(my_class);
 *
 * and may call every wg_ function of the installed headers: the program exports them.
 */
#ifndef WG_MODULE_H
#define WG_MODULE_H

#include "xlator.h"

/* Counts up with every change of the headers that a compiled module could notice. */
#define WG_MODULE_ABI 2

struct wg_module {
    uint32_t abi;       /* always first */
    uint32_t layout[6]; /* sizes: a header that was changed without counting up is noticed too */
    const struct wg_class *class;
};

#define WG_MODULE_LAYOUT \
    { sizeof(struct wg_module), sizeof(struct wg_class), sizeof(struct wg_xlator), sizeof(struct wg_frame), \
      sizeof(struct wg_call), WG_OP_MAX }

/* Once in a module, at file level. */
#define WG_MODULE(the_class) \
    extern const struct wg_module wg_module; \
    const struct wg_module wg_module = { WG_MODULE_ABI, WG_MODULE_LAYOUT, &(the_class) }

/* One more directory to look in first; copied. The same one twice counts once. 0 or ENOMEM. */
int wg_module_path_add(const char *directory);

/*
 * From now on no file is loaded, whatever a configuration or the environment names: for programs that read text
 * which nobody vouches for, fuzz targets above all.
 */
void wg_module_forbid(void);

/*
 * Loads the module of a type that the registry lacks and adds its class. The class; or NULL, then why
 * says in one line what is wrong with the file, or is "" when there is none. Blocks (it reads a file).
 */
const struct wg_class *wg_module_load(const char *type, char *why, size_t size);

#endif
