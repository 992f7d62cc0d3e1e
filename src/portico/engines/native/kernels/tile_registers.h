// Products in the tile registers of AMX.
//
// A register holds 16 rows of 64 bytes: of activations 64 bytes or 32 numbers of bfloat16 of each row, of weights 16 groups
// of four bytes or two numbers for each of 16 outputs, which is how they lie in a panel.
//
// Bytes: integers are added exactly, so that sums are those of other kernels.
// bfloat16: each activation of float32 is the sum of three numbers of bfloat16, so that nothing of it is lost. They are
// rows of their own, whose products are added up at the end.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>

#include "stream.h"

namespace portico {

constexpr int kRegisterRows = 16;
constexpr int kRowBytes = 64;
constexpr int kRegisterBytes = kRegisterRows * kRowBytes;
// Numbers of bfloat16 that an activation is the sum of; so many rows of activations fill two registers but for two rows.
constexpr int kParts = 3;
constexpr int kSplitRows = 2 * kRegisterRows / kParts;
// The least rows of bytes that are worth a register, most of which is then empty.
constexpr int64_t kLeastRegisterRows = 7;

}  // namespace portico

#if defined(__AMX_INT8__)

#include <sys/syscall.h>
#include <unistd.h>

namespace portico {

constexpr bool kHasTileRegisters = true;

// Asks the system for the registers, for all threads of this process; whether it gives them.
inline bool are_registers_given() {
    constexpr long request_permission = 0x1023, tile_data = 18;
    return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}

// The registers are set up in the thread that holds this, those of activations and sums for so many rows.
class TileRegisters {
public:
    explicit TileRegisters(int64_t num_rows) {
        Configuration configuration{};
        configuration.palette = 1;
        for (int i = 0; i < 8; ++i) {
            const bool has_weights = i >= 6;
            configuration.row_bytes[i] = kRowBytes;
            configuration.rows[i] =
                static_cast<uint8_t>(has_weights ? kRegisterRows : std::min<int64_t>(num_rows, kRegisterRows));
        }
        // The compiler's function does not say that it reads all of it.
        asm volatile("" : : "r"(&configuration) : "memory");
        _tile_loadconfig(&configuration);
    }
    ~TileRegisters() { _tile_release(); }
    TileRegisters(const TileRegisters&) = delete;
    TileRegisters& operator=(const TileRegisters&) = delete;

private:
    struct alignas(64) Configuration {
        uint8_t palette;
        uint8_t start_row;
        uint8_t reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    };
};

inline void clear_sums() {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}

// To rows of 64 numbers; the second two registers are `offset` bytes behind the first two.
inline void store_sums(void* sums, int64_t offset) {
    constexpr int64_t stride = 4 * kRowBytes;
    uint8_t* to = static_cast<uint8_t*>(sums);
    _tile_stored(0, to, stride);
    _tile_stored(1, to + kRowBytes, stride);
    _tile_stored(2, to + offset, stride);
    _tile_stored(3, to + offset + kRowBytes, stride);
}

#define PORTICO_MULTIPLY(sum, x, weights)        \
    if constexpr (kAreBytes) {                   \
        _tile_dpbusd(sum, x, weights);           \
    } else {                                     \
        _tile_dpbf16ps(sum, x, weights);         \
    }

// Sums of up to 16 rows with four vectors of outputs, to `sums` [16][64], of int32 for bytes and else of float32. A step of
// the activations is a register, one of the panel four.
template <bool kAreBytes>
inline void multiply_register(const uint8_t* x, const uint8_t* panel, int64_t num_steps, Stream& stream, void* sums) {
    constexpr int64_t stride = 4 * kRowBytes;
    clear_sums();
    do {
        _tile_loadd(4, x, kRowBytes);
        _tile_loadd(6, panel, stride);
        PORTICO_MULTIPLY(0, 4, 6)
        _tile_loadd(7, panel + kRowBytes, stride);
        PORTICO_MULTIPLY(1, 4, 7)
        _tile_loadd(6, panel + 2 * kRowBytes, stride);
        PORTICO_MULTIPLY(2, 4, 6)
        _tile_loadd(7, panel + 3 * kRowBytes, stride);
        PORTICO_MULTIPLY(3, 4, 7)
        stream.fetch();
        x += kRegisterBytes;
        panel += 4 * kRegisterBytes;
    } while (--num_steps);
    store_sums(sums, 2 * kRowBytes);
}

// The same of 32 rows with two vectors of outputs, to `sums` [32][64]; the other 16 rows are `rows_stride` bytes behind.
template <bool kAreBytes>
inline void multiply_registers(const uint8_t* x, int64_t rows_stride, const uint8_t* panel, int64_t num_steps,
                               Stream& stream, void* sums) {
    constexpr int64_t stride = 4 * kRowBytes;
    clear_sums();
    do {
        _tile_loadd(4, x, kRowBytes);
        _tile_loadd(6, panel, stride);
        PORTICO_MULTIPLY(0, 4, 6)
        _tile_loadd(7, panel + kRowBytes, stride);
        PORTICO_MULTIPLY(1, 4, 7)
        _tile_loadd(5, x + rows_stride, kRowBytes);
        PORTICO_MULTIPLY(2, 5, 6)
        PORTICO_MULTIPLY(3, 5, 7)
        stream.fetch();
        x += kRegisterBytes;
        panel += 4 * kRegisterBytes;
    } while (--num_steps);
    store_sums(sums, kRegisterRows * stride);
}

#undef PORTICO_MULTIPLY

// Splits the row `row` of activations into `kParts` rows of bfloat16, whose registers of 16 rows take `stride` bytes.
inline void split(const float* x, int64_t size, int64_t row, int64_t stride, uint8_t* rows) {
    constexpr int64_t width = 16, inputs = kRowBytes / 2;
    uint8_t* places[kParts];
    for (int part = 0; part < kParts; ++part) {
        const int64_t place = row % kSplitRows * kParts + part, number = row / kSplitRows * 2 + place / kRegisterRows;
        places[part] = rows + number * stride + place % kRegisterRows * kRowBytes;
    }
    for (int64_t i = 0; i < size; i += width) {
        const int64_t offset = i / inputs * kRegisterBytes + i % inputs * 2;
        __m512 rest = _mm512_loadu_ps(x + i);
        for (uint8_t* place : places) {
            const __m256i rounded = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(rest));
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(place + offset), rounded);
            rest = _mm512_sub_ps(rest, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(rounded), 16)));
        }
    }
}

}  // namespace portico

#else

namespace portico {

constexpr bool kHasTileRegisters = false;

inline bool are_registers_given() { return true; }

struct TileRegisters {
    explicit TileRegisters(int64_t) {}
};

template <bool kAreBytes>
void multiply_register(const uint8_t*, const uint8_t*, int64_t, Stream&, void*);
template <bool kAreBytes>
void multiply_registers(const uint8_t*, int64_t, const uint8_t*, int64_t, Stream&, void*);
inline void split(const float*, int64_t, int64_t, int64_t, uint8_t*) {}

}  // namespace portico

#endif
