/* SPDX-License-Identifier: Apache-2.0 */
/* Which operation a request is: the table of s3ops.def, first match. */
#include "conn.h"

static const struct s3_op ops[] = {
#define NONE(name) NULL
#define CHECK(name) name
#define RUN(name) .run = name
#define START(name) .start = name
#define S3OP(m, l, q, h, op, b, max, chk, how) \
    { .name = #op, .method = S3_##m, .level = S3_##l, .query = q, .header = h, \
      .body = S3_BODY_##b, .body_max = max, .check = chk, how },
#include "s3ops.def"
};

/*
 * Parameters that make a request another operation. A row without a query must not take one of
 * them: DELETE ?tagging deletes tags, not the object.
 */
static const char *const sub_resources[] = {
    "abac", "accelerate", "acl", "analytics", "append", "attributes", "cors", "delete", "encryption",
    "intelligent-tiering", "inventory", "legal-hold", "lifecycle", "location", "logging",
    "metadataConfiguration", "metadataInventoryTable", "metadataJournalTable", "metadataTable", "metrics",
    "notification", "object-lock", "ownershipControls", "policy", "policyStatus", "publicAccessBlock",
    "renameObject", "replication", "requestPayment", "restore", "retention", "select", "session", "tagging",
    "torrent", "uploadId", "uploads", "versioning", "versions", "website",
};

static bool is_other_operation(const struct s3_req *r)
{
    for (size_t i = 0; i < sizeof sub_resources / sizeof *sub_resources; i++)
        if (wg_s3_param(&r->uri, sub_resources[i]))
            return true;
    return false;
}

/* One condition of a row's query: "uploadId", or "list-type=2". */
static bool has_param(const struct s3_req *r, const char *cond, size_t len)
{
    const char *eq = memchr(cond, '=', len);
    struct wg_str name = { cond, (uint32_t)(eq ? (size_t)(eq - cond) : len) };
    struct wg_str value = { eq ? eq + 1 : NULL, eq ? (uint32_t)(cond + len - eq - 1) : 0 };

    for (uint32_t i = 0; i < r->uri.nparams; i++)
        if (wg_str_eq(r->uri.param[i].name, name))
            return !eq || wg_str_eq(r->uri.param[i].value, value);
    return false;
}

static bool has_params(const struct s3_req *r, const char *query)
{
    while (query && *query) {
        size_t len = strcspn(query, "&");

        if (!has_param(r, query, len))
            return false;
        query += len + (query[len] == '&');
    }
    return true;
}

const struct s3_op *wg_s3_route(const struct s3_req *r)
{
    static const struct s3_op unknown = { .name = "-" }; /* answered NotImplemented */
    enum s3_level level = r->uri.key.len ? S3_OBJECT : r->uri.bucket.len ? S3_BUCKET : S3_SERVICE;

    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        const struct s3_op *op = &ops[i];

        if (op->method == r->method && op->level == level && has_params(r, op->query) &&
            (!op->header || wg_s3_header(r, op->header)))
            return op->query || !is_other_operation(r) ? op : &unknown;
    }
    return is_other_operation(r) ? &unknown : NULL;
}
