/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Translators: a class is one struct that lists the fops it treats (and `any` for those it
 * treats alike); for the rest it is not even visited. An instance is a node of a graph.
 */
#ifndef WG_XLATOR_H
#define WG_XLATOR_H

#include "call.h"

struct wg_dump;
struct wg_event;

enum wg_opt_type { WG_OPT_STR, WG_OPT_INT, WG_OPT_SIZE, WG_OPT_TIME, WG_OPT_BOOL, WG_OPT_PATH };

/*
 * An option of a class. Values are text in a volfile; SIZE takes K, M, G, T (1024), TIME
 * takes ms, s, m, h, d and is held in milliseconds. The row is also the help and the manual.
 */
struct wg_option {
    const char *name;
    enum wg_opt_type type;
    int64_t min, max;      /* of numbers; both 0: no bounds */
    const char *value;     /* the default as text; NULL: must be given */
    const char *help;      /* one sentence */
    bool reload;           /* may change on a running graph */
};

struct wg_class {
    const char *type;      /* "performance/io-threads" */
    const char *help;      /* one sentence */
    const struct wg_option *options; /* ends with a NULL name */
    size_t local_size;     /* zeroed memory of each frame */
    int min_children, max_children;  /* max -1: any */
    /* 0, or an errno after one wg_log line that says what is wrong with which option. */
    int (*init)(struct wg_xlator *xl);
    /* The graph below and above is ready; connections may start. May be NULL. */
    int (*start)(struct wg_xlator *xl);
    /*
     * The graph is about to stop: answer those that wait for other calls (EAGAIN), let none wait any
     * more. Calls still come. Of all xlators, before the first stop. Calls of a graph that is replaced may take their
     * time; when xl->ending is set, what has begun and can take long is to be cut short too. It may be called
     * twice: for the one, then for the other. May be NULL.
     */
    void (*drain)(struct wg_xlator *xl);
    /* No call will enter any more; end threads, close connections. Blocks. May be NULL. */
    void (*stop)(struct wg_xlator *xl);
    void (*fini)(struct wg_xlator *xl);
    /*
     * Options that may change while it runs have changed (calls are under way), or what they name has: a
     * file of certificates, say. 0; or an errno after one wg_log line, with everything as it was. It may be called
     * again with the options of before, when another's reload fails. ESTALE: it is changed too much for that, and
     * stale() says so: a new instance is to take its place. May be NULL: options are read where they are used.
     */
    int (*reload)(struct wg_xlator *xl);
    /*
     * new, started but without calls yet, takes the place of old, of the same name and type, in a graph that
     * changes while it runs; both serve calls until those that began in the old graph have ended. new may take over, or
     * share, what old remembers. 0, or an errno after one wg_log line: the change is refused. May be NULL: nothing is.
     */
    int (*handover)(struct wg_xlator *new, struct wg_xlator *old);
    /*
     * Whether old can't go on for new, a parsed block (of the same name, type, options and children): a script that
     * has changed, say. Then new takes its place. May be NULL: never.
     */
    bool (*stale)(const struct wg_xlator *old, const struct wg_xlator *new);
    void (*dump)(struct wg_xlator *xl, struct wg_dump *d);
    /*
     * What whoever runs this should know now, for `windgate status`: adds values only when there is
     * something to say. The control socket's thread; must not wait for calls. May be NULL.
     */
    void (*notes)(struct wg_xlator *xl, struct wg_dump *d);
    /* Something below has changed (lease.h). After start, before stop. Any thread; must not block or wind. May be NULL. */
    void (*event)(struct wg_xlator *xl, const struct wg_event *ev);
    bool lasting;          /* holds what can't be there twice (a directory, a port, locks): a change that needs a
                              second instance is refused */
    bool door;             /* the top of a brick's graph, where calls begin: they enter at call->graph->entry, below it */
    bool announces;        /* a store: it reports what it uses and changes, so its answers may be cached */
    /*
     * For a class whose instances differ, as a translator in a script does: the class of this one,
     * made from the options that `options` declares (read, and complete with defaults). Others of
     * its block were kept aside and are then checked against the new class's table, which begins
     * with the same rows. It has the same type, local_size and children; its fops may be others.
     * NULL after a line in why. Called by the parser, also for a mere check: nothing is started.
     */
    const struct wg_class *(*instance)(struct wg_xlator *xl, char *why, size_t size);
    /* Set in what instance gave: frees it, when its xlator is freed. */
    void (*forget)(const struct wg_class *class);
    bool first_child_serves; /* what it does not treat goes to its first child, however many it has */
    wg_handler *any;
    wg_handler *fops[WG_OP_MAX]; /* [WG_OP_lookup] = nlc_lookup, ... */
};

struct wg_xlator {
    const struct wg_class *class;
    const char *name;
    struct wg_volume *volume;
    void *priv;             /* the class's own */
    unsigned nchildren;
    struct wg_xlator **children;
    struct wg_kv *options;  /* as given, and defaults */
    char *file;             /* where it was declared, for messages */
    int line;
    /* Filled when the graph is linked: who treats each fop, here or below through single children. */
    struct { struct wg_xlator *xl; wg_handler *fn; } route[WG_OP_MAX];
    struct wg_stats *stats; /* per fop: calls, errors, time */
    _Atomic unsigned refs;  /* graphs that have it; graph.c's, as is state */
    enum wg_xlator_state { WG_XL_PARSED, WG_XL_READY, WG_XL_STARTED } state;
    bool drained;
    bool ending;            /* drain is called because the process, or all of the graph, ends: no layer goes on in its place */
    struct wg_xlator **listeners; /* layers above that have event(), nearest first; lease.c guards it */
    _Atomic unsigned nlisteners;
    _Atomic unsigned ncaches; /* of the listeners, those that are no door */
};

static inline struct wg_xlator *wg_child(const struct wg_frame *f)
{
    return f->this->children[0];
}

/* Option values; the name must be in the class's table. Strings live as long as the xlator. */
const char *wg_opt_str(const struct wg_xlator *xl, const char *name);
int64_t wg_opt_int(const struct wg_xlator *xl, const char *name); /* INT, SIZE (bytes), TIME (ms) */
bool wg_opt_bool(const struct wg_xlator *xl, const char *name);

/* Sets who hears wg_notify(xl); takes the malloc'd list over. Waits until events under way have ended. */
void wg_listeners_set(struct wg_xlator *xl, struct wg_xlator **list, unsigned n);

/* The registry: the classes linked into the program (registry.c, a line each). */
const struct wg_class *wg_class_find(const char *type);
const struct wg_class *const *wg_classes(void); /* ends with NULL */
/* Adds a class of a module (or of a test). At start, before any graph is read. 0, EEXIST, ENOMEM. */
int wg_class_add(const struct wg_class *class);

#endif
