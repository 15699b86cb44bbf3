/* report/svg.h - a plot or a heat map as one <svg> element for a page: no script, no outside font, colours from the
 * page's CSS
 *
 * Series are told apart by the shape of their points and the dashes of their lines as well as by colour (classes s0 ..
 * s7: the page defines --s0 .. --s7). Text is 13 units high in a picture 560 wide. */
#ifndef PARE_REPORT_SVG_H
#define PARE_REPORT_SVG_H

#include "core/text.h"
#include "report/plot.h"

enum { PARE_SVG_COLOURS = 8, PARE_SVG_LEVELS = 7 };

/* id: a name that is unique in the page, for aria-labelledby. Errors: PARE_ERR_MEMORY */
pare_status pare_svg_plot(pare_buf *out, const pare_plot *plot, const char *id, pare_error *err);

/* Is there a point that could be drawn? */
bool pare_svg_has_points(const pare_plot *plot);

/* The mark of series i alone, for a legend. */
pare_status pare_svg_mark(pare_buf *out, size_t i, bool line, pare_error *err);

/* A heat map as an <svg> of its own with its scale below; a value stands in its cell where all values fit. Colours are
 * classes h0 .. h6 (the page defines --h0 .. --h6 from few to much, the first four under text in --fg, the others under
 * text in --bg). id and errors as above */
pare_status pare_svg_grid(pare_buf *out, const pare_grid *g, const char *id, pare_error *err);

/* Is there a value that could be drawn? */
bool pare_svg_has_cells(const pare_grid *g);

/* The colour of a finite value, below PARE_SVG_LEVELS: equal steps from lo to hi, of the logarithm where g says so. */
size_t pare_svg_level(const pare_grid *g, double value);

/* Append text with &, <, >, quotes as references, control bytes and what is no UTF-8 as \xNN: safe between tags and in
 * quoted attributes of HTML and SVG. */
pare_status pare_html_text(pare_buf *out, const char *text, pare_error *err);

#endif
