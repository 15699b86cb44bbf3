/* quant/path_names.h - names of what the encoders share between their sources, one set a path
 *
 * Included ahead of every source of a path other than the portable one, by a compiler option; PARE_PATH is the path's
 * name. A function that is missing here is defined twice, which the linker reports. */
#ifndef PARE_QUANT_PATH_NAMES_H
#define PARE_QUANT_PATH_NAMES_H

#define PARE_PATH_JOIN(name, path) name##_##path
#define PARE_PATH_EXPAND(name, path) PARE_PATH_JOIN(name, path)
#define PARE_ON_PATH(name) PARE_PATH_EXPAND(name, PARE_PATH)

/* clang-format off */
#define pare_bf16_encode PARE_ON_PATH(pare_bf16_encode)
#define pare_block32_affine PARE_ON_PATH(pare_block32_affine)
#define pare_block32_encode PARE_ON_PATH(pare_block32_encode)
#define pare_block32_high PARE_ON_PATH(pare_block32_high)
#define pare_block32_pack_low PARE_ON_PATH(pare_block32_pack_low)
#define pare_block32_symmetric PARE_ON_PATH(pare_block32_symmetric)
#define pare_f16_encode PARE_ON_PATH(pare_f16_encode)
#define pare_f32_encode PARE_ON_PATH(pare_f32_encode)
#define pare_grid_book_init PARE_ON_PATH(pare_grid_book_init)
#define pare_grid_encode PARE_ON_PATH(pare_grid_encode)
#define pare_grid_hull_cell PARE_ON_PATH(pare_grid_hull_cell)
#define pare_grid_search PARE_ON_PATH(pare_grid_search)
#define pare_grid_step PARE_ON_PATH(pare_grid_step)
#define pare_iq1_encode PARE_ON_PATH(pare_iq1_encode)
#define pare_iq1_m_encode PARE_ON_PATH(pare_iq1_m_encode)
#define pare_iq1_s_encode PARE_ON_PATH(pare_iq1_s_encode)
#define pare_iq2_s_encode PARE_ON_PATH(pare_iq2_s_encode)
#define pare_iq2_xs_encode PARE_ON_PATH(pare_iq2_xs_encode)
#define pare_iq2_xxs_encode PARE_ON_PATH(pare_iq2_xxs_encode)
#define pare_iq3_s_encode PARE_ON_PATH(pare_iq3_s_encode)
#define pare_iq3_xxs_encode PARE_ON_PATH(pare_iq3_xxs_encode)
#define pare_iq4_levels PARE_ON_PATH(pare_iq4_levels)
#define pare_iq4_nl_encode PARE_ON_PATH(pare_iq4_nl_encode)
#define pare_iq4_starts PARE_ON_PATH(pare_iq4_starts)
#define pare_iq4_xs_encode PARE_ON_PATH(pare_iq4_xs_encode)
#define pare_levels_codes PARE_ON_PATH(pare_levels_codes)
#define pare_levels_init PARE_ON_PATH(pare_levels_init)
#define pare_levels_pack PARE_ON_PATH(pare_levels_pack)
#define pare_mxfp4_encode PARE_ON_PATH(pare_mxfp4_encode)
#define pare_nvfp4_encode PARE_ON_PATH(pare_nvfp4_encode)
#define pare_q1_0_encode PARE_ON_PATH(pare_q1_0_encode)
#define pare_q2_0_encode PARE_ON_PATH(pare_q2_0_encode)
#define pare_q2_k_encode PARE_ON_PATH(pare_q2_k_encode)
#define pare_q3_k_encode PARE_ON_PATH(pare_q3_k_encode)
#define pare_q4_0_encode PARE_ON_PATH(pare_q4_0_encode)
#define pare_q4_1_encode PARE_ON_PATH(pare_q4_1_encode)
#define pare_q4_k_encode PARE_ON_PATH(pare_q4_k_encode)
#define pare_q4_k_pack_scales PARE_ON_PATH(pare_q4_k_pack_scales)
#define pare_q5_0_encode PARE_ON_PATH(pare_q5_0_encode)
#define pare_q5_1_encode PARE_ON_PATH(pare_q5_1_encode)
#define pare_q5_k_encode PARE_ON_PATH(pare_q5_k_encode)
#define pare_q6_k_encode PARE_ON_PATH(pare_q6_k_encode)
#define pare_q8_0_encode PARE_ON_PATH(pare_q8_0_encode)
#define pare_row_compare PARE_ON_PATH(pare_row_compare)
#define pare_row_find_above PARE_ON_PATH(pare_row_find_above)
#define pare_row_weight_range PARE_ON_PATH(pare_row_weight_range)
#define pare_super_encode PARE_ON_PATH(pare_super_encode)
#define pare_sweep PARE_ON_PATH(pare_sweep)
#define pare_table PARE_ON_PATH(pare_table)
#define pare_tq1_0_encode PARE_ON_PATH(pare_tq1_0_encode)
#define pare_tq2_0_encode PARE_ON_PATH(pare_tq2_0_encode)
/* clang-format on */

#endif
