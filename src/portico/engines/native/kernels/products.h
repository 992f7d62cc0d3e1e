// Products of rows of activations with a matrix of weights, `x @ weight.T`.
//
// Weights lie in panels of kPanel outputs, so that a vector holds what many outputs have for one input, and the sum of
// one output runs over the inputs in order, in one lane. A row's result so depends on no other row, to the bit.
//
//   kInt8:  [panels][inputs / 4][kPanel][4] signed bytes; activations are bytes too, with one scale for each row
//   kInt4:  [panels][inputs / 32], each the 4 bits of [4][kPanel][4] inputs and of those 4 behind them, eight too much, and
//           then [kPanel] scales of float16; activations as before
//   others: [panels][inputs][kPanel]; of kBfloat16 for tile registers [panels][inputs / 2][kPanel][2]
#pragma once

#include <algorithm>
#include <cstring>
#include <limits>
#include <type_traits>

#include "tile_registers.h"
#include "vectors.h"

namespace portico {

enum Format : int32_t { kFloat32 = 0, kFloat16 = 1, kBfloat16 = 2, kInt8 = 3, kInt4 = 4 };

// What becomes of the products: they are stored, added to what is there, are gates and values of an FFN, or only the
// best output of each row is kept.
enum class Use { kStore, kAdd, kGate, kBest };

// The largest product of a row so far, and its output; the first one of equals. What is no number is passed over.
struct Best {
    float score = -kInfinity;
    int32_t output = std::numeric_limits<int32_t>::max();

    bool is_before(const Best& other) const {
        return score > other.score || (score == other.score && output < other.output);
    }
};

// What products are written to: [rows] of so many.
template <Use kUse>
using Output = std::conditional_t<kUse == Use::kBest, Best, float>;

// Whether an instruction multiplies unsigned bytes with signed ones and adds four products to each sum.
#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
constexpr bool kSumsBytes = true;
#else
constexpr bool kSumsBytes = false;
#endif

#if defined(__AVX512F__)
constexpr int kPanelVectors = 4;
constexpr int kByteTileRows = 6;
constexpr int kHighTileRows = 12;
#else
constexpr int kPanelVectors = 2;
constexpr int kByteTileRows = kSumsBytes ? 6 : 4;
constexpr int kHighTileRows = kByteTileRows;
#endif
constexpr int kTileRows = 6;
constexpr int kNibbleTileRows = 4;
constexpr int kPanel = kPanelVectors * kWidth;
// Inputs of kInt4 that have one scale, and the bytes of them for a panel.
constexpr int kGroup = 32;
constexpr int kGroupBytes = kPanel * (kGroup / 2 + 2);
// Lines that are asked for with each step of other products than those of bytes.
constexpr int kFloatLines = 2;
constexpr int kNibbleLines = 9;
// The most rows that a thread takes at a time without tile registers; their activations stay in its cache.
constexpr int kBlockRows = 96;

// A packed matrix. `scales`, `corrections` and `bias` are [outputs], padded to whole panels; the first two are those of
// kInt8, `bias` may be null. With `is_paired` each panel has kPanel / 2 gates and the values that belong to them.
struct Matrix {
    const void* panels;
    const float* scales;
    const int32_t* corrections;
    const float* bias;
    int64_t num_outputs;
    int64_t num_inputs;
    int32_t format;
    int32_t is_paired;

    int64_t num_panels() const { return (num_outputs + kPanel - 1) / kPanel; }
};

// Activations as products read them: [rows] of `stride` bytes, float32 or quantised with `scales` [rows]. With
// `is_tiled` 16 rows in tile registers take `stride` bytes: [rows / 16][inputs / 64][16][64] of bytes, or what `split`
// makes of rows.
struct Rows {
    const uint8_t* data;
    int64_t stride;
    const float* scales;
    bool is_tiled = false;
};

// Whether weights are numbers for tile registers, with any number of rows.
inline bool has_pairs(const Matrix& matrix) {
    return kHasTileRegisters && matrix.format == kBfloat16 && matrix.num_inputs % (kRowBytes / 2) == 0;
}

// Whether a product of so many rows is one of tile registers.
inline bool is_tiled(const Matrix& matrix, int64_t num_rows) {
    const bool has_bytes = kHasTileRegisters && matrix.format == kInt8 && matrix.num_inputs % kRowBytes == 0;
    return has_pairs(matrix) || (has_bytes && num_rows >= kLeastRegisterRows);
}

// Steps of a pass through a panel in tile registers, for each of which 16 rows of activations have a register.
inline int64_t num_tiled_steps(const Matrix& matrix) {
    return matrix.num_inputs * (matrix.format == kInt8 ? 1 : 2) / kRowBytes;
}

// Rows that two registers have room for.
inline int64_t paired_rows(const Matrix& matrix) { return matrix.format == kInt8 ? 2 * kRegisterRows : kSplitRows; }

// Rows that a thread takes at a time.
inline int64_t block_rows(const Matrix& matrix, int64_t num_rows) {
    if (!is_tiled(matrix, num_rows)) return kBlockRows;
    constexpr int64_t most = 256, most_bytes = 768 << 10;
    const int64_t step = paired_rows(matrix), bytes = 2 * kRegisterBytes * num_tiled_steps(matrix);
    return std::clamp(most_bytes / bytes * step, step, most / step * step);
}

constexpr int kByteOffset = kSumsBytes ? 128 : 0;
// Without that instruction each four activations of kInt8 are followed by their sizes.
constexpr int kActivationBytes = kSumsBytes ? 1 : 2;

inline int64_t panel_bytes(int32_t format, int64_t num_inputs) {
    if (format == kInt4) return num_inputs / kGroup * kGroupBytes;
    const int64_t size = format == kInt8 ? 1 : format == kFloat32 ? 4 : 2;
    return round_up(num_inputs, format == kInt8 ? 4 : 1) * kPanel * size;
}

// The row of the weights that is at a place of a panel.
inline int64_t output_at(int64_t panel, int64_t lane, int64_t num_outputs, bool is_paired) {
    if (!is_paired) return panel * kPanel + lane;
    const int64_t channel = panel * (kPanel / 2) + lane % (kPanel / 2);
    if (channel >= num_outputs / 2) return num_outputs;
    return lane < kPanel / 2 ? channel : num_outputs / 2 + channel;
}

template <class Number>
void pack(const uint8_t* rows, int64_t row_bytes, const Matrix& matrix, Number* panels) {
    const int64_t group = sizeof(Number) == 1 ? 4 : has_pairs(matrix) ? 2 : 1;
    const int64_t depth = round_up(matrix.num_inputs, group);
    for (int64_t panel = 0; panel < matrix.num_panels(); ++panel) {
        Number* begin = panels + panel * depth * kPanel;
        std::memset(begin, 0, depth * kPanel * sizeof(Number));
        for (int64_t lane = 0; lane < kPanel; ++lane) {
            const int64_t output = output_at(panel, lane, matrix.num_outputs, matrix.is_paired);
            if (output >= matrix.num_outputs) continue;
            const Number* row = reinterpret_cast<const Number*>(rows + output * row_bytes);
            for (int64_t input = 0; input < matrix.num_inputs; ++input)
                begin[(input / group * kPanel + lane) * group + input % group] = row[input];
        }
    }
}

// Rows have the 4 bits of two inputs in each byte, and then a scale for each group.
inline void pack_nibbles(const uint8_t* rows, int64_t row_bytes, const Matrix& matrix, uint8_t* panels) {
    std::memset(panels, 0, matrix.num_panels() * panel_bytes(kInt4, matrix.num_inputs));
    for (int64_t panel = 0; panel < matrix.num_panels(); ++panel)
        for (int64_t lane = 0; lane < kPanel; ++lane) {
            const int64_t output = output_at(panel, lane, matrix.num_outputs, matrix.is_paired);
            if (output >= matrix.num_outputs) continue;
            const uint8_t* row = rows + output * row_bytes;
            uint8_t* group = panels + panel * panel_bytes(kInt4, matrix.num_inputs);
            for (int64_t first = 0; first < matrix.num_inputs; first += kGroup, group += kGroupBytes) {
                for (int64_t i = 0; i < kGroup; ++i) {
                    const int bits = row[(first + i) / 2] >> (i % 2 * 4) & 15;
                    group[(i / 8 * kPanel + lane) * 4 + i % 4] |= bits << (i / 4 % 2 * 4);
                }
                std::memcpy(group + kPanel * kGroup / 2 + lane * 2, row + matrix.num_inputs / 2 + first / kGroup * 2, 2);
            }
        }
}

// The weights of an output as float32; not of kInt8 and kInt4.
inline void unpack(const Matrix& matrix, int64_t output, float* row) {
    const uint8_t* panel =
        static_cast<const uint8_t*>(matrix.panels) + output / kPanel * panel_bytes(matrix.format, matrix.num_inputs);
    for (int64_t input = 0; input < matrix.num_inputs; ++input) {
        const int64_t group = has_pairs(matrix) ? 2 : 1;
        const int64_t place = (input / group * kPanel + output % kPanel) * group + input % group;
        if (matrix.format == kFloat32) {
            row[input] = reinterpret_cast<const float*>(panel)[place];
            continue;
        }
        const uint16_t number = reinterpret_cast<const uint16_t*>(panel)[place];
        if (matrix.format == kFloat16) {
            row[input] = _cvtsh_ss(number);
        } else {
            const uint32_t wide = static_cast<uint32_t>(number) << 16;
            std::memcpy(row + input, &wide, 4);
        }
    }
}

// Where the sums of the groups of a row of bytes are, times minus eight.
inline int32_t* group_sums(uint8_t* bytes, int64_t size) {
    return reinterpret_cast<int32_t*>(bytes + round_up(size, 64));
}

// Brings a row of activations to bytes, for products with a format; returns its scale. Each 64 of them are `stride`
// apart.
inline float quantise(const float* x, int64_t size, int32_t format, uint8_t* bytes, int64_t stride = 64) {
    // Four at a time: each of a chain waits for the one before.
    Vector mosts[4] = {broadcast(0), broadcast(0), broadcast(0), broadcast(0)};
    int64_t i = 0;
    for (; i + 4 * kWidth <= size; i += 4 * kWidth)
        for (int v = 0; v < 4; ++v) mosts[v] = maximum(mosts[v], absolute(load(x + i + v * kWidth)));
    for (; i + kWidth <= size; i += kWidth) mosts[0] = maximum(mosts[0], absolute(load(x + i)));
    float top = largest(maximum(maximum(mosts[0], mosts[1]), maximum(mosts[2], mosts[3])));
    for (int64_t j = i; j < size; ++j) top = top > std::abs(x[j]) ? top : std::abs(x[j]);
    // A row of zeros has no largest number, and one through a much smaller number than this has no float.
    if (top < 1e-30f) top = 1e-30f;
    const float step = top / 127.0f, factor = 127.0f / top;
    const bool has_sizes = format == kInt8 && kActivationBytes == 2;
    const int8_t turned = format == kInt8 && kByteOffset ? -128 : 0;
    int8_t* out = reinterpret_cast<int8_t*>(bytes);
    const auto put = [&](int64_t place, Vector values) {
        if (has_sizes) store_bytes_and_sizes(out + 2 * place, values);
        else store_bytes(out + place / 64 * stride + place % 64, values, turned);
    };
    for (i = 0; i + kWidth <= size; i += kWidth) put(i, multiply(load(x + i), broadcast(factor)));
    if (i < size) {
        alignas(64) float rest[kWidth] = {};
        for (int64_t j = i; j < size; ++j) rest[j - i] = x[j];
        put(i, multiply(load(rest), broadcast(factor)));
    }
    if (format == kInt4) {
        int32_t* sums = group_sums(bytes, size);
        for (int64_t first = 0; first < size; first += kGroup) {
            int32_t total = 0;
            for (int64_t i = 0; i < kGroup; ++i) total += out[first + i];
            sums[first / kGroup] = -8 * total;
        }
    }
    return step;
}

struct ReadFloat32 {
    using Number = float;
    static Vector read(const float* p) { return load(p); }
};
struct ReadFloat16 {
    using Number = uint16_t;
    static Vector read(const uint16_t* p) { return load_half(p); }
};
struct ReadBfloat16 {
    using Number = uint16_t;
    static Vector read(const uint16_t* p) { return load_brain(p); }
};

// What a pass through weights asks the memory for while it computes: `size` bytes of weights that come later, some with
// each of its steps. The processor's own foresight ends with what is read again. It begins anew with each page of memory,
// so the lines of a step are of several pages, `size / kLines` apart.
template <int kLines>
class Ahead {
public:
    Ahead(const char* begin, int64_t size, int64_t num_steps)
        : place_(begin), stride_(size / kLines / num_steps), spread_(size / kLines) {}

    void fetch() {
        for (int i = 0; i < kLines; ++i) _mm_prefetch(place_ + i * spread_, _MM_HINT_T1);
        place_ += stride_;
    }

private:
    const char* place_;
    int64_t stride_;
    int64_t spread_;
};

// For a pass of one row, which only waits for weights, with each step of 128 or 256 bytes; on processors with tile
// registers. These read on into the next page of memory once two lines near the end of a page have been asked for, and
// fetch lines in pairs. With more rows weights are to be there earlier.
template <int kBytes>
inline void fetch_near(const void* weights) {
    constexpr uintptr_t page = 4096, line = 64;
    const char* place = static_cast<const char*>(weights);
    const uintptr_t address = reinterpret_cast<uintptr_t>(weights);
    if (address % page == 0) {
        _mm_prefetch(place + 52 * line, _MM_HINT_T1);
        _mm_prefetch(place + 53 * line, _MM_HINT_T1);
    }
    // The first and the last of four lines.
    if constexpr (kBytes == 4 * line) {
        _mm_prefetch(place + page, _MM_HINT_T1);
        _mm_prefetch(place + page + 3 * line, _MM_HINT_T1);
    } else {
        _mm_prefetch(place + page + address / kBytes % 2 * line, _MM_HINT_T1);
    }
}

// What a panel's outputs sum up to for one row.
struct Sums {
    Vector lanes[kPanelVectors];
};

template <int kRows, class Read>
inline void multiply_floats(const Rows& x, int64_t row, const typename Read::Number* panel, int64_t num_inputs,
                            Ahead<kFloatLines> ahead, Sums* out) {
#define PORTICO_BEGIN(r)                                                                                           \
    const float* row##r = reinterpret_cast<const float*>(x.data + (row + (r < kRows ? r : 0)) * x.stride);         \
    Sums sums##r;                                                                                                  \
    for (auto& lane : sums##r.lanes) lane = broadcast(0);
#define PORTICO_STEP(r)                                                                                            \
    if constexpr (r < kRows) {                                                                                     \
        const Vector value = broadcast(row##r[input]);                                                             \
        for (int v = 0; v < kPanelVectors; ++v)                                                                    \
            sums##r.lanes[v] = multiply_add(value, weights[v], sums##r.lanes[v]);                                  \
    }
#define PORTICO_END(r) \
    if constexpr (r < kRows) out[r] = sums##r;

    PORTICO_EACH(PORTICO_BEGIN)
    int64_t input = 0;
    // Not a `for`: a way around the loop would keep the compiler from holding the sums in one place.
    do {
        Vector weights[kPanelVectors];
        for (int v = 0; v < kPanelVectors; ++v) weights[v] = Read::read(panel + v * kWidth);
        if constexpr (kRows == 1 && kHasTileRegisters) fetch_near<kPanel * sizeof(*panel)>(panel);
        else ahead.fetch();
        PORTICO_EACH(PORTICO_STEP)
        panel += kPanel;
    } while (++input < num_inputs);
    PORTICO_EACH(PORTICO_END)
#undef PORTICO_BEGIN
#undef PORTICO_STEP
#undef PORTICO_END
}

#if defined(__AVX512F__)

using Integers = __m512i;
inline Integers load_integers(const void* p) { return _mm512_loadu_si512(p); }
inline Integers broadcast_integer(int32_t x) { return _mm512_set1_epi32(x); }
inline Vector as_floats(Integers x) { return _mm512_cvtepi32_ps(x); }
inline Integers add_integers(Integers a, Integers b) { return _mm512_add_epi32(a, b); }
inline Integers low_nibbles(Integers x) { return _mm512_and_si512(x, _mm512_set1_epi8(15)); }
inline Integers high_nibbles(Integers x) { return low_nibbles(_mm512_srli_epi16(x, 4)); }

#else

using Integers = __m256i;
inline Integers load_integers(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline Integers broadcast_integer(int32_t x) { return _mm256_set1_epi32(x); }
inline Vector as_floats(Integers x) { return _mm256_cvtepi32_ps(x); }
inline Integers add_integers(Integers a, Integers b) { return _mm256_add_epi32(a, b); }
inline Integers low_nibbles(Integers x) { return _mm256_and_si256(x, _mm256_set1_epi8(15)); }
inline Integers high_nibbles(Integers x) { return low_nibbles(_mm256_srli_epi16(x, 4)); }

#endif

inline Integers broadcast_four(const uint8_t* bytes) {
    int32_t four;
    std::memcpy(&four, bytes, 4);
    return broadcast_integer(four);
}

#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)

// Adds the products of unsigned and signed bytes. The compiler's own function keeps it from holding many sums in
// registers.
inline Integers sum_bytes(Integers sum, Integers unsigned_bytes, Integers signed_bytes) {
#if defined(__AVX512VNNI__)
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(unsigned_bytes), "v"(signed_bytes));
#else
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(unsigned_bytes), "x"(signed_bytes));
#endif
    return sum;
}

// Activations are unsigned here, 128 too much: what that adds is the sum of the weights.
inline Integers first_sum(const int32_t* correction) { return load_integers(correction); }
struct Bytes {
    explicit Bytes(const uint8_t* four) : values(broadcast_four(four)) {}
    Integers add_products(Integers sum, Integers weights) const { return sum_bytes(sum, values, weights); }
    Integers values;
};

// A group of weights, 0 to 15, and signed activations.
inline Integers begin_group(int32_t first) { return broadcast_integer(first); }
inline Integers add_nibbles(Integers sum, Integers weights, int32_t four) {
    return sum_bytes(sum, weights, broadcast_integer(four));
}
inline Vector end_group(Integers sum, int32_t) { return as_floats(sum); }

#else

// Neighbouring products are added in 16 bits. Both factors are at most 127, so that nothing is clipped.
inline Integers first_sum(const int32_t*) { return _mm256_setzero_si256(); }
struct Bytes {
    explicit Bytes(const uint8_t* four) : values(broadcast_four(four)), sizes(broadcast_four(four + 4)) {}
    Integers add_products(Integers sum, Integers weights) const {
        Integers products;
        asm("vpsignb %2, %3, %1\n\tvpmaddubsw %1, %4, %1\n\tvpmaddwd %5, %1, %1\n\tvpaddd %1, %0, %0"
            : "+x"(sum), "=&x"(products)
            : "x"(values), "x"(weights), "x"(sizes), "x"(_mm256_set1_epi16(1)));
        return sum;
    }
    Integers values, sizes;
};

// A group of weights, 0 to 15, and signed activations: eight sums of two products fit 16 bits.
inline Integers begin_group(int32_t) { return _mm256_setzero_si256(); }
inline Integers add_nibbles(Integers sum, Integers weights, int32_t four) {
    return _mm256_add_epi16(sum, _mm256_maddubs_epi16(weights, broadcast_integer(four)));
}
inline Vector end_group(Integers sum, int32_t first) {
    return as_floats(_mm256_add_epi32(_mm256_madd_epi16(sum, _mm256_set1_epi16(1)), broadcast_integer(first)));
}

#endif

struct IntegerSums {
    Integers lanes[kPanelVectors];
};

// Adds the products of `num_steps` times four inputs to `sums` [kRows], in the vectors `first`, `first` + kStep, ... of a
// panel. More rows than six have registers for every second vector only, and go twice through the weights, which costs
// less than two tiles that go through all of them. Corrections, if there are any, are the sums to begin with.
template <int kRows, int kStep, int kLines>
inline void multiply_bytes(const uint8_t* x, int64_t stride, const int8_t* panel, int64_t num_steps,
                           Ahead<kLines> ahead, const int32_t* corrections, int first, IntegerSums* sums) {
    constexpr int kVectors = kPanelVectors / kStep;
    struct Totals {
        Integers lanes[kVectors];
    };
#define PORTICO_BEGIN(r)                                                                                           \
    Totals totals##r;                                                                                              \
    for (int v = 0; v < kVectors; ++v)                                                                             \
        totals##r.lanes[v] = corrections ? first_sum(corrections + (first + v * kStep) * kWidth)                   \
                                         : sums[r < kRows ? r : 0].lanes[first + v * kStep];
#define PORTICO_STEP(r)                                                                                            \
    if constexpr (r < kRows) {                                                                                     \
        const Bytes bytes(xs[r / 3] + r % 3 * stride);                                                             \
        for (int v = 0; v < kVectors; ++v)                                                                         \
            totals##r.lanes[v] = bytes.add_products(totals##r.lanes[v], weights[v]);                               \
    }
#define PORTICO_END(r)                                                                                             \
    if constexpr (r < kRows)                                                                                       \
        for (int v = 0; v < kVectors; ++v) sums[r].lanes[first + v * kStep] = totals##r.lanes[v];

    PORTICO_EACH(PORTICO_BEGIN)
    panel += first * 4 * kWidth;
    const uint8_t* xs[4] = {x, x + 3 * stride, x + 6 * stride, x + 9 * stride};
    do {
        // The compiler is not to keep an address for each row: it has no registers for them.
        asm("" : "+r"(stride));
        Integers weights[kVectors];
        for (int v = 0; v < kVectors; ++v) weights[v] = load_integers(panel + v * kStep * 4 * kWidth);
        if constexpr (kRows == 1 && kHasTileRegisters) {
            fetch_near<4 * kPanel>(panel);
        } else {
            ahead.fetch();
        }
        PORTICO_EACH(PORTICO_STEP)
        panel += 4 * kPanel;
        for (auto& place : xs) place += 4 * kActivationBytes;
    } while (--num_steps);
    PORTICO_EACH(PORTICO_END)
#undef PORTICO_BEGIN
#undef PORTICO_STEP
#undef PORTICO_END
}

template <int kRows>
inline void multiply_nibbles(const Rows& x, int64_t row, const uint8_t* panel, int64_t num_inputs, Ahead<kNibbleLines> ahead,
                             Sums* out) {
#define PORTICO_BEGIN(r)                                                                                           \
    uint8_t* row##r = const_cast<uint8_t*>(x.data) + (row + (r < kRows ? r : 0)) * x.stride;                       \
    const int32_t* firsts##r = group_sums(row##r, num_inputs);                                                     \
    Sums sums##r;                                                                                                  \
    for (auto& lane : sums##r.lanes) lane = broadcast(0);
#define PORTICO_GROUP(r)        \
    IntegerSums totals##r;      \
    if constexpr (r < kRows)    \
        for (auto& lane : totals##r.lanes) lane = begin_group(firsts##r[group]);
#define PORTICO_STEP(r)                                                                                            \
    if constexpr (r < kRows) {                                                                                     \
        int32_t fours[2];                                                                                          \
        std::memcpy(fours, row##r + group * kGroup + step * 8, 8);                                                 \
        for (int v = 0; v < kPanelVectors; ++v) {                                                                  \
            totals##r.lanes[v] = add_nibbles(totals##r.lanes[v], low[v], fours[0]);                                \
            totals##r.lanes[v] = add_nibbles(totals##r.lanes[v], high[v], fours[1]);                               \
        }                                                                                                          \
    }
#define PORTICO_SCALE(r)                                                                                           \
    if constexpr (r < kRows)                                                                                       \
        for (int v = 0; v < kPanelVectors; ++v)                                                                    \
            sums##r.lanes[v] =                                                                                     \
                multiply_add(end_group(totals##r.lanes[v], firsts##r[group]), scales[v], sums##r.lanes[v]);
#define PORTICO_END(r) \
    if constexpr (r < kRows) out[r] = sums##r;

    PORTICO_EACH(PORTICO_BEGIN)
    int64_t group = 0;
    do {
        PORTICO_EACH(PORTICO_GROUP)
        ahead.fetch();
#pragma GCC unroll 4
        for (int step = 0; step < kGroup / 8; ++step) {
            Integers low[kPanelVectors], high[kPanelVectors];
            for (int v = 0; v < kPanelVectors; ++v) {
                const Integers both = load_integers(panel + (step * kPanelVectors + v) * 4 * kWidth);
                low[v] = low_nibbles(both);
                high[v] = high_nibbles(both);
            }
            PORTICO_EACH(PORTICO_STEP)
        }
        const uint16_t* halves = reinterpret_cast<const uint16_t*>(panel + kPanel * kGroup / 2);
        Vector scales[kPanelVectors];
        for (int v = 0; v < kPanelVectors; ++v) scales[v] = load_half(halves + v * kWidth);
        PORTICO_EACH(PORTICO_SCALE)
        panel += kGroupBytes;
    } while (++group < num_inputs / kGroup);
    PORTICO_EACH(PORTICO_END)
#undef PORTICO_BEGIN
#undef PORTICO_GROUP
#undef PORTICO_STEP
#undef PORTICO_SCALE
#undef PORTICO_END
}

// x / (1 + e^-x), the gate of the FFN.
inline Vector sigmoid_linear(Vector x) {
    return multiply(x, reciprocal(add(broadcast(1), exponential(subtract(broadcast(0), x)))));
}

// Looks for a better output among those of a panel.
inline void take_best(const Sums& sums, const Matrix& matrix, int64_t panel, Best& best) {
    Vector scores[kPanelVectors], most = broadcast(-kInfinity);
    for (int v = 0; v < kPanelVectors; ++v) {
        const int64_t output = panel * kPanel + v * kWidth, room = matrix.num_outputs - output;
        scores[v] = sums.lanes[v];
        if (matrix.bias) scores[v] = add(scores[v], load(matrix.bias + output));
        if (room < kWidth) scores[v] = first_lanes(scores[v], std::max<int64_t>(room, 0), broadcast(-kInfinity));
        // Of two, the second is taken if one is none.
        most = maximum(scores[v], most);
    }
    Best found{largest(most)};
    if (found.score < best.score) return;
    for (int v = kPanelVectors - 1; v >= 0; --v)
        if (const uint32_t places = equal(scores[v], broadcast(found.score)))
            found.output = static_cast<int32_t>(panel * kPanel + v * kWidth + __builtin_ctz(places));
    if (found.is_before(best)) best = found;
}

// Puts products of a row where they belong. With `kIsWhole` the matrix has outputs for all lanes of the panel.
template <Use kUse, bool kIsWhole>
inline void put_row(const Sums& sums, const Matrix& matrix, int64_t panel, Output<kUse>* out) {
    if constexpr (kUse == Use::kBest) {
        take_best(sums, matrix, panel, *out);
    } else if constexpr (kUse == Use::kGate) {
        const int64_t channel = panel * (kPanel / 2);
        for (int v = 0; v < kPanelVectors / 2; ++v)
            store_some(out + channel + v * kWidth,
                       multiply(sigmoid_linear(sums.lanes[v]), sums.lanes[v + kPanelVectors / 2]),
                       kIsWhole ? kWidth : matrix.num_outputs / 2 - channel - v * kWidth);
    } else {
        for (int v = 0; v < kPanelVectors; ++v) {
            const int64_t output = panel * kPanel + v * kWidth;
            const int64_t room = kIsWhole ? kWidth : matrix.num_outputs - output;
            if (room <= 0) break;
            float* to = out + output;
            Vector y = sums.lanes[v];
            if (matrix.bias) y = add(y, load(matrix.bias + output));
            if constexpr (kUse == Use::kAdd) {
                if (room >= kWidth) {
                    y = add(y, load(to));
                } else {
                    alignas(64) float before[kWidth] = {};
                    for (int64_t i = 0; i < room; ++i) before[i] = to[i];
                    y = add(y, load(before));
                }
            }
            store_some(to, y, room);
        }
    }
}

// Puts what came of a tile where it belongs; `sums_of(r)` are those of one of its rows.
template <int kRows, Use kUse, class SumsOf>
inline void put_tile(const SumsOf& sums_of, int64_t row, const Matrix& matrix, int64_t panel, Output<kUse>* out,
                     int64_t out_stride) {
    out += row * out_stride;
    if ((panel + 1) * kPanel <= matrix.num_outputs)
        for (int r = 0; r < kRows; ++r, out += out_stride) put_row<kUse, true>(sums_of(r), matrix, panel, out);
    else
        for (int r = 0; r < kRows; ++r, out += out_stride) put_row<kUse, false>(sums_of(r), matrix, panel, out);
}

// One high tile of bytes is faster than two low ones; of many tiles the low ones are.
inline int64_t num_byte_tiles(int64_t num_rows) {
    return num_rows <= kHighTileRows ? 1 : (num_rows + kByteTileRows - 1) / kByteTileRows;
}

// Calls work.operator()<rows>(row, tile) for tiles of at most `most` rows of about the same size: one of six rows and one
// of a single row would take longer than four and three.
template <class Work>
void each_tile(int64_t first, int64_t last, int64_t num_tiles, const Work& work) {
    for (int64_t row = first, tile = 0; row < last; ++tile) {
        const int64_t num_left = num_tiles - tile, size = (last - row + num_left - 1) / num_left;
        switch (size) {
            case 1: work.template operator()<1>(row, tile); break;
            case 2: work.template operator()<2>(row, tile); break;
            case 3: work.template operator()<3>(row, tile); break;
            case 4: work.template operator()<4>(row, tile); break;
            case 5: work.template operator()<5>(row, tile); break;
            case 6: work.template operator()<6>(row, tile); break;
#if defined(__AVX512F__)
            case 7: work.template operator()<7>(row, tile); break;
            case 8: work.template operator()<8>(row, tile); break;
            case 9: work.template operator()<9>(row, tile); break;
            case 10: work.template operator()<10>(row, tile); break;
            case 11: work.template operator()<11>(row, tile); break;
            case 12: work.template operator()<12>(row, tile); break;
#endif
        }
        row += size;
    }
}

// Where weights of a panel lie, and those that the thread will read next, which may be another matrix's.
struct Weights {
    const uint8_t* panel;
    const char* next;
    Stream* stream;
};

// Inputs whose weights some rows go through before the next ones, so that they are read again from the nearest cache. Of
// more rows there is enough to compute meanwhile.
constexpr int64_t kInputsAtOnce = (32 << 10) / kPanel;
constexpr int64_t kSomeRows = 48;

// Lines of memory that four inputs of a panel of bytes take.
constexpr int kStepLines = 4 * kPanel / 64;

// The scales of a panel's outputs.
inline Sums panel_scales(const Matrix& matrix, int64_t panel) {
    Sums scales;
    for (int v = 0; v < kPanelVectors; ++v) scales.lanes[v] = load(matrix.scales + panel * kPanel + v * kWidth);
    return scales;
}

// The products of a row whose sums with a panel are integers.
inline Sums scaled(const IntegerSums& sums, const Sums& scales, float scale) {
    Sums found;
    for (int v = 0; v < kPanelVectors; ++v)
        found.lanes[v] = multiply(multiply(as_floats(sums.lanes[v]), scales.lanes[v]), broadcast(scale));
    return found;
}

// How often a product of so many rows asks for weights that come later.
inline int64_t num_portions(const Matrix& matrix, int64_t num_rows) {
    const int64_t most = paired_rows(matrix), num_pairs = (num_rows + most - 1) / most;
    return num_rows + (num_rows <= most / 2 ? 1 : 2 * num_pairs) * num_tiled_steps(matrix);
}

// Rows `first`, a multiple of those in two registers, to below `last` with one panel, in tile registers.
template <Use kUse, bool kAreBytes>
void multiply_panel_in_registers(const Rows& x, int64_t first, int64_t last, const Matrix& matrix, int64_t panel,
                                 Weights weights, Output<kUse>* out, int64_t out_stride) {
    using Sum = std::conditional_t<kAreBytes, int32_t, float>;
    alignas(64) Sum sums[2 * kRegisterRows][kPanel];
    Sums scales;
    if constexpr (kAreBytes) scales = panel_scales(matrix, panel);
    const int64_t num_steps = num_tiled_steps(matrix), most = paired_rows(matrix);
    for (int64_t row = first; row < last; row += most) {
        const uint8_t* rows = x.data + row / most * 2 * x.stride;
        if (last - row <= most / 2) {
            multiply_register<kAreBytes>(rows, weights.panel, num_steps, *weights.stream, sums);
        } else {
            for (int half = 0; half < 2; ++half)
                multiply_registers<kAreBytes>(rows, x.stride, weights.panel + half * 2 * kRowBytes, num_steps,
                                              *weights.stream, sums[0] + half * 2 * kWidth);
        }
        const int64_t count = std::min(most, last - row);
        for (int64_t r = 0; r < count; ++r) {
            weights.stream->fetch();
            Sums found;
            if constexpr (kAreBytes) {
                IntegerSums corrected;
                for (int v = 0; v < kPanelVectors; ++v)
                    corrected.lanes[v] = add_integers(load_integers(sums[r] + v * kWidth),
                                                      load_integers(matrix.corrections + panel * kPanel + v * kWidth));
                found = scaled(corrected, scales, x.scales[row + r]);
            } else {
                for (int v = 0; v < kPanelVectors; ++v) {
                    const float* parts = sums[kParts * r] + v * kWidth;
                    found.lanes[v] = add(add(load(parts + kPanel), load(parts + 2 * kPanel)), load(parts));
                }
            }
            put_tile<1, kUse>([&](int) { return found; }, row + r, matrix, panel, out, out_stride);
        }
    }
}

// Rows `first` to below `last` of bytes with one panel.
template <Use kUse>
void multiply_panel_of_bytes(const Rows& x, int64_t first, int64_t last, const Matrix& matrix, int64_t panel,
                             Weights weights, Output<kUse>* out, int64_t out_stride) {
    IntegerSums totals[kBlockRows];
    const int64_t num_inputs = round_up(matrix.num_inputs, 4), num_rows = last - first;
    const int64_t num_tiles = num_byte_tiles(num_rows);
    const int64_t num_passes = num_tiles == 1 && num_rows > kTileRows ? 2 : num_tiles;
    const int64_t at_once = num_rows <= kSomeRows ? kInputsAtOnce : num_inputs;
    for (int64_t begin = 0; begin < num_inputs; begin += at_once) {
        const int64_t num_steps = std::min(at_once, num_inputs - begin) / 4;
        const int8_t* panel_part = reinterpret_cast<const int8_t*>(weights.panel) + begin * kPanel;
        const int32_t* corrections = begin ? nullptr : matrix.corrections + panel * kPanel;
        // Each pass asks for its share of the weights that come later.
        const int64_t share = num_steps * 4 * kPanel / num_passes;
        each_tile(first, last, num_tiles, [&]<int kRows>(int64_t row, int64_t tile) {
            constexpr int kStep = kRows > kTileRows ? 2 : 1;
            IntegerSums* sums = totals + (row - first);
            const auto pass = [&]<int kLines>(int vector) {
                const uint8_t* rows = x.data + row * x.stride + begin * kActivationBytes;
                const char* next = weights.next + begin * kPanel + (tile * kStep + vector) * share;
                multiply_bytes<kRows, kStep, kLines>(rows, x.stride, panel_part, num_steps,
                                                     Ahead<kLines>(next, share, num_steps), corrections, vector, sums);
            };
            for (int vector = 0; vector < kStep; ++vector)
                if (num_passes >= kStepLines) pass.template operator()<1>(vector);
                else if (num_passes > 1) pass.template operator()<2>(vector);
                else pass.template operator()<kStepLines>(vector);
            if (begin + at_once < num_inputs) return;
            const Sums scales = panel_scales(matrix, panel);
            put_tile<kRows, kUse>([&](int r) { return scaled(sums[r], scales, x.scales[row + r]); }, row, matrix, panel,
                                  out, out_stride);
        });
    }
}

// Rows `first` to below `last` with one panel.
template <Use kUse>
void multiply_panel(const Rows& x, int64_t first, int64_t last, const Matrix& matrix, int64_t panel, Weights weights,
                    Output<kUse>* out, int64_t out_stride) {
    if constexpr (kHasTileRegisters)
        if (x.is_tiled) {
            if (matrix.format == kInt8)
                multiply_panel_in_registers<kUse, true>(x, first, last, matrix, panel, weights, out, out_stride);
            else
                multiply_panel_in_registers<kUse, false>(x, first, last, matrix, panel, weights, out, out_stride);
            return;
        }
    if (matrix.format == kInt8)
        return multiply_panel_of_bytes<kUse>(x, first, last, matrix, panel, weights, out, out_stride);
    const int64_t most = matrix.format == kInt4 ? kNibbleTileRows : kTileRows;
    const int64_t num_tiles = (last - first + most - 1) / most;
    const int64_t share = panel_bytes(matrix.format, matrix.num_inputs) / num_tiles;
    const auto tile_of = [&]<int kRows>(int64_t row, int64_t tile) {
        if constexpr (kRows <= kTileRows) {
            Sums sums[kRows];
            const Ahead<kFloatLines> ahead(weights.next + tile * share, share, matrix.num_inputs);
            const uint16_t* numbers = reinterpret_cast<const uint16_t*>(weights.panel);
            switch (matrix.format) {
                case kInt4:
                    multiply_nibbles<kRows>(
                        x, row, weights.panel, matrix.num_inputs,
                        Ahead<kNibbleLines>(weights.next + tile * share, share, matrix.num_inputs / kGroup), sums);
                    for (int r = 0; r < kRows; ++r)
                        for (auto& lane : sums[r].lanes) lane = multiply(lane, broadcast(x.scales[row + r]));
                    break;
                case kFloat32:
                    multiply_floats<kRows, ReadFloat32>(x, row, reinterpret_cast<const float*>(weights.panel),
                                                        matrix.num_inputs, ahead, sums);
                    break;
                case kFloat16:
                    multiply_floats<kRows, ReadFloat16>(x, row, numbers, matrix.num_inputs, ahead, sums);
                    break;
                default:
                    multiply_floats<kRows, ReadBfloat16>(x, row, numbers, matrix.num_inputs, ahead, sums);
            }
            put_tile<kRows, kUse>([&](int r) { return sums[r]; }, row, matrix, panel, out, out_stride);
        }
    };
    each_tile(first, last, num_tiles, tile_of);
}

}  // namespace portico
