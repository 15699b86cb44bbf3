#include "quant/importance.h"

#include "quant/path_table.h"

/* k in matrices that multiply and in tables of embeddings, measured type by type (docs/methods/IMPORTANCE.md). Where a
 * type has fewer codes, what stands out has farther to go; an embedding is used as it is, without a sum over errors. */
static const struct {
    float product, lookup;
} slopes[PARE_TYPE_COUNT] = {
#define K(id, product, lookup) [PARE_TYPE_##id] = {product, lookup}
    K(Q4_0, 0.5f, 0),  K(Q4_1, 0.5f, 0),    K(Q5_0, 0.5f, 0),   K(Q5_1, 0.5f, 0),  K(Q2_K, 2, 0),
    K(Q3_K, 1, 0),     K(Q4_K, 0.5f, 0),    K(Q5_K, 0.5f, 0),   K(Q6_K, 0.5f, 0),  K(IQ1_S, 2, 0.5f),
    K(IQ1_M, 2, 0.5f), K(IQ2_XXS, 2, 0.5f), K(IQ2_XS, 2, 0.5f), K(IQ2_S, 2, 0.5f), K(IQ3_XXS, 2, 0.5f),
    K(IQ3_S, 1, 0.5f), K(IQ4_NL, 2, 0),     K(IQ4_XS, 2, 0),
#undef K
};

float pare_importance_slope(pare_type type, bool lookup)
{
    return lookup ? slopes[type].lookup : slopes[type].product;
}

bool pare_importance_of_weights(float slope, const float *column, const float *x, size_t row_len, float *w)
{
    return pare_path_now()->importance(slope, column, x, row_len, w);
}
