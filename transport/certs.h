/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small certificate authority for people who have none (`windgate certs`): EC P-256, PEM files, keys with
 * mode 0600. A directory holds ca.pem, ca.key, ca.crl (when something was revoked), and NAME.pem and NAME.key of
 * each node. Files appear whole or not at all, and are replaced only when asked. Any thread.
 */
#ifndef WG_CERTS_H
#define WG_CERTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wg_certs_opts {
    int days;       /* of validity from now; 0: 3650 for a CA, 825 for a node; negative: expired then (for tests) */
    bool overwrite; /* replace what is there; else EEXIST, and nothing is changed */
};

/*
 * Each returns 0 or an errno, with a sentence in errbuf (may be NULL): EEXIST, EINVAL (a name that is no file name, a
 * SAN that can't be read, a file that is no certificate), errno of the file system, ENOMEM.
 */

/* dir is made if need be (mode 0700). cn NULL: "Windgate CA". */
int wg_certs_make_ca(const char *dir, const char *cn, const struct wg_certs_opts *opts, char *errbuf,
                     size_t errsize);

/*
 * A certificate for clients and servers alike, signed by dir's CA. name: letters, digits, '.', '_', '-'; it is the common
 * name, the first DNS name, and names the files. sans: "DNS:host", "IP:10.0.0.1", or the bare host or address.
 */
int wg_certs_make_node(const char *dir, const char *name, const char *const *sans, unsigned nsans,
                       const struct wg_certs_opts *opts, char *errbuf, size_t errsize);

/*
 * Adds the certificate in file (PEM) to dir/ca.crl, made or extended, valid for days from now
 * (0: 3650). Daemons see it after a reload. Revoking twice is no error.
 */
int wg_certs_revoke(const char *dir, const char *file, int days, char *errbuf, size_t errsize);

struct wg_cert_info {
    char subject[128], issuer[128]; /* common names */
    char names[512];                /* "DNS:a, IP Address:10.0.0.1" */
    char serial[48];                /* hexadecimal */
    char sha256[96];                /* fingerprint, "AB:CD:..." */
    int64_t not_before, not_after;  /* seconds since 1970 */
    bool is_ca;
};
int wg_certs_info(const char *file, struct wg_cert_info *ret, char *errbuf, size_t errsize);

#endif
