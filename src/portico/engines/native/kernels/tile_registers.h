// Products of bytes in the tile registers of AMX.
//
// A register holds 16 rows of 64 bytes: of activations 64 inputs of each row, of weights 16 groups of four inputs for each
// of 16 outputs, which is how they lie in a panel. Integers are added exactly, so that sums are those of other kernels.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "stream.h"

namespace portico {

constexpr int kRegisterRows = 16;
constexpr int kRegisterInputs = 64;
constexpr int kRegisterBytes = kRegisterRows * kRegisterInputs;
// The least rows that are worth a register, most of which are then empty.
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

// The registers are set up in the thread that holds this.
class TileRegisters {
public:
    TileRegisters() {
        Configuration configuration{};
        configuration.palette = 1;
        for (int i = 0; i < 8; ++i) {
            configuration.row_bytes[i] = kRegisterInputs;
            configuration.rows[i] = kRegisterRows;
        }
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

// Sums of 16 rows with four vectors of outputs, to `sums` [16][64]. A step of the activations is `kRegisterBytes`, one
// of the panel as much for each vector.
inline void multiply_register(const uint8_t* x, const int8_t* panel, int64_t num_steps, Stream& stream, int32_t* sums) {
    constexpr int64_t stride = 4 * kRegisterInputs;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    do {
        _tile_loadd(4, x, kRegisterInputs);
        _tile_loadd(5, panel, stride);
        _tile_dpbusd(0, 4, 5);
        _tile_loadd(6, panel + kRegisterInputs, stride);
        _tile_dpbusd(1, 4, 6);
        _tile_loadd(7, panel + 2 * kRegisterInputs, stride);
        _tile_dpbusd(2, 4, 7);
        _tile_loadd(5, panel + 3 * kRegisterInputs, stride);
        _tile_dpbusd(3, 4, 5);
        stream.fetch();
        x += kRegisterBytes;
        panel += 4 * kRegisterBytes;
    } while (--num_steps);
    _tile_stored(0, sums, stride);
    _tile_stored(1, sums + 16, stride);
    _tile_stored(2, sums + 32, stride);
    _tile_stored(3, sums + 48, stride);
}

// The same of 32 rows with two vectors of outputs, to `sums` [32][64]; the other 16 rows are `rows_stride` bytes behind.
inline void multiply_registers(const uint8_t* x, int64_t rows_stride, const int8_t* panel, int64_t num_steps,
                               Stream& stream, int32_t* sums) {
    constexpr int64_t stride = 4 * kRegisterInputs;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    do {
        _tile_loadd(4, x, kRegisterInputs);
        _tile_loadd(6, panel, stride);
        _tile_dpbusd(0, 4, 6);
        _tile_loadd(7, panel + kRegisterInputs, stride);
        _tile_dpbusd(1, 4, 7);
        _tile_loadd(5, x + rows_stride, kRegisterInputs);
        _tile_dpbusd(2, 5, 6);
        _tile_dpbusd(3, 5, 7);
        stream.fetch();
        x += kRegisterBytes;
        panel += 4 * kRegisterBytes;
    } while (--num_steps);
    _tile_stored(0, sums, stride);
    _tile_stored(1, sums + 16, stride);
    _tile_stored(2, sums + kRegisterRows * 64, stride);
    _tile_stored(3, sums + kRegisterRows * 64 + 16, stride);
}

}  // namespace portico

#else

namespace portico {

constexpr bool kHasTileRegisters = false;

inline bool are_registers_given() { return true; }

struct TileRegisters {
    TileRegisters() {}
};

void multiply_register(const uint8_t*, const int8_t*, int64_t, Stream&, int32_t*);
void multiply_registers(const uint8_t*, int64_t, const int8_t*, int64_t, Stream&, int32_t*);

}  // namespace portico

#endif
