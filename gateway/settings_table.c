/* SPDX-License-Identifier: Apache-2.0 */
/* Every setting of windgate.conf, once. */
#include "settings_table.h"

#define AT(field) offsetof(struct SECTION, field)

#define SECTION wg_settings
static const struct wg_set_row top_rows[] = {
    { "control", WG_SET_PATH, AT(control), .wants = wg_set_wants_text, .help = "Path of the control socket that status, "
      "statedump and drain talk to; the option --control wins." },
    { "state", WG_SET_PATH, AT(state), .wants = wg_set_wants_text, .help = "Directory of the gateway's own small state: the "
      "key that signs file handles, the client id, and users unless s3.users says otherwise." },
    { "descriptors", WG_SET_INT, AT(descriptors), 0, 1 << 24, "0", .help = "File descriptors to "
      "ask the system for; 0: as many as the hard limit allows, at most 1048576." },
    { "drain", WG_SET_MS, AT(drain_ms), 0, 3600000, "10s", .help = "How long a stop waits for "
      "requests under way." },
    { "module-path", WG_SET_PATHS, AT(module_path), .help = "Directories of translators that are not "
      "part of the program, CATEGORY/NAME.so in each; they are searched before the environment's "
      "WG_MODULE_PATH and " WG_LIBDIR "/xlators." },
    { NULL }
};
#undef SECTION

#define SECTION wg_set_log
static const struct wg_set_row log_rows[] = {
    { "level", WG_SET_STR, AT(level), .value = "info", .wants = wg_set_wants_levels, .help = "Level for all parts and for single "
      "ones, as in \"info,transport=debug\"; levels are error, warning, notice, info, debug, trace." },
    { "file", WG_SET_PATH, AT(file), .wants = wg_set_wants_text, .help = "File to append to, reopened on SIGHUP; without it "
      "lines go to standard error." },
    { "slow-call", WG_SET_MS, AT(slow_ms), 0, 86400000, "30s", .help = "A call that is under way for longer is "
      "logged with who holds it, and again when it has ended; 0: none is." },
    { NULL }
};
#undef SECTION

#define SECTION wg_set_tls
static const struct wg_set_row tls_rows[] = {
    { "certificate", WG_SET_PATH, AT(certificate), .wants = wg_set_wants_text, .help = "Own certificate (PEM, with the chain)." },
    { "key", WG_SET_PATH, AT(key), .wants = wg_set_wants_text, .help = "Its private key (PEM)." },
    { "ca", WG_SET_PATH, AT(ca), .wants = wg_set_wants_text, .help = "Certificates of the CAs that peers are checked against." },
    { "crl", WG_SET_PATH, AT(crl), .wants = wg_set_wants_text, .help = "Revoked certificates (PEM)." },
    { NULL }
};
#undef SECTION

#define SECTION wg_set_brick
static const struct wg_set_row brick_rows[] = {
    { "name", WG_SET_STR, AT(name), .must = true, .help = "Name of the brick in its volume." },
    { "volume", WG_SET_STR, AT(volume), .must = true, .help = "Name of the volume it belongs to." },
    { "volume-id", WG_SET_STR, AT(volume_id), .wants = wg_set_wants_uuid, .help = "The volume's UUID; without it, one that follows "
      "from the name." },
    { "directory", WG_SET_PATH, AT(directory), .must = true, .wants = wg_set_wants_text, .help = "Directory that holds the "
      "files." },
    { "listen", WG_SET_STR, AT(listen), .value = "0.0.0.0:24010", .wants = wg_set_wants_endpoint, .help = "Address and port, as "
      "host:port or [v6]:port." },
    { "allow", WG_SET_STRS, AT(allow), .wants = wg_set_wants_text, .help = "Names in certificates of the gateways that may "
      "connect." },
    { "pull-allow", WG_SET_STRS, AT(pull_allow), .help = "Names in certificates of the bricks that may "
      "copy from this one; without it, those in allow." },
    { "peers", WG_SET_STRS, AT(peers), .help = "Bricks (of bricks) that this one may copy from." },
    { "plain", WG_SET_BOOL, AT(plain), .value = "false", .help = "Without TLS: whoever reaches the "
      "port is trusted." },
    { "init", WG_SET_BOOL, AT(init), .value = "false", .help = "Prepare a directory that is no brick "
      "yet; without it such a directory is refused, since it may be an unmounted disk." },
    { "layers", WG_SET_LAYERS, AT(layers), .help = "Translators to add between the server and locks, top "
      "first: layers = ( { type = \"CATEGORY/NAME\"; name = \"NAME\"; options = { OPTION = VALUE; }; } ); "
      "name and options may be left out." },
    { "tune", WG_SET_TUNE, AT(tune), .help = "Options of translators: tune = { posix = { "
      "replaced-keep = \"1m\"; }; };" },
    { NULL }
};
#undef SECTION

#define SECTION wg_set_remote
static const struct wg_set_row remote_rows[] = {
    { "name", WG_SET_STR, AT(name), .must = true, .help = "Name that volumes use for it." },
    { "address", WG_SET_STR, AT(address), .must = true, .wants = wg_set_wants_endpoint, .help = "host:port or [v6]:port." },
    { "peer-name", WG_SET_STR, AT(peer_name), .help = "Name its certificate must carry; without "
      "it, the brick's name." },
    { "volume", WG_SET_STR, AT(volume), .help = "The volume it belongs to: needed of brick.peers." },
    { "volume-id", WG_SET_STR, AT(volume_id), .help = "That volume's UUID, if it was given one." },
    { "lanes", WG_SET_INT, AT(lanes), 1, 16, "3", .help = "Connections, each with a thread; the first is kept for small calls." },
    { "plain", WG_SET_BOOL, AT(plain), .value = "false", .help = "Without TLS." },
    { NULL }
};
#undef SECTION

#define SECTION wg_set_volume
static const struct wg_set_row volume_rows[] = {
    { "name", WG_SET_STR, AT(name), .must = true, .help = "Name that exports and s3.volume use." },
    { "id", WG_SET_STR, AT(id), .wants = wg_set_wants_uuid, .help = "Its UUID, the same on each of its gateways and bricks; "
      "without it, one that follows from the name." },
    { "brick", WG_SET_STR, AT(brick), .help = "The entry of bricks that stores it." },
    { "directory", WG_SET_PATH, AT(directory), .wants = wg_set_wants_text, .help = "Instead of a brick: a local directory." },
    { "layers", WG_SET_LAYERS, AT(layers), .help = "Translators to add below the front doors, top "
      "first: layers = ( { type = \"CATEGORY/NAME\"; name = \"NAME\"; options = { OPTION = VALUE; }; } ); "
      "name and options may be left out." },
    { "tune", WG_SET_TUNE, AT(tune), .help = "Options of translators, as in brick.tune." },
    { NULL }
};
#undef SECTION

#define SECTION wg_set_export
static const struct wg_set_row export_rows[] = {
    { "path", WG_SET_STR, AT(path), .must = true, .help = "Path that clients mount, \"/vol\"." },
    { "volume", WG_SET_STR, AT(volume), .must = true, .help = "The volume behind it." },
    { "directory", WG_SET_STR, AT(directory), .value = "/", .wants = wg_set_wants_absolute, .help = "Directory of the volume that is "
      "mounted." },
    { "clients", WG_SET_STRS, AT(clients), .value = "*", .wants = wg_set_wants_clients, .help = "Who may mount it: addresses, "
      "networks such as \"10.0.0.0/8\", or \"*\"." },
    { "read-only", WG_SET_BOOL, AT(read_only), .value = "false", .help = "No changes by clients." },
    { "squash", WG_SET_WORD, AT(squash), .value = "root", .choices = "none|root|all", .help = "Which "
      "users act as the anonymous one: none, root or all." },
    { "anon-uid", WG_SET_INT, AT(anon_uid), 0, UINT32_MAX, "65534", .help = "User id of the "
      "anonymous user." },
    { "anon-gid", WG_SET_INT, AT(anon_gid), 0, UINT32_MAX, "65534", .help = "Its group id." },
    { "privileged-port", WG_SET_BOOL, AT(privileged_port), .value = "true", .help = "Only clients "
      "whose port is below 1024, as kernels use." },
    { "allow-none", WG_SET_BOOL, AT(allow_none), .value = "false", .help = "Serve clients that do not "
      "say who they are (AUTH_NONE), as the anonymous user." },
    { NULL }
};
#undef SECTION

#define SECTION wg_set_nfs
static const struct wg_set_row nfs_rows[] = {
    { "enabled", WG_SET_BOOL, AT(enabled), .value = "true", .help = "Whether NFS is served." },
    { "listen", WG_SET_STRS, AT(listen), .wants = wg_set_wants_address, .help = "Addresses to listen on; without it, all." },
    { "port", WG_SET_INT, AT(port), 0, 65535, "2049", .help = "TCP port of NFS; 0: any." },
    { "mount-port", WG_SET_INT, AT(mount_port), 0, 65535, "20048", .help = "TCP port of MOUNT; 0: the "
      "port of NFS." },
    { "mount-udp", WG_SET_BOOL, AT(mount_udp), .value = "false", .help = "MOUNT over UDP too." },
    { "rpcbind", WG_SET_BOOL, AT(rpcbind), .value = "true", .help = "Register with the host's rpcbind, "
      "where one runs." },
    { "connections", WG_SET_INT, AT(connections), 1, 1000000, "8192", .help = "Connections at once." },
    { "timeout", WG_SET_MS, AT(timeout_ms), 100, 3600000, "30s", .help = "After this time without an "
      "answer from the brick a client is told to try again later." },
    { "fileid32", WG_SET_BOOL, AT(fileid32), .value = "false", .help = "File ids of 32 bits, for "
      "old clients." },
    { NULL }
};
#undef SECTION

#define SECTION wg_set_s3
static const struct wg_set_row s3_rows[] = {
    { "enabled", WG_SET_BOOL, AT(enabled), .value = "true", .help = "Whether S3 is served." },
    { "volume", WG_SET_STR, AT(volume), .help = "The volume whose top-level directories are "
      "buckets; without it, the first of volumes." },
    { "volumes", WG_SET_STRS, AT(volumes), .help = "More volumes of which that is so. Names of buckets count for "
      "all together; a new bucket is made in volume, or in the one that LocationConstraint names." },
    { "users", WG_SET_PATH, AT(users), .wants = wg_set_wants_text, .help = "The file of users and keys; without it, users.db "
      "in the state directory." },
    { "listen", WG_SET_STR, AT(listen), .wants = wg_set_wants_host, .help = "Address to listen on; without it, all." },
    { "port", WG_SET_INT, AT(port), 0, 65535, "9000", .help = "Port of http; 0: none." },
    { "tls-port", WG_SET_INT, AT(tls_port), 0, 65535, "0", .help = "Port of https; 0: none." },
    { "certificate", WG_SET_PATH, AT(certificate), .wants = wg_set_wants_text, .help = "Certificate of https (PEM, with the "
      "chain); without it, tls.certificate." },
    { "key", WG_SET_PATH, AT(key), .wants = wg_set_wants_text, .help = "Its private key; without it, tls.key." },
    { "region", WG_SET_STR, AT(region), .value = "us-east-1", .wants = wg_set_wants_text, .help = "The region that clients sign "
      "for and that location answers." },
    { "domains", WG_SET_STRS, AT(domains), .wants = wg_set_wants_text, .help = "Domains of virtual-host requests: with "
      "\"s3.example.com\", the host b.s3.example.com is bucket b." },
    { "connections", WG_SET_INT, AT(connections), 16, 1000000, "8192", .help = "Connections at "
      "once." },
    { NULL }
};
#undef SECTION

#define IN_SETTINGS(field) offsetof(struct wg_settings, field)

const struct wg_set_section wg_set_sections[] = {
    { "", false, 0, sizeof(struct wg_settings), top_rows, "The file's own level." },
    { "log", false, IN_SETTINGS(log), sizeof(struct wg_set_log), log_rows, "Logs." },
    { "tls", false, IN_SETTINGS(tls), sizeof(struct wg_set_tls), tls_rows,
      "TLS between gateway and bricks, always mutual." },
    { "brick", false, IN_SETTINGS(brick), sizeof(struct wg_set_brick), brick_rows,
      "What \"windgate brick\" serves." },
    { "bricks", true, IN_SETTINGS(bricks), sizeof(struct wg_set_remote), remote_rows,
      "Brick servers that volumes use." },
    { "volumes", true, IN_SETTINGS(volumes), sizeof(struct wg_set_volume), volume_rows,
      "Volumes: a name for a brick or a local directory." },
    { "exports", true, IN_SETTINGS(exports), sizeof(struct wg_set_export), export_rows,
      "What NFS clients may mount." },
    { "nfs", false, IN_SETTINGS(nfs), sizeof(struct wg_set_nfs), nfs_rows, "The NFS front door." },
    { "s3", false, IN_SETTINGS(s3), sizeof(struct wg_set_s3), s3_rows, "The S3 front door." },
    { NULL }
};
