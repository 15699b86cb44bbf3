/* formats/bundle.h - signatures of a set of files: OpenSSF Model Signing v1.0 bundles (model.sig)
 *
 *   Sigstore bundle v0.3 (JSON) > DSSE envelope > in-toto Statement v1 > predicate https://model_signing/signature/v1.0
 *
 * The statement lists the digest of every file; the envelope signs the statement with an elliptic-curve key. Layout and
 * what is accepted: docs/formats/SIGNATURES.md. */
#ifndef PARE_FORMATS_BUNDLE_H
#define PARE_FORMATS_BUNDLE_H

#include "core/output_set.h"
#include "formats/ec_key.h"
#include "formats/lock.h"
#include "formats/pin.h"

enum { PARE_BUNDLE_MAX_BYTES = 64 << 20, PARE_BUNDLE_MAX_DIGEST = 64 };

/* What is signed, and the signature over it. Zeroed is closed. Nothing of it is to be believed, nor parsed, before
 * pare_envelope_check has found the signature valid. */
typedef struct pare_envelope {
    char *path;                 /* of the bundle, for messages */
    pare_buf payload;           /* the statement's bytes */
    pare_buf signature;         /* DER */
    char hint[PARE_SHA256_HEX]; /* of the key that it claims; "" without one */
} pare_envelope;

/* Errors: PARE_ERR_FORMAT       no JSON, another mediaType or payloadType, a member lacks or has the wrong kind, bad
 *                               base64, not exactly one signature
 *         PARE_ERR_UNSUPPORTED  signed with a certificate or through Sigstore instead of a key; PARE_ERR_MEMORY */
pare_status pare_envelope_parse(pare_envelope *e, const char *path, const void *text, size_t len, pare_error *err);
void pare_envelope_close(pare_envelope *e);

/* *fault: why key did not sign this payload, or NULL: it did. Errors: PARE_ERR_MEMORY */
pare_status pare_envelope_check(const pare_envelope *e, const pare_ec_key *key, const char **fault, pare_error *err);

/* A file, or a range of it. */
typedef struct pare_bundle_item {
    char *name;          /* a plain path relative to what was signed; "" for a model that is one file */
    uint64_t start, end; /* of a shard; 0 and 0 without shards */
    uint8_t digest[PARE_BUNDLE_MAX_DIGEST];
} pare_bundle_item;

/* A statement. Zeroed is closed. */
typedef struct pare_bundle {
    char *subject;         /* what the signer called the model: says nothing */
    const char *algorithm; /* "sha256" or "blake2b" (512 bits) */
    size_t n_digest;       /* bytes */
    bool shards;
    bool single;             /* one file was signed and not a folder: all names are "" */
    pare_bundle_item *items; /* sorted by name and start; shards of a file follow one another without a gap */
    size_t n_items;
    char **ignored; /* files and folders that the signer left out, as they stand there: "." is the name of none */
    size_t n_ignored;
} pare_bundle;

/* Read a statement. The root digest is computed again in the listed order, which may be any.
 * Errors: PARE_ERR_FORMAT       another predicate or statement type, not exactly one subject, a root digest that is not
 *                               that of the resources, no resources, a name that is no plain relative path or stands twice, a digest
 *                               of the wrong length, algorithms that disagree, shards with gaps
 *         PARE_ERR_UNSUPPORTED  a hash or a method that pare does not know (blake3); PARE_ERR_MEMORY */
pare_status pare_bundle_parse(pare_bundle *b, const char *path, const void *text, size_t len, pare_error *err);
void pare_bundle_close(pare_bundle *b);

/* Add to set a bundle that signs the files of p: method files, SHA-256, names relative to the folder of `beside` (which
 * need not exist) in the order of their code points. Sets p's names and sorts it, as pare_lock_add does; a file called
 * as `beside` is left out. What pinning leaves out of that folder (pare_folder_left_out) is signed to
 * be left out.
 *   path    the bundle to write; when it lies in the folder, its name is signed to be left out, too
 *   called  the name that the folder will have; NULL: the one that it has
 * Errors: PARE_ERR_USAGE (a file outside of the folder; path exists and force is false), PARE_ERR_FORMAT (a name that
 * is not UTF-8), PARE_ERR_IO, PARE_ERR_MEMORY */
pare_status pare_bundle_add(pare_output_set *set, pare_pin *p, const char *beside, const char *path,
                            const char *called, const pare_ec_key *key, bool force, pare_error *err);

typedef struct pare_bundle_options {
    bool ignore_unsigned;  /* accept files that the bundle does not name */
    const char *must_sign; /* a file that has to be among the signed ones, or NULL */
} pare_bundle_options;

/* Verify a bundle's signature, then what it says of target: the folder that was signed, or the one file. Sets
 * r->signature (absent before) and adds to r's findings, of the kinds
 *   "signature"         not made with this key, or what it signs was changed: nothing else is looked at then; or there
 *                       is no such bundle, and r->signature stays absent
 *   "signed content"    a digest differs; item: the range of offsets of a shard
 *   "signed missing", "signed renamed" (the content lies under another name), "signed refused" (no regular file: not
 * opened) "unsigned"          a file that the bundle does not name *n_files: signed files that were looked at. Hashing
 * runs on all threads. Errors: those of the parsers above, PARE_ERR_FORMAT (the bundle cannot be read; one file is
 * signed and target is a folder), PARE_ERR_RANGE, PARE_ERR_IO, PARE_ERR_MEMORY, PARE_ERR_INTERRUPTED */
pare_status pare_bundle_verify(const char *path, const char *target, const pare_ec_key *key,
                               const pare_bundle_options *options, pare_verify_report *r, uint64_t *n_files,
                               pare_error *err);

#endif
