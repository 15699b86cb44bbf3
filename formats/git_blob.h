/* formats/git_blob.h - the name that Git gives to a file's content, which the Hub lists as `oid`; the pointers of Git
 * LFS */
#ifndef PARE_FORMATS_GIT_BLOB_H
#define PARE_FORMATS_GIT_BLOB_H

#include "formats/pin.h"

/* SHA-1 of "blob <bytes>", NUL, the content. A file with tensors is kept by Git LFS, so that Git itself holds only the
 * pointer: that is made of the file's SHA-256 and size, and nothing is read. Any other file is read where it is stored.
 * Errors: PARE_ERR_IO (it is gone, or not as long as f->digest says), PARE_ERR_MEMORY */
pare_status pare_git_blob_sha1(const pare_pin_file *f, uint8_t sha1[20], pare_error *err);

/* Is the file at path the pointer that Git LFS leaves where the content was not fetched? Then *content is what it
 * points to: its SHA-256 and size. The form: github.com/git-lfs/git-lfs, docs/spec.md. */
bool pare_git_pointer_read(const char *path, pare_digest *content);

#endif
