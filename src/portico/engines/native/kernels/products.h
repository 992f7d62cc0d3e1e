// Products of rows of activations with a matrix of weights, `x @ weight.T`.
//
// Weights lie in panels of kPanel outputs, so that a vector holds what many outputs have for one input, and the sum of
// one output runs over the inputs in order, in one lane. A row's result so depends on no other row, to the bit.
//
//   kInt8:  [panels][inputs / 4][kPanel][4] signed bytes; activations are bytes too, with one scale for each row
//   others: [panels][inputs][kPanel]
#pragma once

#include <cstring>

#include "vectors.h"

namespace portico {

enum Format : int32_t { kFloat32 = 0, kFloat16 = 1, kBfloat16 = 2, kInt8 = 3 };

// What becomes of the products: they are stored, added to what is there, or are gates and values of an FFN.
enum class Use { kStore, kAdd, kGate };

#if defined(__AVX512F__)
constexpr int kPanelVectors = 4;
constexpr int kTileRows = 6;
constexpr int kByteTileRows = 6;
#else
constexpr int kPanelVectors = 2;
constexpr int kTileRows = 6;
constexpr int kByteTileRows = 4;
#endif
constexpr int kPanel = kPanelVectors * kWidth;
// Rows that a thread takes at a time; their activations stay in its cache.
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

// Activations as products read them: [rows] of `stride` bytes, float32 or quantised with `scales` [rows].
struct Rows {
    const uint8_t* data;
    int64_t stride;
    const float* scales;
};

#if defined(__AVX512VNNI__)
constexpr int kByteOffset = 128;
#else
constexpr int kByteOffset = 0;
#endif

inline int64_t panel_bytes(int32_t format, int64_t num_inputs) {
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
    const int64_t group = sizeof(Number) == 1 ? 4 : 1;
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

// Brings a row of activations to bytes; returns its scale.
inline float quantise(const float* x, int64_t size, uint8_t* bytes) {
    Vector most = broadcast(0);
    int64_t i = 0;
    for (; i + kWidth <= size; i += kWidth) most = maximum(most, absolute(load(x + i)));
    float top = largest(most);
    for (int64_t j = i; j < size; ++j) top = top > std::abs(x[j]) ? top : std::abs(x[j]);
    // A row of zeros has no largest number, and one through a much smaller number than this has no float.
    if (top < 1e-30f) top = 1e-30f;
    const float step = top / 127.0f, factor = 127.0f / top;
    int8_t* out = reinterpret_cast<int8_t*>(bytes);
    for (i = 0; i + kWidth <= size; i += kWidth) store_bytes(out + i, multiply(load(x + i), broadcast(factor)));
    if (i < size) {
        alignas(64) float rest[kWidth] = {};
        alignas(64) int8_t rounded[kWidth];
        for (int64_t j = i; j < size; ++j) rest[j - i] = x[j];
        store_bytes(rounded, multiply(load(rest), broadcast(factor)));
        for (int64_t j = i; j < size; ++j) out[j] = rounded[j - i];
    }
    for (int64_t j = size; j < round_up(size, 4); ++j) out[j] = 0;
    if (kByteOffset)
        for (int64_t j = 0; j < round_up(size, 4); ++j) bytes[j] ^= 0x80;
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

template <int kRows, class Read>
inline void multiply_floats(const Rows& x, int64_t row, const typename Read::Number* panel, int64_t num_inputs,
                            Vector (&sums)[kRows][kPanelVectors]) {
    const float* rows[kRows];
    for (int r = 0; r < kRows; ++r) {
        rows[r] = reinterpret_cast<const float*>(x.data + (row + r) * x.stride);
        for (auto& each : sums[r]) each = broadcast(0);
    }
    for (int64_t input = 0; input < num_inputs; ++input, panel += kPanel) {
        Vector weights[kPanelVectors];
        for (int v = 0; v < kPanelVectors; ++v) weights[v] = Read::read(panel + v * kWidth);
        for (int r = 0; r < kRows; ++r) {
            const Vector value = broadcast(rows[r][input]);
            for (int v = 0; v < kPanelVectors; ++v) sums[r][v] = multiply_add(value, weights[v], sums[r][v]);
        }
    }
}

#if defined(__AVX512VNNI__)

template <int kRows>
inline void multiply_bytes(const Rows& x, int64_t row, const int8_t* panel, int64_t num_inputs,
                           const int32_t* corrections, Vector (&sums)[kRows][kPanelVectors]) {
    __m512i totals[kRows][kPanelVectors];
    const uint8_t* rows[kRows];
    for (int r = 0; r < kRows; ++r) {
        rows[r] = x.data + (row + r) * x.stride;
        // Activations are unsigned here, 128 too much: what that adds is the sum of the weights.
        for (int v = 0; v < kPanelVectors; ++v) totals[r][v] = _mm512_loadu_si512(corrections + v * kWidth);
    }
    for (int64_t input = 0; input < num_inputs; input += 4, panel += 4 * kPanel) {
        __m512i weights[kPanelVectors];
        for (int v = 0; v < kPanelVectors; ++v) weights[v] = _mm512_loadu_si512(panel + v * 64);
        for (int r = 0; r < kRows; ++r) {
            int32_t four;
            std::memcpy(&four, rows[r] + input, 4);
            const __m512i values = _mm512_set1_epi32(four);
            for (int v = 0; v < kPanelVectors; ++v)
                totals[r][v] = _mm512_dpbusd_epi32(totals[r][v], values, weights[v]);
        }
    }
    for (int r = 0; r < kRows; ++r)
        for (int v = 0; v < kPanelVectors; ++v) sums[r][v] = _mm512_cvtepi32_ps(totals[r][v]);
}

#elif !defined(__AVX512F__)

template <int kRows>
inline void multiply_bytes(const Rows& x, int64_t row, const int8_t* panel, int64_t num_inputs, const int32_t*,
                           Vector (&sums)[kRows][kPanelVectors]) {
    __m256i totals[kRows][kPanelVectors];
    const uint8_t* rows[kRows];
    const __m256i ones = _mm256_set1_epi16(1);
    for (int r = 0; r < kRows; ++r) {
        rows[r] = x.data + (row + r) * x.stride;
        for (auto& each : totals[r]) each = _mm256_setzero_si256();
    }
    for (int64_t input = 0; input < num_inputs; input += 4, panel += 4 * kPanel) {
        __m256i weights[kPanelVectors];
        for (int v = 0; v < kPanelVectors; ++v)
            weights[v] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(panel + v * 32));
        for (int r = 0; r < kRows; ++r) {
            int32_t four;
            std::memcpy(&four, rows[r] + input, 4);
            const __m256i values = _mm256_set1_epi32(four);
            // Neighbouring products are added in 16 bits. Both factors are at most 127, so that nothing is clipped.
            const __m256i sizes = _mm256_abs_epi8(values);
            for (int v = 0; v < kPanelVectors; ++v) {
                const __m256i pairs = _mm256_maddubs_epi16(sizes, _mm256_sign_epi8(weights[v], values));
                totals[r][v] = _mm256_add_epi32(totals[r][v], _mm256_madd_epi16(pairs, ones));
            }
        }
    }
    for (int r = 0; r < kRows; ++r)
        for (int v = 0; v < kPanelVectors; ++v) sums[r][v] = _mm256_cvtepi32_ps(totals[r][v]);
}

#endif

// x / (1 + e^-x), the gate of the FFN.
inline Vector sigmoid_linear(Vector x) {
    return divide(x, add(broadcast(1), exponential(subtract(broadcast(0), x))));
}

inline void put(float* to, Vector x, int64_t room) {
    if (room >= kWidth) {
        store(to, x);
        return;
    }
    alignas(64) float lanes[kWidth];
    store(lanes, x);
    for (int64_t i = 0; i < room; ++i) to[i] = lanes[i];
}

template <int kRows, Use kUse>
void multiply_tile(const Rows& x, int64_t row, const Matrix& matrix, int64_t panel, float* out, int64_t out_stride) {
    Vector sums[kRows][kPanelVectors];
    const uint8_t* begin =
        static_cast<const uint8_t*>(matrix.panels) + panel * panel_bytes(matrix.format, matrix.num_inputs);
    const int64_t first = panel * kPanel;
    switch (matrix.format) {
        case kInt8:
            multiply_bytes<kRows>(x, row, reinterpret_cast<const int8_t*>(begin), matrix.num_inputs,
                                  matrix.corrections + first, sums);
            for (int r = 0; r < kRows; ++r)
                for (int v = 0; v < kPanelVectors; ++v)
                    sums[r][v] = multiply(multiply(sums[r][v], load(matrix.scales + first + v * kWidth)),
                                          broadcast(x.scales[row + r]));
            break;
        case kFloat32:
            multiply_floats<kRows, ReadFloat32>(x, row, reinterpret_cast<const float*>(begin), matrix.num_inputs, sums);
            break;
        case kFloat16:
            multiply_floats<kRows, ReadFloat16>(x, row, reinterpret_cast<const uint16_t*>(begin), matrix.num_inputs,
                                                sums);
            break;
        default:
            multiply_floats<kRows, ReadBfloat16>(x, row, reinterpret_cast<const uint16_t*>(begin), matrix.num_inputs,
                                                 sums);
    }
    for (int r = 0; r < kRows; ++r) {
        if constexpr (kUse == Use::kGate) {
            const int64_t channel = panel * (kPanel / 2);
            for (int v = 0; v < kPanelVectors / 2; ++v)
                put(out + (row + r) * out_stride + channel + v * kWidth,
                    multiply(sigmoid_linear(sums[r][v]), sums[r][v + kPanelVectors / 2]),
                    matrix.num_outputs / 2 - channel - v * kWidth);
        } else {
            for (int v = 0; v < kPanelVectors; ++v) {
                const int64_t output = first + v * kWidth, room = matrix.num_outputs - output;
                if (room <= 0) break;
                float* to = out + (row + r) * out_stride + output;
                Vector y = sums[r][v];
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
                put(to, y, room);
            }
        }
    }
}

// Rows `first` to below `last` with one panel.
template <Use kUse>
void multiply_panel(const Rows& x, int64_t first, int64_t last, const Matrix& matrix, int64_t panel, float* out,
                    int64_t out_stride) {
    const int most = matrix.format == kInt8 ? kByteTileRows : kTileRows;
    for (int64_t row = first; row < last;) {
        // Tiles of about the same size: one of six rows and one of a single row would take longer than four and three.
        const int64_t num_tiles = (last - row + most - 1) / most;
        const int64_t size = (last - row + num_tiles - 1) / num_tiles;
        switch (size) {
            case 1: multiply_tile<1, kUse>(x, row, matrix, panel, out, out_stride); break;
            case 2: multiply_tile<2, kUse>(x, row, matrix, panel, out, out_stride); break;
            case 3: multiply_tile<3, kUse>(x, row, matrix, panel, out, out_stride); break;
            case 4: multiply_tile<4, kUse>(x, row, matrix, panel, out, out_stride); break;
            case 5: multiply_tile<5, kUse>(x, row, matrix, panel, out, out_stride); break;
            default: multiply_tile<6, kUse>(x, row, matrix, panel, out, out_stride); break;
        }
        row += size;
    }
}

}  // namespace portico
