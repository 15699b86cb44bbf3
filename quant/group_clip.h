/* quant/group_clip.h - groups of integers whose largest weights give way: the clip search of AWQ (docs/methods/AWQ.md)
 */
#ifndef PARE_QUANT_GROUP_CLIP_H
#define PARE_QUANT_GROUP_CLIP_H

#include "quant/group_fit.h"

/* Bytes of scratch that pare_group_clip needs for groups of n weights. */
size_t pare_group_clip_scratch(size_t n);

/* Round x [n] as pare_group_round does, behind that of the bounds 1, 0.95 .. 0.55 of the largest magnitude with which
 * the errors cost least under the group's square of H (quant/output_error.h), n a multiple of 16; the largest of
 * equals. False: no binary16 is large enough for the scale. */
bool pare_group_clip(const pare_group_shape *shape, const float *x, const float *panels, size_t n, void *scratch,
                     pare_group *group, uint8_t *codes);

#endif
