/* formats/iri.h - addresses in the web, as RFC 3987 writes them */
#ifndef PARE_FORMATS_IRI_H
#define PARE_FORMATS_IRI_H

#include "core/text.h"

/* text is an http or https IRI with a host (RFC 3987, 2.2; IP literals: RFC 3986, 3.2.2, without its IPvFuture): UTF-8,
 * each '%' before two hexadecimal digits, brackets around an IPv6 address and nowhere else. */
bool pare_iri_is_web(pare_str text);

#endif
