/* core/version.h - which libpare a program runs with */
#ifndef PARE_CORE_VERSION_H
#define PARE_CORE_VERSION_H

/* "0.1.0": major, minor, patch. Programs that were linked with another minor version of 0.x should refuse: structs may
 * differ. */
const char *pare_version(void);

#endif
