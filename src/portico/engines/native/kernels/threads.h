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

// Hands out numbers from 0 to below `end`, some at a time, to the threads that ask.
class Tasks {
public:
    void reset(int64_t end, int64_t step) {
        end_ = end;
        step_ = step;
        next_.store(0, std::memory_order_relaxed);
    }

    template <class Work>
    void take(const Work& work) {
        while (true) {
            const int64_t first = next_.fetch_add(step_, std::memory_order_relaxed);
            if (first >= end_) return;
            const int64_t last = first + step_ < end_ ? first + step_ : end_;
            for (int64_t task = first; task < last; ++task) work(task);
        }
    }

private:
    alignas(64) std::atomic<int64_t> next_{0};
    int64_t end_ = 0;
    int64_t step_ = 1;
};

}  // namespace portico
