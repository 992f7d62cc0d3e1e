// Attention of some queries to the keys and values of one sequence in the paged cache.
//
// A block holds, for each KV head, its keys [head_dim][positions] and then its values [positions][value_dim], with
// positions and value_dim rounded up to whole vectors, in numbers of float32 or float16. A query's scores, its softmax
// and its sum of values run over the positions in order, in vectors that begin at multiples of their width: a query's
// result depends on its own sequence and place alone.
#pragma once

#include <vector>

#include "vectors.h"

namespace portico {

constexpr int64_t kLanes = 16;

struct CacheShape {
    int64_t block_size;
    int64_t num_kv_heads;
    int64_t head_dim;

    int64_t positions() const { return round_up(block_size, kLanes); }
    int64_t value_dim() const { return round_up(head_dim, kLanes); }
    int64_t key_numbers() const { return head_dim * positions(); }
    int64_t head_numbers() const { return key_numbers() + block_size * value_dim(); }
    int64_t block_numbers() const { return num_kv_heads * head_numbers(); }
};

// Queries of one tile and where their results go; `places` are their places in the sequence.
struct Queries {
    std::vector<const float*> queries;
    std::vector<float*> outputs;
    std::vector<int64_t> places;
    std::vector<float> slopes;
    std::vector<float> factors;
    std::vector<float> scores;
    std::vector<float> sums;

    void clear() {
        queries.clear();
        outputs.clear();
        places.clear();
        slopes.clear();
    }
};

template <class Number>
void write_key_value(Number* head, const CacheShape& shape, int64_t offset, const float* key, const float* value) {
    for (int64_t d = 0; d < shape.head_dim; ++d) put_number(head + d * shape.positions() + offset, key[d]);
    Number* to = head + shape.key_numbers() + offset * shape.value_dim();
    for (int64_t d = 0; d < shape.head_dim; ++d) put_number(to + d, value[d]);
}

template <int kVectors>
struct VectorSums {
    Vector lanes[kVectors];
};

// Scores of kVectors vectors of positions, whose keys begin at `keys`, for kCount queries.
template <int kCount, int kVectors, class Number>
void score(const float* const* queries, const Number* const* keys, int64_t head_dim, int64_t positions, float* scores,
           int64_t stride) {
#define PORTICO_BEGIN(i)                                 \
    const float* query##i = queries[i < kCount ? i : 0]; \
    VectorSums<kVectors> sums##i;                        \
    for (auto& lane : sums##i.lanes) lane = broadcast(0);
#define PORTICO_STEP(i)                                                                                      \
    if constexpr (i < kCount) {                                                                              \
        const Vector value = broadcast(query##i[d]);                                                         \
        for (int v = 0; v < kVectors; ++v) sums##i.lanes[v] = multiply_add(value, key[v], sums##i.lanes[v]); \
    }
#define PORTICO_END(i)        \
    if constexpr (i < kCount) \
        for (int v = 0; v < kVectors; ++v) store(scores + i * stride + v * kWidth, sums##i.lanes[v]);

    PORTICO_EACH(PORTICO_BEGIN)
    const Number* places[kVectors];
    for (int v = 0; v < kVectors; ++v) places[v] = keys[v];
    int64_t d = 0;
    do {
        Vector key[kVectors];
        for (int v = 0; v < kVectors; ++v) {
            key[v] = load_numbers(places[v]);
            places[v] += positions;
        }
        PORTICO_EACH(PORTICO_STEP)
    } while (++d < head_dim);
    PORTICO_EACH(PORTICO_END)
#undef PORTICO_BEGIN
#undef PORTICO_STEP
#undef PORTICO_END
}

// Turns the scores of a query at `place` into weights that are not divided by their sum yet, and those behind it up to
// `end_block` into zeros; returns one through that sum.
inline float weigh(float* scores, int64_t place, int64_t end_block, float scale, float slope, const CacheShape& shape) {
    const int64_t positions = shape.positions(), block = place / shape.block_size;
    const int64_t count = block * positions + place % shape.block_size + 1, last = round_up(count, kWidth) - kWidth;
    // Lanes without a position, at the ends of blocks and behind the query, are to weigh nothing.
    for (int64_t b = 0; b < block && shape.block_size < positions; ++b)
        for (int64_t i = shape.block_size; i < positions; ++i) scores[b * positions + i] = -kInfinity;
    if (slope != 0) {
        for (int64_t i = 0; i < count; ++i) {
            const int64_t distance = i / positions * shape.block_size + i % positions - place;
            scores[i] = scores[i] * scale + slope * static_cast<float>(distance);
        }
        scale = 1;
    }
    store(scores + last, first_lanes(load(scores + last), count - last, broadcast(-kInfinity)));
    Vector most = broadcast(-kInfinity);
    for (int64_t i = 0; i <= last; i += kWidth) most = maximum(most, load(scores + i));
    const Vector top = broadcast(largest(most) * scale);
    const auto weight = [&](int64_t i) {
        return exponential(subtract(multiply(load(scores + i), broadcast(scale)), top));
    };
    Vector total = broadcast(0);
    for (int64_t i = 0; i < last; i += kWidth) {
        const Vector each = weight(i);
        store(scores + i, each);
        total = add(total, each);
    }
    const Vector rest = first_lanes(weight(last), count - last, broadcast(0));
    store(scores + last, rest);
    for (int64_t i = last + kWidth; i < end_block * positions; i += kWidth) store(scores + i, broadcast(0));
    return 1.0f / sum(add(total, rest));
}

// Adds the values of positions from the beginning of `block` to below `end`, times their weights, to `sums`
// [kCount][value_dim] of as many queries, from the dimension `d` on.
template <int kCount, int kVectors, class Number>
void accumulate(const float* weights, int64_t stride, const Number* cache, const int32_t* table, int64_t block_numbers,
                const CacheShape& shape, int64_t block, int64_t end, int64_t d, float* sums) {
#define PORTICO_BEGIN(c)                \
    VectorSums<kVectors> sums##c;       \
    for (int v = 0; v < kVectors; ++v)  \
        sums##c.lanes[v] = load(sums + (c < kCount ? c : 0) * shape.value_dim() + d + v * kWidth);
#define PORTICO_STEP(c)                                                                                         \
    if constexpr (c < kCount) {                                                                                 \
        const Vector weight = broadcast(own[c * stride + i]);                                                   \
        for (int v = 0; v < kVectors; ++v) sums##c.lanes[v] = multiply_add(weight, value[v], sums##c.lanes[v]); \
    }
#define PORTICO_END(c)           \
    if constexpr (c < kCount)    \
        for (int v = 0; v < kVectors; ++v) store(sums + c * shape.value_dim() + d + v * kWidth, sums##c.lanes[v]);

    PORTICO_EACH(PORTICO_BEGIN)
    for (int64_t place = block * shape.block_size; place < end; ++block) {
        const Number* values = cache + table[block] * block_numbers + shape.key_numbers() + d;
        const int64_t stop = place + shape.block_size < end ? place + shape.block_size : end;
        const float* own = weights + block * shape.positions();
        for (int64_t i = 0; place < stop; ++place, ++i, values += shape.value_dim()) {
            Vector value[kVectors];
            for (int v = 0; v < kVectors; ++v) value[v] = load_numbers(values + v * kWidth);
            PORTICO_EACH(PORTICO_STEP)
        }
    }
    PORTICO_EACH(PORTICO_END)
#undef PORTICO_BEGIN
#undef PORTICO_STEP
#undef PORTICO_END
}

}  // namespace portico
