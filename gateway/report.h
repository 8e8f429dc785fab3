/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reports: what an operator may ask a daemon through its control socket besides the dump. A part of
 * the program registers its own; the command of that name reaches it.
 */
#ifndef WG_REPORT_H
#define WG_REPORT_H

struct cJSON;

struct wg_report {
    const char *name;
    /* Adds to answer; 0, or an errno (with "error" added when its text does not say enough). */
    int (*fn)(const struct cJSON *request, struct cJSON *answer);
    struct wg_report *next;
};

/* Static memory; once, before the control socket starts. */
void wg_report_register(struct wg_report *r);
/* The report of that name, or NULL. */
const struct wg_report *wg_report_find(const char *name);

#endif
