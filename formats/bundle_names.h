/* formats/bundle_names.h - the fixed words of OMS bundles, which reader and writer agree on */
#ifndef PARE_FORMATS_BUNDLE_NAMES_H
#define PARE_FORMATS_BUNDLE_NAMES_H

#include "core/text.h"

#define PARE_BUNDLE_MEDIA_TYPE "application/vnd.dev.sigstore.bundle.v0.3+json"
#define PARE_BUNDLE_PAYLOAD_TYPE "application/vnd.in-toto+json"
#define PARE_BUNDLE_STATEMENT "https://in-toto.io/Statement/v1"
#define PARE_BUNDLE_PREDICATE "https://model_signing/signature/v1.0"

/* What a signer leaves out when it is told nothing: names at the top of the folder. */
static const char *const pare_bundle_git_names[] = {".git", ".gitattributes", ".github", ".gitignore"};
enum { PARE_BUNDLE_N_GIT_NAMES = sizeof pare_bundle_git_names / sizeof pare_bundle_git_names[0] };

/* Append what a signature is made of: DSSE's pre-authentication encoding, "DSSEv1 <len> <payloadType> <len> <payload>"
 * (github.com/secure-systems-lab/dsse, protocol.md). */
pare_status pare_bundle_encode(pare_buf *out, const void *payload, size_t n, pare_error *err);

#endif
