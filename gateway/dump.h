/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a statedump is built with: a tree of named values (cJSON inside), printed as text or
 * JSON. Sections register once; a dump calls each without a lock that a call may hold.
 */
#ifndef WG_DUMP_H
#define WG_DUMP_H

#include <stdbool.h>
#include <stdint.h>

struct wg_dump; /* points at an open object or array; values are added to it */

void wg_dump_u64(struct wg_dump *d, const char *name, uint64_t v);
void wg_dump_i64(struct wg_dump *d, const char *name, int64_t v);
void wg_dump_bool(struct wg_dump *d, const char *name, bool v);
void wg_dump_str(struct wg_dump *d, const char *name, const char *v);
void wg_dump_strn(struct wg_dump *d, const char *name, const char *v, uint32_t len);
void wg_dump_fmt(struct wg_dump *d, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Open and close an object or an array; name is NULL inside an array. They nest, 16 deep. */
void wg_dump_object(struct wg_dump *d, const char *name);
void wg_dump_array(struct wg_dump *d, const char *name);
void wg_dump_end(struct wg_dump *d);

/* A section of every dump of this process, "queues" say; static memory, registered once. */
struct wg_dump_section {
    const char *name;
    void (*fn)(struct wg_dump *d);
    struct wg_dump_section *next;
};
void wg_dump_register(struct wg_dump_section *s);

/*
 * A whole dump: calls and their frames, sections, each xlator's own: of graph, or (NULL) of all volumes.
 * Text or JSON, allocated, the caller frees; NULL when memory is out.
 */
struct wg_graph;
char *wg_dump_process(struct wg_graph *graph, bool json);
/* Only the section, or the translators by name or type, called so (NULL: all); NULL when there is none. */
char *wg_dump_only(struct wg_graph *graph, bool json, const char *name);
/*
 * What translators say of themselves for `windgate status` (class->notes): an array of objects, NULL when they
 * have nothing to say. The caller frees it (cJSON_Delete).
 */
struct cJSON *wg_dump_notes(void);
/* The same as a tree, for who reads it. The caller frees it (cJSON_Delete). */
struct cJSON *wg_dump_tree(struct wg_graph *graph);

#endif
