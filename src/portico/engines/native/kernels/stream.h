// The weights that a thread reads, in their order, and how far the memory has been asked for them.
//
// A core waits for memory far longer than it computes, but not while it computes other things: lines have to be on their
// way all the time. So they are asked for in small portions, between all that is computed.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace portico {

class Stream {
public:
    // To be called for each matrix in turn, with the part of it that is the thread's.
    void add(const void* begin, int64_t size) {
        parts_.push_back({static_cast<const char*>(begin), size, length_});
        length_ += size;
    }

    // The thread is about to read `size` bytes of a part, or of another thread's. As many are asked for meanwhile, by
    // `num_portions` calls, some distance behind what is read.
    void read(int64_t part, const void* begin, int64_t size, int64_t num_portions) {
        const Part& own = parts_[part];
        const char* place = static_cast<const char*>(begin);
        num_left_ = 0;
        if (place < own.begin || place >= own.begin + own.size) return;
        const int64_t now = own.start + (place - own.begin), distance = std::min(size, kMostAhead);
        // From the first part on again, whose beginning may have been asked for.
        if (now < read_) fetched_ = std::max<int64_t>(fetched_ - length_, 0);
        read_ = now;
        if (fetched_ <= now) {
            fetched_ = now + distance;
            part_ = part;
            place_ = place + distance;
            end_ = own.begin + own.size;
            if (place_ == end_) turn_over();
        }
        num_left_ = std::max<int64_t>(0, (now + size + distance - fetched_) / kLine);
        portion_ = (num_left_ + num_portions - 1) / num_portions;
    }

    // Asks for a portion.
    void fetch() {
        int64_t count = std::min(portion_, num_left_);
        num_left_ -= count;
        fetched_ += count * kLine;
        while (count > 0) {
            const char* place = place_;
            const char* stop = place + std::min(count * kLine, end_ - place);
            count -= (stop - place) / kLine;
            for (; place < stop; place += kLine) _mm_prefetch(place, _MM_HINT_T1);
            place_ = place;
            if (place == end_) turn_over();
        }
    }

private:
    static constexpr int64_t kLine = 64;
    // More than this does not stay in the cache until it is read.
    static constexpr int64_t kMostAhead = 128 << 10;

    struct Part {
        const char* begin;
        int64_t size;
        int64_t start;
    };

    void turn_over() {
        do {
            part_ = (part_ + 1) % static_cast<int64_t>(parts_.size());
        } while (parts_[part_].size == 0);
        place_ = parts_[part_].begin;
        end_ = place_ + parts_[part_].size;
    }

    std::vector<Part> parts_;
    int64_t length_ = 0;
    // From the beginning of the first part: what has been read to where, and what asked for.
    int64_t read_ = 0;
    int64_t fetched_ = 0;
    int64_t portion_ = 0;
    int64_t num_left_ = 0;
    // The next line to be asked for.
    int64_t part_ = 0;
    const char* place_ = nullptr;
    const char* end_ = nullptr;
};

}  // namespace portico
