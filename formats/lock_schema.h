/* formats/lock_schema.h - what reader and writer of pare.lock agree on. Layout: docs/formats/LOCK.md */
#ifndef PARE_FORMATS_LOCK_SCHEMA_H
#define PARE_FORMATS_LOCK_SCHEMA_H

enum { PARE_LOCK_SCHEMA = 1, PARE_LOCK_MAX_BYTES = 256 << 20 };

#endif
