// Threads that run one function together and wait for each other between its phases.
#pragma once

#include <immintrin.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace portico {

// A number that threads wait on: they look at it for some turns, and then sleep until it changes.
class Signal {
public:
    uint32_t value() const { return value_.load(std::memory_order_acquire); }

    void raise() {
        value_.fetch_add(1, std::memory_order_release);
        value_.notify_all();
    }

    void wait_while(uint32_t old, int64_t turns) const {
        for (int64_t turn = 0; turn < turns; ++turn) {
            if (value() != old) return;
            _mm_pause();
        }
        while (value() == old) value_.wait(old, std::memory_order_acquire);
    }

private:
    std::atomic<uint32_t> value_{0};
};

// The caller's thread is the first of them. Between runs the others spin for `turns` and then sleep.
class Threads {
public:
    Threads(int count, int64_t turns) : count_(count), turns_(turns) {
        for (int number = 1; number < count; ++number) others_.emplace_back([this, number] { serve(number); });
    }

    ~Threads() {
        is_over_ = true;
        started_.raise();
        for (auto& thread : others_) thread.join();
    }

    int count() const { return count_; }

    // Calls work(number) in every thread, and returns when all are done.
    void run(const std::function<void(int)>& work) {
        work_ = &work;
        started_.raise();
        work(0);
        meet();
    }

    // Returns when all threads have come here.
    void meet() {
        if (count_ == 1) return;
        const uint32_t round = met_.value();
        if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == count_) {
            arrived_.store(0, std::memory_order_relaxed);
            met_.raise();
        } else {
            met_.wait_while(round, turns_);
        }
    }

private:
    void serve(int number) {
        uint32_t last = 0;
        while (true) {
            started_.wait_while(last, turns_);
            last += 1;
            if (is_over_) return;
            (*work_)(number);
            meet();
        }
    }

    const int count_;
    const int64_t turns_;
    std::vector<std::thread> others_;
    const std::function<void(int)>* work_ = nullptr;
    std::atomic<bool> is_over_{false};
    alignas(64) Signal started_;
    alignas(64) Signal met_;
    alignas(64) std::atomic<int> arrived_{0};
};

// The tasks of a phase: each thread has a share of neighbouring numbers, goes through it from its beginning, and takes
// what is left of the others' shares from their ends.
class Tasks {
public:
    explicit Tasks(int num_threads) : shares_(num_threads) {}

    // Lays out numbers from 0 to below `end`; shares begin at multiples of `step`.
    void reset(int64_t end, int64_t step) {
        const int64_t count = static_cast<int64_t>(shares_.size()), num_steps = end / step;
        for (int64_t i = 0; i < count; ++i)
            shares_[i].left.store(pair(num_steps * i / count * step, num_steps * (i + 1) / count * step),
                                  std::memory_order_relaxed);
    }

    // Calls work(task, is_last) for tasks, of which the last of the thread's own share is told.
    template <class Work>
    void take(int thread, const Work& work) {
        const int count = static_cast<int>(shares_.size());
        for (int64_t task, last; (task = shares_[thread].first(last)) >= 0;) work(task, task + 1 == last);
        for (int i = 1; i < count; ++i)
            for (int64_t task; (task = shares_[(thread + i) % count].last()) >= 0;) work(task, true);
    }

private:
    static uint64_t pair(uint64_t first, uint64_t end) { return first << 32 | end; }

    struct alignas(64) Share {
        std::atomic<uint64_t> left{0};

        int64_t first(int64_t& end) {
            uint64_t now = left.load(std::memory_order_relaxed);
            while (now >> 32 < (now & UINT32_MAX))
                if (left.compare_exchange_weak(now, now + (uint64_t{1} << 32), std::memory_order_relaxed)) {
                    end = static_cast<int64_t>(now & UINT32_MAX);
                    return static_cast<int64_t>(now >> 32);
                }
            return -1;
        }

        int64_t last() {
            uint64_t now = left.load(std::memory_order_relaxed);
            while (now >> 32 < (now & UINT32_MAX))
                if (left.compare_exchange_weak(now, now - 1, std::memory_order_relaxed))
                    return static_cast<int64_t>(now & UINT32_MAX) - 1;
            return -1;
        }
    };

    std::vector<Share> shares_;
};

}  // namespace portico
