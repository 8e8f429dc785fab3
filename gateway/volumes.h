/* SPDX-License-Identifier: Apache-2.0 */
/* A gateway's volumes, as settings say: started, changed while they run, closed. Main thread. */
#ifndef WG_VOLUMES_H
#define WG_VOLUMES_H

#include "settings.h"

/*
 * Brings the volumes from old (NULL: none yet) to new: starts those that are new, changes the graphs of
 * those whose settings differ; others keep theirs, with what was changed by hand. 0; or an errno after log lines,
 * all are then as they were before. Volumes that new lacks still run.
 */
int wg_volumes_apply(const struct wg_settings *old, const struct wg_settings *new);
/* Closes those that new lacks; nobody starts calls there any more. */
void wg_volumes_close(const struct wg_settings *old, const struct wg_settings *new);

#endif
