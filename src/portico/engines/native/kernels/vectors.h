// Vectors of float32, as wide as the instruction set that this is compiled for has them.
//
// Contraction of products and sums is off (see pyproject.toml) and every fused operation is written out, so that a
// number is computed by the same operations wherever it stands in a batch.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>
#include <limits>

namespace portico {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

#if defined(__AVX512F__)

using Vector = __m512;
constexpr int kWidth = 16;

inline Vector load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, Vector x) { _mm512_storeu_ps(p, x); }
inline Vector broadcast(float x) { return _mm512_set1_ps(x); }
inline Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
inline Vector subtract(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
inline Vector multiply(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
inline Vector divide(Vector a, Vector b) { return _mm512_div_ps(a, b); }
// One through x: an estimate of 14 bits, and a step of Newton's; a division takes three times as long.
inline Vector reciprocal(Vector x) {
    const Vector y = _mm512_rcp14_ps(x);
    return _mm512_fmadd_ps(y, _mm512_fnmadd_ps(x, y, _mm512_set1_ps(1.0f)), y);
}
inline Vector multiply_add(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
inline Vector maximum(Vector a, Vector b) { return _mm512_max_ps(a, b); }
inline Vector minimum(Vector a, Vector b) { return _mm512_min_ps(a, b); }
inline Vector absolute(Vector a) { return _mm512_abs_ps(a); }
inline Vector nearest(Vector a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline Vector times_power_of_two(Vector a, Vector n) { return _mm512_scalef_ps(a, n); }
inline Vector load_half(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline Vector load_brain(const uint16_t* p) {
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
// The first `count` lanes of `x`, and the others of `rest`.
inline Vector first_lanes(Vector x, int64_t count, Vector rest) {
    return _mm512_mask_mov_ps(rest, static_cast<__mmask16>((1 << count) - 1), x);
}
// The lanes together, halves by halves.
inline float sum(Vector x) { return _mm512_reduce_add_ps(x); }
inline float largest(Vector x) { return _mm512_reduce_max_ps(x); }
// A bit for each lane that is equal.
inline uint32_t equal(Vector a, Vector b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
// `x` in the lanes where a is at least b, elsewhere zero.
inline Vector where_at_least(Vector a, Vector b, Vector x) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_GE_OQ), x);
}
// Rounds to signed bytes, of which some bits are turned over then; the values are in their range.
inline void store_bytes(int8_t* p, Vector x, int8_t turned) {
    const __m128i bytes = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_xor_si128(bytes, _mm_set1_epi8(turned)));
}

#elif defined(__AVX2__)

using Vector = __m256;
constexpr int kWidth = 8;

inline Vector load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, Vector x) { _mm256_storeu_ps(p, x); }
inline Vector broadcast(float x) { return _mm256_set1_ps(x); }
inline Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
inline Vector subtract(Vector a, Vector b) { return _mm256_sub_ps(a, b); }
inline Vector multiply(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
inline Vector divide(Vector a, Vector b) { return _mm256_div_ps(a, b); }
inline Vector reciprocal(Vector x) { return _mm256_div_ps(_mm256_set1_ps(1.0f), x); }
inline Vector multiply_add(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
inline Vector maximum(Vector a, Vector b) { return _mm256_max_ps(a, b); }
inline Vector minimum(Vector a, Vector b) { return _mm256_min_ps(a, b); }
inline Vector absolute(Vector a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
inline Vector nearest(Vector a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline Vector times_power_of_two(Vector a, Vector n) {
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
}
inline Vector load_half(const uint16_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline Vector load_brain(const uint16_t* p) {
    const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
inline Vector where_at_least(Vector a, Vector b, Vector x) {
    return _mm256_and_ps(_mm256_cmp_ps(a, b, _CMP_GE_OQ), x);
}
inline Vector first_lanes(Vector x, int64_t count, Vector rest) {
    const __m256i places = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i is_first = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), places);
    return _mm256_blendv_ps(rest, x, _mm256_castsi256_ps(is_first));
}
inline float sum(Vector x) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
inline float largest(Vector x) {
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
inline uint32_t equal(Vector a, Vector b) { return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_EQ_OQ)); }
inline void store_bytes(int8_t* p, Vector x, int8_t turned) {
    const __m256i wide = _mm256_cvtps_epi32(x);
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
    const __m128i bytes = _mm_packs_epi16(words, words);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_xor_si128(bytes, _mm_set1_epi8(turned)));
}

#else
#error "these kernels are for AVX2 and AVX-512"
#endif

// Numbers of float32 and of float16 alike.
inline Vector load_numbers(const float* p) { return load(p); }
inline Vector load_numbers(const uint16_t* p) { return load_half(p); }
inline void put_number(float* p, float x) { *p = x; }
// What is too large for float16 is its largest number, and not infinite.
inline void put_number(uint16_t* p, float x) {
    constexpr float largest = 65504.0f;
    *p = _cvtss_sh(x > largest ? largest : x < -largest ? -largest : x, _MM_FROUND_TO_NEAREST_INT);
}

// Rounds to signed bytes as `store_bytes` does, of which each four are followed by their sizes.
inline void store_bytes_and_sizes(int8_t* p, Vector x) {
    alignas(64) int8_t bytes[kWidth], sizes[kWidth];
    store_bytes(bytes, x, 0);
    store_bytes(sizes, absolute(x), 0);
    for (int i = 0; i < kWidth; i += 4) {
        std::memcpy(p + 2 * i, bytes + i, 4);
        std::memcpy(p + 2 * i + 4, sizes + i, 4);
    }
}

// Stores the first `room` numbers, or all.
inline void store_some(float* to, Vector x, int64_t room) {
    if (room >= kWidth) {
        store(to, x);
        return;
    }
    alignas(64) float lanes[kWidth];
    store(lanes, x);
    for (int64_t i = 0; i < room; ++i) to[i] = lanes[i];
}

// The exponential function by a polynomial over [-ln 2 / 2, ln 2 / 2] (the coefficients are those of Cephes' expf);
// arguments below -87 count as -87.
inline Vector exponential(Vector x) {
    x = minimum(maximum(x, broadcast(-87.0f)), broadcast(88.0f));
    const Vector n = nearest(multiply(x, broadcast(1.44269504088896341f)));
    Vector r = multiply_add(n, broadcast(-0.693359375f), x);
    r = multiply_add(n, broadcast(2.12194440e-4f), r);
    Vector p = broadcast(1.9875691500e-4f);
    p = multiply_add(p, r, broadcast(1.3981999507e-3f));
    p = multiply_add(p, r, broadcast(8.3334519073e-3f));
    p = multiply_add(p, r, broadcast(4.1665795894e-2f));
    p = multiply_add(p, r, broadcast(1.6666665459e-1f));
    p = multiply_add(p, r, broadcast(5.0000001201e-1f));
    p = multiply_add(p, multiply(r, r), add(r, broadcast(1.0f)));
    return times_power_of_two(p, n);
}

// Expands to what `apply` makes of each number below twelve. Sums that are kept in an array with rows stay in memory with
// the compiler's loops; one variable for each row, chosen by `if constexpr`, is kept in registers.
#define PORTICO_EACH(apply)                                                                                       \
    apply(0) apply(1) apply(2) apply(3) apply(4) apply(5) apply(6) apply(7) apply(8) apply(9) apply(10) apply(11)

inline int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

}  // namespace portico
