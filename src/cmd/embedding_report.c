/* What `pare compare --embedding` found: as text and for JSON. */
#include "cmd/comparison.h"
#include "cmd/console.h"
#include "model/hparams_encoder.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NAME_WIDTH = 24, SHOWN_TEXT = 100 };

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL && slash[1] != '\0' ? slash + 1 : path;
    return cmd_safe(name, strlen(name));
}

static void print_text(const cmd_pair_file *f, size_t i)
{
    pare_str s = f->texts[i];
    size_t n = s.len < SHOWN_TEXT ? s.len : SHOWN_TEXT;
    while (n < s.len && n > 0 && ((unsigned char)s.data[n] & 0xc0) == 0x80)
        n--;
    printf("line %zu: %s%s", f->lines[i], cmd_safe(s.data, n), n < s.len ? " ..." : "");
}

static void print_scores(const pare_embedding_drift *d)
{
    if (d->n_scored > 0)
        printf("    with the scores of %zu pairs: rank correlation %.4f, of the reference %.4f\n", d->n_scored,
               d->score_spearman, d->reference_score_spearman);
}

static void print_file(const cmd_pairs *p, const pare_embedding_drift *d)
{
    const cmd_pair_file *f = &p->file;
    printf("  %-*s  %.6f +/- %-9.2g %9.6f %9.6f %9.6f  %9.6f %9.6f  %.4g\n", NAME_WIDTH, base_name(f->name),
           d->cosine.value, d->cosine.stderr_, d->cosine_median, d->cosine_p01, d->cosine_min, d->spearman, d->pearson,
           d->change_max);
    printf("    %zu texts, %zu pairs, %s pooling", d->n_texts, d->n_pairs, pare_pooling_name(p->pooling));
    if (p->ids.n_cut > 0)
        printf("; %zu texts are longer than the context and were cut", p->ids.n_cut);
    putchar('\n');
    print_scores(d);
    if (d->same_width && d->cosine_min < 1) {
        printf("    least alike, ");
        print_text(f, d->worst_text);
        putchar('\n');
    }
    if (!d->same_width)
        printf("    vectors of another width: only the order of pairs can be compared\n");
}

void cmd_print_embeddings(const cmd_comparison *c, size_t k)
{
    if (c->n_pair_files == 0)
        return;
    printf("  %-*s  %-22s %9s %9s %9s  %9s %9s  %s\n", NAME_WIDTH, "embeddings of", "cosine with reference", "median",
           "1 %", "least", "rank corr.", "corr.", "largest change of a pair");
    for (size_t i = 0; i < c->n_pair_files; i++)
        print_file(&c->pair_files[i], &c->candidates[k].embeddings[i]);
}

static json_t *json_pair(const cmd_pair_file *f, size_t i)
{
    const pare_text_pair *p = &f->pairs[i];
    return json_pack("[I, I]", (json_int_t)f->lines[p->a], (json_int_t)f->lines[p->b]);
}

static json_t *json_file(const cmd_pairs *p, const pare_embedding_drift *d)
{
    json_t *row = json_object();
    json_object_set_new(row, "name", cmd_json_text(p->file.name, strlen(p->file.name)));
    json_object_set_new(row, "pooling", json_string(pare_pooling_name(p->pooling)));
    cmd_json_u64(row, "n_texts", d->n_texts);
    cmd_json_u64(row, "n_texts_cut", p->ids.n_cut);
    cmd_json_u64(row, "n_pairs", d->n_pairs);
    cmd_json_real(row, "cosine_mean", d->cosine.value);
    cmd_json_real(row, "cosine_stderr", d->cosine.stderr_);
    cmd_json_real(row, "cosine_median", d->cosine_median);
    cmd_json_real(row, "cosine_p01", d->cosine_p01);
    cmd_json_real(row, "cosine_min", d->cosine_min);
    if (d->same_width)
        cmd_json_u64(row, "least_alike_line", p->file.lines[d->worst_text]);
    cmd_json_real(row, "spearman", d->spearman);
    cmd_json_real(row, "pearson", d->pearson);
    cmd_json_real(row, "similarity_change_mean", d->change.value);
    cmd_json_real(row, "similarity_change_stderr", d->change.stderr_);
    cmd_json_real(row, "similarity_change_max", d->change_max);
    if (d->n_pairs > 0)
        json_object_set_new(row, "most_changed_lines", json_pair(&p->file, d->worst_pair));
    if (d->n_scored > 0) {
        cmd_json_u64(row, "n_scored", d->n_scored);
        cmd_json_real(row, "score_spearman", d->score_spearman);
        cmd_json_real(row, "reference_score_spearman", d->reference_score_spearman);
    }
    return row;
}

json_t *cmd_json_embeddings(const cmd_comparison *c, size_t k)
{
    json_t *list = json_array();
    for (size_t i = 0; i < c->n_pair_files; i++)
        json_array_append_new(list, json_file(&c->pair_files[i], &c->candidates[k].embeddings[i]));
    return list;
}
