/* SPDX-License-Identifier: Apache-2.0 */
/* Options that protocol/client and protocol/server share. */
#ifndef WG_PROTOCOL_OPTIONS_H
#define WG_PROTOCOL_OPTIONS_H

#include "transport.h"
#include "xlator.h"

#define WG_PROTOCOL_OPTIONS                                                                      \
    { "tls", WG_OPT_BOOL, 0, 0, "on", "TLS 1.3 with certificates on both sides; off means plain" \
      " connections that anyone can read.", false },                                             \
    { "tls-cert", WG_OPT_STR, 0, 0, "", "Own certificate, PEM.", true },                        \
    { "tls-key", WG_OPT_STR, 0, 0, "", "Its private key, PEM.", true },                         \
    { "tls-ca", WG_OPT_STR, 0, 0, "", "Certificates of the CA that peers are checked against.", \
      true },                                                                                    \
    { "tls-crl", WG_OPT_STR, 0, 0, "", "Revocation list of that CA; empty: none.", true },      \
    { "tls-allow", WG_OPT_STR, 0, 0, "", "Names of the peers that are accepted, separated by"    \
      " spaces or commas; \"*.example.com\" stands for one label, \"*\" for all of the CA.",     \
      true },                                                                                    \
    { "tls-allow-file", WG_OPT_STR, 0, 0, "", "A file of more such names, one a line.", true }, \
    { "volume-id", WG_OPT_STR, 0, 0, "", "UUID of the volume; empty: any.", false },             \
    { "brick-id", WG_OPT_STR, 0, 0, "", "UUID of the brick; empty: any.", false }

/* The TLS identity that the options describe; *ret NULL with tls off. 0, or errno, logged. */
int wg_protocol_tls(struct wg_xlator *xl, struct wg_tls **ret);
/* For class.reload: certificates, lists and names again. */
int wg_protocol_tls_reload(struct wg_xlator *xl, struct wg_tls *tls);
/* A UUID option into 16 bytes; zero when empty. 0, or EINVAL, logged. */
int wg_protocol_uuid(struct wg_xlator *xl, const char *option, uint8_t ret[16]);

/*
 * The words of a list separated by spaces or commas: an array that ends with NULL, in one
 * allocation that the caller frees; *ret_n how many. NULL when memory is out.
 */
char **wg_protocol_words(const char *list, unsigned *ret_n);

#endif
