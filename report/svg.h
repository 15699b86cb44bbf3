/* report/svg.h - a plot as one <svg> element for a page: no script, no outside font, colours from the page's CSS
 *
 * Series are told apart by the shape of their points and the dashes of their lines as well as by colour (classes s0 ..
 * s7: the page defines --s0 .. --s7). Text is 13 units high in a picture 560 wide. */
#ifndef PARE_REPORT_SVG_H
#define PARE_REPORT_SVG_H

#include "core/text.h"
#include "report/plot.h"

enum { PARE_SVG_COLOURS = 8 };

/* id: a name that is unique in the page, for aria-labelledby. Errors: PARE_ERR_MEMORY */
pare_status pare_svg_plot(pare_buf *out, const pare_plot *plot, const char *id, pare_error *err);

/* Is there a point that could be drawn? */
bool pare_svg_has_points(const pare_plot *plot);

/* The mark of series i alone, for a legend. */
pare_status pare_svg_mark(pare_buf *out, size_t i, bool line, pare_error *err);

/* Append text with &, <, >, quotes as references, control bytes and what is no UTF-8 as \xNN: safe between tags and in
 * quoted attributes of HTML and SVG. */
pare_status pare_html_text(pare_buf *out, const char *text, pare_error *err);

#endif
