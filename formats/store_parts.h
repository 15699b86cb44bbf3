/* formats/store_parts.h - what the files of formats/store share */
#ifndef PARE_FORMATS_STORE_PARTS_H
#define PARE_FORMATS_STORE_PARTS_H

#include "formats/store.h"

/* Add an entry; name and path are copied, hex are 40 or 64 hexadecimal digits. Errors: PARE_ERR_MEMORY */
pare_status pare_store_list_add(pare_store_list *list, const char *name, const char *path, const char *hex,
                                const uint64_t *size, pare_error *err);

/* 40 or 64 lower-case hexadecimal digits and then the end. */
bool pare_store_is_etag(const char *text);

/* What the Hub knows of folder/name: by a link of its cache, or by the note of a download. Nothing is no error. Errors:
 * PARE_ERR_FORMAT (a damaged note), PARE_ERR_MEMORY */
pare_status pare_store_list_file(pare_store_list *list, const char *folder, const char *name, pare_error *err);

/* The blobs of the manifest at path. Errors: PARE_ERR_FORMAT with the field, PARE_ERR_MEMORY */
pare_status pare_store_list_manifest(pare_store_list *list, const char *path, pare_error *err);

#endif
