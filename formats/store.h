/* formats/store.h - where other programs keep models: their names to files, and the hashes that they know files by
 *
 *   the Hub's cache   HF_HUB_CACHE, else HF_HOME/hub, else XDG_CACHE_HOME/huggingface/hub, else
 * ~/.cache/huggingface/hub
 *
 *     models--org--name/refs/<revision>                a file that holds the commit, 40 hexadecimal digits
 *     models--org--name/snapshots/<commit>/<file>  ->  ../../blobs/<etag>
 *     models--org--name/blobs/<etag>                   64 digits: SHA-256 of the content (kept by LFS), 40: Git's id
 *
 *   a download with --local-dir: FOLDER/.cache/huggingface/download/<file>.metadata, lines commit, etag, time
 *
 *   Ollama's store    OLLAMA_MODELS, else ~/.ollama/models
 *
 *     manifests/<registry>/<namespace>/<model>/<tag>   JSON: config and layers[] with mediaType, digest "sha256:...",
 * size blobs/sha256-<64 digits>
 *
 * Everything is read only and on this machine: nothing is downloaded. A blob's name is what its store believes: the
 * content is compared with it. Sources: huggingface_hub's guide "Understand caching"; docs/formats/LOCK.md, "Stores".
 */
#ifndef PARE_FORMATS_STORE_H
#define PARE_FORMATS_STORE_H

#include "core/error.h"

#include <stddef.h>
#include <stdint.h>

/* The path that a name stands for; *out is owned by the caller, NULL when name is a path and no such name:
 *
 *   hf://org/name[@revision][/file]     the snapshot's folder, or a file in it. Revision: a branch, a tag or a commit;
 * main without one. '/' in a revision is written %2F ollama://[[registry/]namespace/]model[:tag]   the manifest a
 * folder models--org--name          its snapshot, as above for main; the only one where nothing says main
 *
 * Errors: PARE_ERR_FORMAT (not there: where it was looked for; a name that leaves the store), PARE_ERR_MEMORY */
pare_status pare_store_resolve(char **out, const char *name, pare_error *err);

/* name begins as one of the first two. */
bool pare_store_has_name(const char *name);

/* Where path, which is real (no links), is .../models--org--name/snapshots/<commit>[/...]: "org--name" in it, len
 * bytes, and behind that PARE_STORE_SNAPSHOTS and the commit. NULL: it is no such path. */
#define PARE_STORE_SNAPSHOTS "/snapshots/"
const char *pare_store_snapshot(const char *path, size_t *len);

/* Do the n bytes of a JSON file look like a manifest of Ollama's? */
bool pare_store_is_manifest(const void *bytes, size_t n);

/* path is named as a blob of Ollama's: sha256-<64 digits>. */
bool pare_store_is_blob(const char *path);

/* The blob with the weights of the manifest at path, owned by the caller. Errors: PARE_ERR_FORMAT (no layer with
 * weights, several, an absent blob), PARE_ERR_MEMORY */
pare_status pare_store_weights(char **out, const char *path, pare_error *err);

/* A file that its store knows the content of. */
typedef struct pare_store_entry {
    char *name; /* in the folder; of a manifest the blob's */
    char *path;
    bool has_size, git; /* git: hash is Git's id of a blob, 20 bytes; else a SHA-256, 32 */
    uint64_t size;
    uint8_t hash[32];
} pare_store_entry;

/* Zeroed is empty. */
typedef struct pare_store_list {
    pare_store_entry *entries;
    size_t n;
    const char *store; /* "the Hub's cache", ...: whose hashes these are; NULL: nobody's */
} pare_store_list;

/* What a store knows of path: a manifest with its blobs, a blob, a snapshot or a file of one, a folder that was
 * downloaded to. Nothing, where path lies in no store. Errors: PARE_ERR_FORMAT (a manifest or a note that is damaged),
 * PARE_ERR_IO, PARE_ERR_MEMORY */
pare_status pare_store_list_read(pare_store_list *list, const char *path, pare_error *err);
void pare_store_list_close(pare_store_list *list);

/* Told of each entry that is not what its store says. kind: "missing", "size", "sha256" or "git_sha1". */
typedef pare_status (*pare_store_fault)(const char *kind, const char *name, const char *text, void *user,
                                        pare_error *err);

/* Hash the entries' files, in parallel, and compare; size first. *n_bytes grows by what was hashed. Errors:
 * PARE_ERR_IO, PARE_ERR_FORMAT (no regular file), PARE_ERR_INTERRUPTED, PARE_ERR_MEMORY, and what fault returns */
pare_status pare_store_check(const pare_store_list *list, uint64_t *n_bytes, pare_store_fault fault, void *user,
                             pare_error *err);

#endif
