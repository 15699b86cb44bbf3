/* formats/iri.h - addresses in the web, as RFC 3987 writes them */
#ifndef PARE_FORMATS_IRI_H
#define PARE_FORMATS_IRI_H

#include "core/text.h"

/* text is an http or https IRI with a host that is no address in brackets (RFC 3987, 2.2): UTF-8, each '%' before two
 * hexadecimal digits. */
bool pare_iri_is_web(pare_str text);

#endif
