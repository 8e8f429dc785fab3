/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sub-resources of buckets and objects that clients ask for before they work: answered with what is
 * true here (nothing is configured, the owner has full control); what would change them is refused.
 */
#include "handlers.h"
#include "object.h"

static int write_location(void *arg)
{
    struct s3_req *r = arg;
    const char *region = wg_s3_region(r);
    struct wg_s3_xml *x = wg_s3_xml_new("LocationConstraint");

    if (strcmp(region, "us-east-1") != 0) /* AWS's word for it is none */
        wg_s3_xml_content(x, wg_str_of(region));
    return wg_s3_reply_xml(r, x);
}

static int write_empty(void *arg)
{
    struct s3_req *r = arg;
    static const struct {
        const char *query, *root, *element, *text;
    } empty[] = {
        { "versioning", "VersioningConfiguration", NULL, NULL },
        { "logging", "BucketLoggingStatus", NULL, NULL },
        { "notification", "NotificationConfiguration", NULL, NULL },
        { "accelerate", "AccelerateConfiguration", NULL, NULL },
        { "requestPayment", "RequestPaymentConfiguration", "Payer", "BucketOwner" },
    };

    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
        struct wg_s3_xml *x;

        if (!wg_s3_param(&r->uri, empty[i].query))
            continue;
        x = wg_s3_xml_new(empty[i].root);
        if (empty[i].element)
            wg_s3_xml_text(x, empty[i].element, empty[i].text);
        return wg_s3_reply_xml(r, x);
    }
    return S3E(NotImplemented);
}

/* What a bucket without that configuration answers. */
static int absent_code(const struct s3_req *r)
{
    static const struct {
        const char *query;
        int code;
    } absent[] = {
        { "policy", S3E(NoSuchBucketPolicy) },
        { "policyStatus", S3E(NoSuchBucketPolicy) },
        { "cors", S3E(NoSuchCORSConfiguration) },
        { "lifecycle", S3E(NoSuchLifecycleConfiguration) },
        { "tagging", S3E(NoSuchTagSet) },
        { "website", S3E(NoSuchWebsiteConfiguration) },
        { "encryption", S3E(ServerSideEncryptionConfigurationNotFoundError) },
        { "replication", S3E(ReplicationConfigurationNotFoundError) },
        { "object-lock", S3E(ObjectLockConfigurationNotFoundError) },
        { "publicAccessBlock", S3E(NoSuchPublicAccessBlockConfiguration) },
        { "ownershipControls", S3E(OwnershipControlsNotFoundError) },
    };

    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++)
        if (wg_s3_param(&r->uri, absent[i].query))
            return absent[i].code;
    return S3E(NotImplemented);
}

static int open_readable(struct wg_co *co, struct s3_req *r, struct wg_ref *bucket)
{
    int err = wg_s3_open_bucket(co, r, r->uri.bucket, bucket);

    return err ? err : wg_s3_may(co, r, bucket, S3_MAY_READ);
}

int wg_s3_get_location(struct wg_co *co, struct s3_req *r)
{
    struct wg_ref bucket;
    int err = open_readable(co, r, &bucket);

    return err ? err : wg_co_on_worker(co, write_location, r);
}

int wg_s3_get_empty_config(struct wg_co *co, struct s3_req *r)
{
    struct wg_ref bucket;
    int err = open_readable(co, r, &bucket);

    return err ? err : wg_co_on_worker(co, write_empty, r);
}

int wg_s3_get_absent_config(struct wg_co *co, struct s3_req *r)
{
    struct wg_ref bucket;
    int err = open_readable(co, r, &bucket);

    return err ? err : absent_code(r);
}

/* Removing what is not there is done. */
int wg_s3_delete_absent_config(struct wg_co *co, struct s3_req *r)
{
    struct wg_ref bucket;
    int err = wg_s3_open_bucket(co, r, r->uri.bucket, &bucket);

    if (!err)
        err = wg_s3_may(co, r, &bucket, S3_MAY_WRITE);
    return err ? err : wg_s3_reply(r, 204);
}

int wg_s3_not_implemented(struct wg_co *co, struct s3_req *r)
{
    (void)co;
    (void)r;
    return S3E(NotImplemented);
}

int wg_s3_check_not_implemented(struct s3_req *r)
{
    (void)r;
    return S3E(NotImplemented);
}

/* ---- ACLs ---- */

struct acl {
    struct s3_req *r;
    uint32_t uid;
};

static int write_acl(void *arg)
{
    struct acl *a = arg;
    struct wg_s3_xml *x = wg_s3_xml_new("AccessControlPolicy");
    char text[S3_OWNER_TEXT];
    struct wg_str id = wg_s3_owner_id(a->r, a->uid, text);

    wg_s3_xml_owner(x, "Owner", a->r, a->uid);
    wg_s3_xml_open(x, "AccessControlList");
    wg_s3_xml_open(x, "Grant");
    wg_s3_xml_open(x, "Grantee");
    wg_s3_xml_attr(x, "xmlns:xsi", "http://www.w3.org/2001/XMLSchema-instance");
    wg_s3_xml_attr(x, "xsi:type", "CanonicalUser");
    wg_s3_xml_str(x, "ID", id);
    wg_s3_xml_str(x, "DisplayName", id);
    wg_s3_xml_close(x);
    wg_s3_xml_text(x, "Permission", "FULL_CONTROL");
    wg_s3_xml_close(x);
    wg_s3_xml_close(x);
    return wg_s3_reply_xml(a->r, x);
}

/* The uid that owns the bucket, or the object when there is a key. */
static int find_owner(struct wg_co *co, struct s3_req *r, uint32_t *ret)
{
    struct wg_ref bucket;
    int err = wg_s3_open_bucket(co, r, r->uri.bucket, &bucket);

    if (err)
        return err;
    if (r->uri.key.len) {
        struct wg_get_in in = { .bucket = bucket, .key = r->uri.key };
        const struct wg_get_out *out;
        struct wg_str key;

        err = s3_get_following(co, r, &in, &out, &key);
        if (!err)
            *ret = out->attr.uid;
    } else {
        struct wg_getattr_in in = { .at = bucket };
        const struct wg_getattr_out *out;

        err = wg_s3_may(co, r, &bucket, S3_MAY_READ);
        if (!err)
            err = wg_co_getattr(co, r->top, &in, &out);
        if (!err)
            *ret = out->attr.uid;
    }
    return err;
}

int wg_s3_get_acl(struct wg_co *co, struct s3_req *r)
{
    struct acl a = { .r = r };
    int err = find_owner(co, r, &a.uid);

    return err ? err : wg_co_on_worker(co, write_acl, &a);
}

static int read_acl(void *arg)
{
    struct acl *a = arg;
    char text[S3_OWNER_TEXT];

    return s3_err(wg_s3_xml_read_acl(a->r->body_text, wg_s3_owner_id(a->r, a->uid, text)));
}

/* Accepts the ACL that there is; all others are refused. */
int wg_s3_put_acl(struct wg_co *co, struct s3_req *r)
{
    struct acl a = { .r = r };
    int err = find_owner(co, r, &a.uid);

    if (!err && a.uid != r->call->cred.uid)
        err = EACCES;
    if (!err)
        err = wg_s3_check_canned_acl(r);
    if (!err && r->body_text.len)
        err = wg_co_on_worker(co, read_acl, &a);
    else if (!err && !wg_s3_header(r, "x-amz-acl"))
        err = S3E(MissingSecurityHeader);
    return err ? err : wg_s3_reply(r, 200);
}
