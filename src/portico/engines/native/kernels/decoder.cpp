// One forward pass of a decoder over rows of several sequences, prompts and single tokens alike, on the CPU.
//
// The structures are those of `structures.py`; all tensors belong to the caller.
#include <algorithm>
#include <cmath>
#include <deque>
#include <new>

#include "attention.h"
#include "drawing.h"
#include "products.h"
#include "threads.h"

namespace portico {

struct Layer {
    const float* attention_norm;
    const float* q_norm;
    const float* k_norm;
    const float* ffn_norm;
    Matrix qkv;
    Matrix attention_out;
    Matrix gate_up;
    Matrix down;
    void* cache;
};

struct Model {
    int64_t num_layers;
    int64_t hidden_size;
    int64_t num_heads;
    int64_t num_kv_heads;
    int64_t head_dim;
    int64_t ffn_size;
    int64_t block_size;
    int32_t cache_format;
    float norm_eps;
    const float* slopes;
    const float* final_norm;
    const Layer* layers;
    Matrix head;
};

// Rows of one sequence lie behind each other. `segments` is [num_segments][3]: first row, rows, place of the first.
struct Batch {
    int64_t num_rows;
    int64_t num_segments;
    const int32_t* segments;
    const int32_t* tables;
    int64_t table_stride;
    const float* cosines;
    const float* sines;
    const float* query_scales;
    float* hidden;
};

// Rows of queries of a tile, times the heads of a KV head.
constexpr int64_t kTileQueries = 32;
constexpr int64_t kPositionsAtOnce = 128;
constexpr int64_t kVectorsScored = 2;
#if defined(__AVX512F__)
constexpr int kMostScored = 8;
constexpr int kMostAccumulated = 6;
#else
constexpr int kMostScored = 6;
constexpr int kMostAccumulated = 3;
#endif

template <class T>
T* grown(std::vector<T>& buffer, int64_t size) {
    // To the beginning of a cache line.
    constexpr int64_t slack = 64 / sizeof(T);
    if (static_cast<int64_t>(buffer.size()) < size + slack) buffer.resize(size + slack);
    auto address = reinterpret_cast<uintptr_t>(buffer.data());
    return reinterpret_cast<T*>((address + 63) / 64 * 64);
}

inline void normalise(const float* x, const float* weight, int64_t size, float eps, float* y) {
    Vector squares = broadcast(0);
    int64_t i = 0;
    for (; i + kWidth <= size; i += kWidth) squares = multiply_add(load(x + i), load(x + i), squares);
    float total = sum(squares);
    for (int64_t j = i; j < size; ++j) total += x[j] * x[j];
    const float factor = 1.0f / std::sqrt(total / static_cast<float>(size) + eps);
    for (i = 0; i + kWidth <= size; i += kWidth)
        store(y + i, multiply(multiply(load(x + i), broadcast(factor)), load(weight + i)));
    for (; i < size; ++i) y[i] = x[i] * factor * weight[i];
}

class Decoder {
public:
    Decoder(const Model& model, int num_threads, int64_t turns)
        : model_(model), shape_{model.block_size, model.num_kv_heads, model.head_dim}, threads_(num_threads, turns) {
        tiles_.resize(num_threads);
        own_.resize(num_threads);
        drawings_.resize(num_threads);
        for (int i = 0; i < kPhases; ++i) phases_.emplace_back(num_threads);
        streams_.resize(num_threads);
        for (int thread = 0; thread < num_threads; ++thread) {
            for (int64_t i = 0; i < model_.num_layers; ++i) {
                const Layer& layer = model_.layers[i];
                for (const Matrix* each : {&layer.qkv, &layer.attention_out, &layer.gate_up, &layer.down})
                    add_part(*each, thread);
            }
            add_part(model_.head, thread);
        }
    }

    // These return whether there was memory enough; without it, what they were to write is undefined.
    bool forward(const Batch& batch) {
        plan(batch);
        threads_.run([&](int thread) {
            const TileRegisters registers(num_tiled_rows());
            for (int64_t i = 0; i < model_.num_layers; ++i) run_layer(batch, i, thread);
            const int64_t size = model_.hidden_size;
            for (int64_t row = thread; row < batch.num_rows; row += threads_.count()) {
                float* x = batch.hidden + row * size;
                normalise(x, model_.final_norm, size, model_.norm_eps, x);
            }
        });
        return had_memory();
    }

    // Rows of `hidden` [rows, hidden] to `logits` [rows, vocab].
    bool evaluate_head(const float* hidden, int64_t num_rows, float* logits) {
        return multiply_head<Use::kStore>(hidden, num_rows, model_.head.num_outputs, [&](int) { return logits; });
    }

    // Only the place of the largest logit of each row, the first one of equals.
    bool find_best(const float* hidden, int64_t num_rows, int64_t* token_ids) {
        const int count = threads_.count();
        // Threads write rows of their own.
        Best* best = grown(best_buffer_, num_rows * count);
        std::fill_n(best, num_rows * count, Best{});
        if (!multiply_head<Use::kBest>(hidden, num_rows, 1, [&](int thread) { return best + thread * num_rows; }))
            return false;
        for (int64_t row = 0; row < num_rows; ++row) {
            Best found;
            for (int thread = 0; thread < count; ++thread)
                if (best[thread * num_rows + row].is_before(found)) found = best[thread * num_rows + row];
            // Where there is no number at all, it is the first token.
            token_ids[row] = found.output < model_.head.num_outputs ? found.output : 0;
        }
        return true;
    }

    // Draws a token for each row of `scores` [rows, size], and reports on it where that is asked for.
    bool draw(const float* scores, int64_t num_rows, int64_t size, const Choices& choices, const Report& report,
              int64_t* token_ids) {
        return for_rows(num_rows, [&](int64_t row, Drawing& drawing) {
            token_ids[row] = drawing.draw(scores + row * size, size, choices, report, row);
        });
    }

    // Reports on tokens that stand in rows of `scores` [rows, size].
    bool describe(const float* scores, int64_t num_rows, int64_t size, const int64_t* token_ids, const Report& report) {
        return for_rows(num_rows, [&](int64_t row, Drawing& drawing) {
            drawing.describe(scores + row * size, size, token_ids[row], report, row);
        });
    }

private:
    enum Phase { kQkv, kAttend, kOut, kGateUp, kDown, kPhases };

    // `out_of` gives what a thread writes to.
    template <Use kUse, class OutOf>
    bool multiply_head(const float* hidden, int64_t num_rows, int64_t out_stride, const OutOf& out_of) {
        reserve(num_rows, model_.hidden_size);
        num_rows_ = num_rows;
        set(0, model_.head);
        threads_.run([&](int thread) {
            const TileRegisters registers(num_tiled_rows());
            const Rows rows = prepared(hidden, model_.hidden_size, nullptr, model_.head, thread);
            multiply<kUse>(rows, model_.head, nullptr, kMatrices * model_.num_layers, phases_[0], out_of(thread),
                           out_stride, thread);
        });
        return had_memory();
    }

    template <class Work>
    bool for_rows(int64_t num_rows, const Work& work) {
        phases_[0].reset(num_rows, 1);
        threads_.run([&](int thread) {
            phases_[0].take(thread, [&](int64_t row, bool) { attempt([&] { work(row, drawings_[thread]); }); });
        });
        return had_memory();
    }

    // A thread that lacks memory goes on to the next meeting like the others.
    template <class Work>
    void attempt(const Work& work) {
        try {
            work();
        } catch (const std::bad_alloc&) {
            lacks_memory_.store(true, std::memory_order_relaxed);
        }
    }

    bool had_memory() { return !lacks_memory_.exchange(false, std::memory_order_relaxed); }

    static constexpr int64_t kMatrices = 4;
    // What an activation takes at most when it is prepared for a product, with registers that are not full.
    static constexpr int64_t kInputBytes = kHasTileRegisters ? 8 : sizeof(float);

    // So few rows are prepared by every thread for itself: that takes less time than waiting for one that does it.
    static constexpr int64_t kFewRows = 2;

    void plan(const Batch& batch) {
        num_rows_ = batch.num_rows;
        const int64_t heads = model_.num_heads + 2 * model_.num_kv_heads;
        qkv_ = grown(qkv_buffer_, num_rows_ * heads * model_.head_dim);
        attended_ = grown(attended_buffer_, num_rows_ * model_.num_heads * model_.head_dim);
        gated_ = grown(gated_buffer_, num_rows_ * model_.ffn_size);
        reserve(num_rows_, std::max({model_.hidden_size, model_.num_heads * model_.head_dim, model_.ffn_size}));
        tiles_of_rows_.clear();
        const int64_t most = std::max<int64_t>(1, kTileQueries / (model_.num_heads / model_.num_kv_heads));
        is_single_ = true;
        for (int64_t i = 0; i < batch.num_segments; ++i) {
            const int32_t* segment = batch.segments + 3 * i;
            is_single_ = is_single_ && segment[1] == 1;
            for (int64_t start = 0; start < segment[1]; start += most)
                tiles_of_rows_.push_back({i, segment[0] + start, std::min<int64_t>(most, segment[1] - start),
                                          segment[2] + start});
        }
        // The longest first, so that none is left at the end for one thread alone.
        std::stable_sort(tiles_of_rows_.begin(), tiles_of_rows_.end(),
                         [](const Tile& a, const Tile& b) { return a.place + a.num_rows > b.place + b.num_rows; });
        set_attention(model_.layers[0]);
    }

    void reserve(int64_t num_rows, int64_t size) {
        row_bytes_ = round_up(size, 64) * kInputBytes;
        prepared_ = grown(prepared_buffer_, round_up(num_rows, 2 * kRegisterRows) * row_bytes_);
        scales_ = grown(scales_buffer_, num_rows);
        for (auto& own : own_) {
            own.data = grown(own.buffer, kRegisterRows * row_bytes_);
            own.normalised = grown(own.normalised_buffer, round_up(size, 64));
        }
    }

    void set(int phase, const Matrix& matrix) {
        const int64_t num_blocks = blocks_of(matrix);
        phases_[phase].reset(matrix.num_panels() * num_blocks, num_blocks);
    }

    int64_t blocks_of(const Matrix& matrix) const {
        const int64_t size = block_rows(matrix, num_rows_);
        return (num_rows_ + size - 1) / size;
    }

    // Rows in tile registers at most; numbers of bfloat16 are those of all matrices or of none.
    int64_t num_tiled_rows() const { return model_.head.format == kBfloat16 ? kParts * num_rows_ : num_rows_; }

    // The phases up to the end of attention; the layers are alike.
    void set_attention(const Layer& layer) {
        set(kQkv, layer.qkv);
        phases_[kAttend].reset(static_cast<int64_t>(tiles_of_rows_.size()) * model_.num_kv_heads, 1);
        set(kOut, layer.attention_out);
    }

    void run_layer(const Batch& batch, int64_t index, int thread) {
        const Layer& layer = model_.layers[index];
        const Matrix& later = index + 1 < model_.num_layers ? model_.layers[index + 1].qkv : model_.head;
        const int64_t hidden = model_.hidden_size, width = model_.num_heads * model_.head_dim;
        const int64_t qkv_width = layer.qkv.num_outputs;
        const int64_t part = kMatrices * index;
        Rows rows = prepared(batch.hidden, hidden, layer.attention_norm, layer.qkv, thread);
        multiply<Use::kStore>(rows, layer.qkv, &layer.attention_out, part, phases_[kQkv], qkv_, qkv_width, thread);
        threads_.meet();
        if (!is_single_) {
            place_share(batch, layer, thread);
            threads_.meet();
        }
        // A thread has few heads of many rows: it has computed most of what it reads here, and placed what it attends to.
        const int64_t num_tiles = static_cast<int64_t>(tiles_of_rows_.size());
        phases_[kAttend].take(thread, [&](int64_t task, bool) {
            const Tile& tile = tiles_of_rows_[task % num_tiles];
            const int64_t kv_head = task / num_tiles;
            if (is_single_) place(batch, layer, tile.segment, tile.first_row, tile.place, kv_head);
            attempt([&] {
                with_cache(layer, [&](auto* cache) { attend(batch, layer, cache, tile, kv_head, tiles_[thread]); });
            });
        });
        // The tasks of a phase are laid out while no thread is in it: at least one meeting lies between.
        if (thread == 0) {
            set(kGateUp, layer.gate_up);
            set(kDown, layer.down);
        }
        threads_.meet();
        rows = prepared(attended_, width, nullptr, layer.attention_out, thread);
        multiply<Use::kAdd>(rows, layer.attention_out, &layer.gate_up, part + 1, phases_[kOut], batch.hidden, hidden, thread);
        threads_.meet();
        if (thread == 0) set_attention(layer);
        rows = prepared(batch.hidden, hidden, layer.ffn_norm, layer.gate_up, thread);
        multiply<Use::kGate>(rows, layer.gate_up, &layer.down, part + 2, phases_[kGateUp], gated_, model_.ffn_size, thread);
        threads_.meet();
        rows = prepared(gated_, model_.ffn_size, nullptr, layer.down, thread);
        multiply<Use::kAdd>(rows, layer.down, &later, part + 3, phases_[kDown], batch.hidden, hidden, thread);
        threads_.meet();
    }

    // The rows that a product reads: normalised if there is a weight, and quantised or split if the matrix asks for it.
    Rows prepared(const float* x, int64_t size, const float* norm, const Matrix& matrix, int thread) {
        const bool is_quantised = matrix.format == kInt8 || matrix.format == kInt4;
        const bool is_few = num_rows_ <= kFewRows, is_tiled = portico::is_tiled(matrix, num_rows_);
        if (!is_quantised && !is_tiled && !norm)
            return {reinterpret_cast<const uint8_t*>(x), size * static_cast<int64_t>(sizeof(float)), nullptr};
        Own& own = own_[thread];
        uint8_t* data = is_few ? own.data : prepared_;
        float* scales = is_few ? own.scales : scales_;
        const int64_t stride = is_tiled ? num_tiled_steps(matrix) * kRegisterBytes : row_bytes_;
        for (int64_t row = is_few ? 0 : thread; row < num_rows_; row += is_few ? 1 : threads_.count()) {
            const float* from = x + row * size;
            uint8_t* to = data + row * stride;
            if (norm) {
                float* normalised = is_quantised || is_tiled ? own.normalised : reinterpret_cast<float*>(to);
                normalise(from, norm, size, model_.norm_eps, normalised);
                from = normalised;
            }
            if (is_tiled && is_quantised)
                scales[row] = quantise(from, size, matrix.format,
                                       data + row / kRegisterRows * stride + row % kRegisterRows * kRowBytes,
                                       kRegisterBytes);
            else if (is_quantised) scales[row] = quantise(from, size, matrix.format, to);
            else if (is_tiled) split(from, size, row, stride, data);
        }
        if (!is_few) threads_.meet();
        return {data, stride, scales, is_tiled};
    }

    // `later` is the matrix that is read after this one, if that is known; `part` is the matrix's number in streams.
    template <Use kUse>
    void multiply(const Rows& rows, const Matrix& matrix, const Matrix* later, int64_t part, Tasks& tasks,
                  Output<kUse>* out, int64_t out_stride, int thread) {
        const int64_t num_blocks = blocks_of(matrix), most = block_rows(matrix, num_rows_);
        const int64_t size = panel_bytes(matrix.format, matrix.num_inputs);
        Stream& stream = streams_[thread];
        tasks.take(thread, [&](int64_t task, bool is_last) {
            int64_t panel = task / num_blocks, block = task % num_blocks;
            if (rows.is_tiled) {
                // All panels of a share with some rows before the next rows, which would not stay in the cache.
                int owner = 0;
                while (task >= num_blocks * first_panel(matrix, owner + 1)) ++owner;
                const int64_t begin = first_panel(matrix, owner), count = first_panel(matrix, owner + 1) - begin;
                panel = begin + (task - num_blocks * begin) % count;
                block = (task - num_blocks * begin) / count;
            }
            const int64_t first = block * most, last = std::min(first + most, num_rows_);
            Weights weights = {static_cast<const uint8_t*>(matrix.panels) + panel * size, nullptr, &stream};
            weights.next = is_last && later ? beginning(*later, thread)
                                            : reinterpret_cast<const char*>(weights.panel) + size;
            if (rows.is_tiled) stream.read(part, weights.panel, size, num_portions(matrix, last - first));
            multiply_panel<kUse>(rows, first, last, matrix, panel, weights, out, out_stride);
        });
    }

    void add_part(const Matrix& matrix, int thread) {
        const char* begin = beginning(matrix, thread);
        streams_[thread].add(begin, beginning(matrix, thread + 1) - begin);
    }

    int64_t first_panel(const Matrix& matrix, int thread) const {
        return matrix.num_panels() * thread / threads_.count();
    }

    // Where a thread's share of a matrix begins.
    const char* beginning(const Matrix& matrix, int thread) const {
        return static_cast<const char*>(matrix.panels) +
               first_panel(matrix, thread) * panel_bytes(matrix.format, matrix.num_inputs);
    }

    // Calls work(cache) with a pointer to the numbers of a layer's cache.
    template <class Work>
    void with_cache(const Layer& layer, const Work& work) const {
        if (model_.cache_format == kFloat16) work(static_cast<uint16_t*>(layer.cache));
        else work(static_cast<float*>(layer.cache));
    }

    // Places a thread's share of the keys and values of all rows, which are numbered head by head.
    void place_share(const Batch& batch, const Layer& layer, int thread) {
        const int64_t count = model_.num_kv_heads * num_rows_;
        const int64_t begin = count * thread / threads_.count(), end = count * (thread + 1) / threads_.count();
        for (int64_t head = begin / num_rows_; head * num_rows_ < end; ++head)
            for (int64_t i = 0; i < batch.num_segments; ++i) {
                const int32_t* segment = batch.segments + 3 * i;
                const int64_t first = std::max<int64_t>(segment[0], begin - head * num_rows_);
                const int64_t last = std::min<int64_t>(segment[0] + segment[1], end - head * num_rows_);
                for (int64_t row = first; row < last; ++row)
                    place(batch, layer, i, row, segment[2] + row - segment[0], head);
            }
    }

    // Normalises and turns the key of a row, and writes it and the value to the cache.
    void place(const Batch& batch, const Layer& layer, int64_t segment, int64_t row, int64_t position, int64_t head) {
        const int64_t dim = model_.head_dim;
        float* k = qkv_ + row * layer.qkv.num_outputs + (model_.num_heads + head) * dim;
        turn(batch, row, k, layer.k_norm);
        const int32_t* table = batch.tables + segment * batch.table_stride;
        with_cache(layer, [&](auto* cache) {
            auto* block = cache + table[position / shape_.block_size] * shape_.block_numbers();
            write_key_value(block + head * shape_.head_numbers(), shape_, position % shape_.block_size, k,
                            k + model_.num_kv_heads * dim);
        });
    }

    // The two halves of a head's dimensions are pairs; the first half of the sines is negative.
    void turn(const Batch& batch, int64_t row, float* x, const float* norm) const {
        const int64_t dim = model_.head_dim, half = dim / 2;
        if (norm) normalise(x, norm, dim, model_.norm_eps, x);
        if (!batch.cosines) return;
        const float *cosines = batch.cosines + row * dim, *sines = batch.sines + row * dim;
        int64_t i = 0;
        for (; i + kWidth <= half; i += kWidth) {
            const Vector a = load(x + i), b = load(x + i + half);
            store(x + i, add(portico::multiply(a, load(cosines + i)), portico::multiply(b, load(sines + i))));
            store(x + i + half,
                  add(portico::multiply(b, load(cosines + i + half)), portico::multiply(a, load(sines + i + half))));
        }
        for (; i < half; ++i) {
            const float a = x[i], b = x[i + half];
            x[i] = a * cosines[i] + b * sines[i];
            x[i + half] = b * cosines[i + half] + a * sines[i + half];
        }
    }

    struct Tile {
        int64_t segment;
        int64_t first_row;
        int64_t num_rows;
        int64_t place;
    };

    template <class Number>
    void attend(const Batch& batch, const Layer& layer, const Number* cache, const Tile& tile, int64_t kv_head,
                Queries& work) {
        const int64_t dim = model_.head_dim, group = model_.num_heads / model_.num_kv_heads;
        const int64_t positions = shape_.positions(), block_numbers = shape_.block_numbers();
        const int64_t end = tile.place + tile.num_rows, end_block = (end + shape_.block_size - 1) / shape_.block_size;
        work.clear();
        for (int64_t i = 0; i < tile.num_rows; ++i)
            for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
                const int64_t row = tile.first_row + i;
                float* query = qkv_ + row * layer.qkv.num_outputs + head * dim;
                turn(batch, row, query, layer.q_norm);
                if (batch.query_scales)
                    for (int64_t d = 0; d < dim; ++d) query[d] *= batch.query_scales[row];
                work.queries.push_back(query);
                work.outputs.push_back(attended_ + (row * model_.num_heads + head) * dim);
                work.places.push_back(tile.place + i);
                work.slopes.push_back(model_.slopes ? model_.slopes[head] : 0.0f);
            }
        const int64_t count = static_cast<int64_t>(work.queries.size()), stride = end_block * positions;
        float* scores = grown(work.scores, count * stride);
        const int32_t* table = batch.tables + tile.segment * batch.table_stride;
        cache += kv_head * shape_.head_numbers();
        const auto keys_at = [&](int64_t vector) {
            return cache + table[vector * kWidth / positions] * block_numbers + vector * kWidth % positions;
        };
        for (int64_t vector = 0, left; (left = end_block * positions / kWidth - vector) > 0; vector += kVectorsScored) {
            const Number* keys[] = {keys_at(vector), left > 1 ? keys_at(vector + 1) : nullptr};
            if (left > 1) score_part<kVectorsScored>(work, keys, scores + vector * kWidth, stride);
            else score_part<1>(work, keys, scores + vector * kWidth, stride);
        }
        const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
        work.factors.resize(count);
        for (int64_t i = 0; i < count; ++i)
            work.factors[i] = weigh(scores + i * stride, work.places[i], end_block, scale, work.slopes[i], shape_);
        const int64_t width = shape_.value_dim();
        float* sums = grown(work.sums, count * width);
        std::fill_n(sums, count * width, 0.0f);
        // Of some positions at a time, which all queries find in the nearest cache.
        const int64_t at_once = std::max<int64_t>(1, kPositionsAtOnce / shape_.block_size);
        for (int64_t block = 0; block < end_block; block += at_once) {
            const int64_t stop = std::min((block + at_once) * shape_.block_size, end);
            for (int64_t first = 0; first < count;) {
                const int64_t num_parts = (count - first + kMostAccumulated - 1) / kMostAccumulated;
                const int64_t size = (count - first + num_parts - 1) / num_parts;
                for (int64_t d = 0; d < width;) {
                    const int64_t left = (width - d) / kWidth, vectors = left >= 4 ? 4 : left >= 2 ? 2 : 1;
                    accumulate_part(size, vectors, scores + first * stride, stride, cache, table, block, stop, d,
                                    sums + first * width);
                    d += vectors * kWidth;
                }
                first += size;
            }
        }
        for (int64_t i = 0; i < count; ++i)
            for (int64_t d = 0; d < dim; d += kWidth)
                store_some(work.outputs[i] + d, portico::multiply(load(sums + i * width + d), broadcast(work.factors[i])),
                           dim - d);
    }

    template <int kVectors, class Number>
    void score_part(const Queries& work, const Number* const* keys, float* scores, int64_t stride) const {
        const int64_t count = static_cast<int64_t>(work.queries.size()), dim = model_.head_dim;
        const int64_t positions = shape_.positions();
        for (int64_t first = 0; first < count;) {
            const int64_t num_parts = (count - first + kMostScored - 1) / kMostScored;
            const int64_t size = (count - first + num_parts - 1) / num_parts;
            const float* const* queries = work.queries.data() + first;
            float* to = scores + first * stride;
            switch (size) {
                case 1: score<1, kVectors>(queries, keys, dim, positions, to, stride); break;
                case 2: score<2, kVectors>(queries, keys, dim, positions, to, stride); break;
                case 3: score<3, kVectors>(queries, keys, dim, positions, to, stride); break;
                case 4: score<4, kVectors>(queries, keys, dim, positions, to, stride); break;
                case 5: score<5, kVectors>(queries, keys, dim, positions, to, stride); break;
                case 6: score<6, kVectors>(queries, keys, dim, positions, to, stride); break;
                case 7: score<7, kVectors>(queries, keys, dim, positions, to, stride); break;
                default: score<8, kVectors>(queries, keys, dim, positions, to, stride); break;
            }
            first += size;
        }
    }

    template <class... Arguments>
    void accumulate_part(int64_t size, int64_t width, Arguments... arguments) const {
        switch (width) {
            case 1: accumulate_rows<1>(size, arguments...); break;
            case 2: accumulate_rows<2>(size, arguments...); break;
            default: accumulate_rows<4>(size, arguments...); break;
        }
    }

    template <int kVectors, class Number>
    void accumulate_rows(int64_t size, const float* weights, int64_t stride, const Number* cache, const int32_t* table,
                         int64_t block, int64_t end, int64_t d, float* sums) const {
        const int64_t floats = shape_.block_numbers();
        switch (size) {
            case 1: accumulate<1, kVectors>(weights, stride, cache, table, floats, shape_, block, end, d, sums); break;
            case 2: accumulate<2, kVectors>(weights, stride, cache, table, floats, shape_, block, end, d, sums); break;
            case 3: accumulate<3, kVectors>(weights, stride, cache, table, floats, shape_, block, end, d, sums); break;
            case 4: accumulate<4, kVectors>(weights, stride, cache, table, floats, shape_, block, end, d, sums); break;
            case 5: accumulate<5, kVectors>(weights, stride, cache, table, floats, shape_, block, end, d, sums); break;
            default: accumulate<6, kVectors>(weights, stride, cache, table, floats, shape_, block, end, d, sums);
        }
    }

    struct Own {
        std::vector<uint8_t> buffer;
        std::vector<float> normalised_buffer;
        uint8_t* data = nullptr;
        float* normalised = nullptr;
        float scales[kFewRows] = {};
    };

    const Model model_;
    const CacheShape shape_;
    Threads threads_;
    std::deque<Tasks> phases_;
    std::vector<Tile> tiles_of_rows_;
    std::vector<Queries> tiles_;
    std::vector<Own> own_;
    std::vector<Drawing> drawings_;
    std::vector<Stream> streams_;
    std::atomic<bool> lacks_memory_{false};
    bool is_single_ = false;
    int64_t num_rows_ = 0;
    int64_t row_bytes_ = 0;
    uint8_t* prepared_ = nullptr;
    float *qkv_ = nullptr, *attended_ = nullptr, *gated_ = nullptr, *scales_ = nullptr;
    std::vector<uint8_t> prepared_buffer_;
    std::vector<Best> best_buffer_;
    std::vector<float> qkv_buffer_, attended_buffer_, gated_buffer_, scales_buffer_;
};

// What a call that tells whether it had memory comes to; exceptions must not leave this library.
template <class Call>
int32_t attempted(const Call& call) {
    try {
        return call() ? 0 : 1;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

}  // namespace portico

extern "C" {

#define PORTICO_PUBLIC __attribute__((visibility("default")))

// To be changed with every function and structure here; `library.py` has the same number.
PORTICO_PUBLIC int64_t portico_interface() { return 8; }

// Whether the system gives this process what the kernels need besides instructions; to be asked before anything else.
PORTICO_PUBLIC int32_t portico_is_usable() { return portico::are_registers_given() ? 1 : 0; }

// Whether numbers of bfloat16 are multiplied faster than those of float16.
PORTICO_PUBLIC int32_t portico_prefers_bfloat16() { return portico::kHasTileRegisters; }

PORTICO_PUBLIC int64_t portico_panel() { return portico::kPanel; }

// Keys and values of a block in one layer.
PORTICO_PUBLIC int64_t portico_block_numbers(int64_t block_size, int64_t num_kv_heads, int64_t head_dim) {
    return portico::CacheShape{block_size, num_kv_heads, head_dim}.block_numbers();
}

PORTICO_PUBLIC int64_t portico_packed_bytes(int32_t format, int64_t num_outputs, int64_t num_inputs) {
    return (num_outputs + portico::kPanel - 1) / portico::kPanel * portico::panel_bytes(format, num_inputs);
}

// Packs rows of `row_bytes` bytes each into the panels of `matrix`.
PORTICO_PUBLIC void portico_pack(const void* rows, int64_t row_bytes, const portico::Matrix* matrix) {
    auto from = static_cast<const uint8_t*>(rows);
    void* to = const_cast<void*>(matrix->panels);
    switch (matrix->format) {
        case portico::kInt8: portico::pack(from, row_bytes, *matrix, static_cast<int8_t*>(to)); break;
        case portico::kInt4: portico::pack_nibbles(from, row_bytes, *matrix, static_cast<uint8_t*>(to)); break;
        case portico::kFloat32: portico::pack(from, row_bytes, *matrix, static_cast<float*>(to)); break;
        default: portico::pack(from, row_bytes, *matrix, static_cast<uint16_t*>(to));
    }
}

// Rows of a matrix that is packed in floating-point numbers, to `rows` [count, inputs].
PORTICO_PUBLIC void portico_unpack(const portico::Matrix* matrix, const int64_t* outputs, int64_t count, float* rows) {
    for (int64_t i = 0; i < count; ++i) portico::unpack(*matrix, outputs[i], rows + i * matrix->num_inputs);
}

// What the offset of unsigned activations adds to a product of a row of weights, to be taken away.
PORTICO_PUBLIC int64_t portico_byte_offset() { return portico::kByteOffset; }

PORTICO_PUBLIC void* portico_create(const portico::Model* model, int64_t num_threads, int64_t turns) {
    return new portico::Decoder(*model, static_cast<int>(num_threads), turns);
}

PORTICO_PUBLIC void portico_destroy(void* decoder) { delete static_cast<portico::Decoder*>(decoder); }

// Those from here on return 0, or 1 if there is no memory for what they were asked.
PORTICO_PUBLIC int32_t portico_forward(void* decoder, const portico::Batch* batch) {
    return portico::attempted([&] { return static_cast<portico::Decoder*>(decoder)->forward(*batch); });
}

PORTICO_PUBLIC int32_t portico_draw(void* decoder, const float* scores, int64_t num_rows, int64_t size,
                                    const portico::Choices* choices, const portico::Report* report,
                                    int64_t* token_ids) {
    return portico::attempted([&] {
        return static_cast<portico::Decoder*>(decoder)->draw(scores, num_rows, size, *choices, *report, token_ids);
    });
}

PORTICO_PUBLIC int32_t portico_describe(void* decoder, const float* scores, int64_t num_rows, int64_t size,
                                        const int64_t* token_ids, const portico::Report* report) {
    return portico::attempted([&] {
        return static_cast<portico::Decoder*>(decoder)->describe(scores, num_rows, size, token_ids, *report);
    });
}

PORTICO_PUBLIC int32_t portico_head(void* decoder, const float* hidden, int64_t num_rows, float* logits) {
    return portico::attempted([&] {
        return static_cast<portico::Decoder*>(decoder)->evaluate_head(hidden, num_rows, logits);
    });
}

// The tokens with the highest logits, [rows], instead of these.
PORTICO_PUBLIC int32_t portico_best(void* decoder, const float* hidden, int64_t num_rows, int64_t* token_ids) {
    return portico::attempted([&] {
        return static_cast<portico::Decoder*>(decoder)->find_best(hidden, num_rows, token_ids);
    });
}
}
