/* model/arch_qwen35.h - what the dense and the mixed models of Qwen 3.5 share (arch_qwen35.c, arch_qwen35moe.c) */
#ifndef PARE_MODEL_ARCH_QWEN35_H
#define PARE_MODEL_ARCH_QWEN35_H

#include "model/arch.h"

/* Rows of weights: everything but the feed-forward part. */
#define PARE_QWEN35_ROWS                                                                                               \
    {PARE_W_TOKEN_EMBD, "model.embed_tokens", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},                      \
        {PARE_W_OUTPUT, "lm_head", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_WEIGHT_OPTIONAL},              \
        {PARE_W_OUTPUT_NORM, "model.norm", {PARE_DIM_EMBD}, PARE_MAP_PLUS_ONE, 0},                                     \
        {PARE_W_ATTN_NORM, "model.layers.%u.input_layernorm", {PARE_DIM_EMBD}, PARE_MAP_PLUS_ONE, 0},                  \
        {PARE_W_ATTN_POST_NORM, "model.layers.%u.post_attention_layernorm", {PARE_DIM_EMBD}, PARE_MAP_PLUS_ONE, 0},    \
        {PARE_W_ATTN_Q,                                                                                                \
         "model.layers.%u.self_attn.q_proj",                                                                           \
         {PARE_DIM_Q_GATED, PARE_DIM_EMBD},                                                                            \
         PARE_MAP_SAME,                                                                                                \
         PARE_ATTENTION_ONLY},                                                                                         \
        {PARE_W_ATTN_K,                                                                                                \
         "model.layers.%u.self_attn.k_proj",                                                                           \
         {PARE_DIM_K, PARE_DIM_EMBD},                                                                                  \
         PARE_MAP_SAME,                                                                                                \
         PARE_ATTENTION_ONLY},                                                                                         \
        {PARE_W_ATTN_V,                                                                                                \
         "model.layers.%u.self_attn.v_proj",                                                                           \
         {PARE_DIM_V, PARE_DIM_EMBD},                                                                                  \
         PARE_MAP_SAME,                                                                                                \
         PARE_ATTENTION_ONLY},                                                                                         \
        {PARE_W_ATTN_OUT,                                                                                              \
         "model.layers.%u.self_attn.o_proj",                                                                           \
         {PARE_DIM_EMBD, PARE_DIM_O},                                                                                  \
         PARE_MAP_SAME,                                                                                                \
         PARE_ATTENTION_ONLY},                                                                                         \
        {PARE_W_ATTN_Q_NORM,                                                                                           \
         "model.layers.%u.self_attn.q_norm",                                                                           \
         {PARE_DIM_HEAD_K},                                                                                            \
         PARE_MAP_PLUS_ONE,                                                                                            \
         PARE_ATTENTION_ONLY},                                                                                         \
        {PARE_W_ATTN_K_NORM,                                                                                           \
         "model.layers.%u.self_attn.k_norm",                                                                           \
         {PARE_DIM_HEAD_K},                                                                                            \
         PARE_MAP_PLUS_ONE,                                                                                            \
         PARE_ATTENTION_ONLY},                                                                                         \
        {PARE_W_ATTN_QKV,                                                                                              \
         "model.layers.%u.linear_attn.in_proj_qkv",                                                                    \
         {PARE_DIM_LINEAR_QKV, PARE_DIM_EMBD},                                                                         \
         PARE_MAP_SAME,                                                                                                \
         PARE_LINEAR_ONLY},                                                                                            \
        {PARE_W_ATTN_GATE,                                                                                             \
         "model.layers.%u.linear_attn.in_proj_z",                                                                      \
         {PARE_DIM_LINEAR_V, PARE_DIM_EMBD},                                                                           \
         PARE_MAP_SAME,                                                                                                \
         PARE_LINEAR_ONLY},                                                                                            \
        {PARE_W_SSM_BETA,                                                                                              \
         "model.layers.%u.linear_attn.in_proj_b",                                                                      \
         {PARE_DIM_LINEAR_HEADS, PARE_DIM_EMBD},                                                                       \
         PARE_MAP_SAME,                                                                                                \
         PARE_LINEAR_ONLY},                                                                                            \
        {PARE_W_SSM_ALPHA,                                                                                             \
         "model.layers.%u.linear_attn.in_proj_a",                                                                      \
         {PARE_DIM_LINEAR_HEADS, PARE_DIM_EMBD},                                                                       \
         PARE_MAP_SAME,                                                                                                \
         PARE_LINEAR_ONLY},                                                                                            \
        {PARE_W_SSM_CONV1D,                                                                                            \
         "model.layers.%u.linear_attn.conv1d",                                                                         \
         {PARE_DIM_LINEAR_QKV, PARE_DIM_LINEAR_KERNEL},                                                                \
         PARE_MAP_SQUEEZE,                                                                                             \
         PARE_LINEAR_ONLY},                                                                                            \
        {PARE_W_SSM_DT,                                                                                                \
         "model.layers.%u.linear_attn.dt_bias",                                                                        \
         {PARE_DIM_LINEAR_HEADS},                                                                                      \
         PARE_MAP_SAME,                                                                                                \
         PARE_LINEAR_ONLY | PARE_NO_SUFFIX | PARE_BIAS_ALONE | PARE_BIAS_REQUIRED},                                    \
        {PARE_W_SSM_A,                                                                                                 \
         "model.layers.%u.linear_attn.A_log",                                                                          \
         {PARE_DIM_LINEAR_HEADS},                                                                                      \
         PARE_MAP_MINUS_EXP,                                                                                           \
         PARE_LINEAR_ONLY | PARE_NO_SUFFIX},                                                                           \
        {PARE_W_SSM_NORM,                                                                                              \
         "model.layers.%u.linear_attn.norm",                                                                           \
         {PARE_DIM_LINEAR_HEAD_V},                                                                                     \
         PARE_MAP_SAME,                                                                                                \
         PARE_LINEAR_ONLY},                                                                                            \
    {                                                                                                                  \
        PARE_W_SSM_OUT, "model.layers.%u.linear_attn.out_proj", {PARE_DIM_EMBD, PARE_DIM_LINEAR_V}, PARE_MAP_SAME,     \
            PARE_LINEAR_ONLY                                                                                           \
    }

extern const char *const pare_qwen35_prefixes[]; /* of the Hub's names: alone, or beside a part that sees */
extern const char *const pare_qwen35_left_out[];

pare_status pare_qwen35_from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err);
pare_status pare_qwen35_from_meta(pare_hparams *hp, const pare_meta *meta, const char *arch_name, const char *path,
                                  pare_error *err);
pare_status pare_qwen35_to_meta(const pare_hparams *hp, pare_meta *meta, const char *arch_name, pare_error *err);
pare_status pare_qwen35_to_config(const pare_hparams *hp, json_t *config, pare_error *err);

#endif
