// Drawing a token from a row of scores: temperature, then the best k, a mass of p, a least share of the best one's
// probability, and then one uniform number that chooses among what is left, in the order of token ids.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "vectors.h"

namespace portico {

// How the rows are drawn: [rows] each. A negative uniform number asks for the best token; a `top_ks` of 0, and `top_ps` and
// `min_ps` of 1 and 0, leave everything.
struct Choices {
    const float* temperatures;
    const int64_t* top_ks;
    const float* top_ps;
    const float* min_ps;
    const double* uniforms;
};

// Log-probabilities of tokens that were drawn, or stand there, and of the best ones: [rows], and [rows][width] for these. A
// negative `num_best` asks for nothing; where there are fewer, the ids of the others are -1.
struct Report {
    const int64_t* num_best;
    int64_t width;
    float* logprobs;
    int64_t* ranks;
    int64_t* best_ids;
    float* best_logprobs;
};

// The first place of the largest number; what is no number is passed over, here and below: of two, `maximum` takes the
// second if one is none.
inline int64_t place_of_best(const float* x, int64_t size) {
    constexpr int kStep = 4 * kWidth;
    Vector most[4] = {broadcast(-kInfinity), broadcast(-kInfinity), broadcast(-kInfinity), broadcast(-kInfinity)};
    int64_t i = 0;
    for (; i + kStep <= size; i += kStep)
        for (int v = 0; v < 4; ++v) most[v] = maximum(load(x + i + v * kWidth), most[v]);
    float top = largest(maximum(maximum(most[0], most[1]), maximum(most[2], most[3])));
    for (; i < size; ++i) top = x[i] > top ? x[i] : top;
    for (i = 0; i + kWidth <= size; i += kWidth)
        if (const uint32_t places = equal(load(x + i), broadcast(top))) return i + __builtin_ctz(places);
    for (; i < size; ++i)
        if (x[i] == top) return i;
    return 0;
}

// Draws from one row after another; the buffers are kept. A token whose score is minus infinity is never drawn.
class Drawing {
public:
    int64_t draw(const float* row, int64_t size, const Choices& choices, const Report& report, int64_t index) {
        const bool is_greedy = choices.uniforms[index] < 0, is_shown = report.num_best[index] >= 0;
        if (is_greedy) {
            const int64_t token = place_of_best(row, size);
            if (is_shown) describe(row, size, token, report, index);
            return token;
        }
        x_ = row, size_ = size, factor_ = 1.0f / choices.temperatures[index];
        find_maxima();
        if (std::isinf(top_)) {
            // There is no distribution.
            const int64_t token = place_of_best(row, size);
            if (is_shown) show(token, false, report, index);
            return token;
        }
        const int64_t top_k = choices.top_ks[index];
        const double top_p = choices.top_ps[index], uniform = choices.uniforms[index];
        bool has_list = top_k > 0 && top_k < size;
        if (has_list) keep_best(top_k);
        if (top_p < 1) {
            keep_mass(top_p, has_list);
            has_list = true;
        }
        if (choices.min_ps[index] > 0) {
            const float share = choices.min_ps[index];
            // A little less than the score with that share, which is computed otherwise.
            if (!has_list) keep_from(top_ + (std::log(share) - 0.01f) / factor_);
            keep_share(share);
            has_list = true;
        }
        const int64_t token = has_list ? chosen(uniform) : chosen_of_all(uniform);
        if (is_shown) show(token, has_list, report, index);
        return token;
    }

    // Reports on a token of a row whose scores are taken as they are.
    void describe(const float* row, int64_t size, int64_t token, const Report& report, int64_t index) {
        x_ = row, size_ = size, factor_ = 1;
        find_maxima();
        show(token, false, report, index);
    }

private:
    static constexpr int64_t kBlock = 4 * kWidth;
    // Blocks whose best tokens bound the first guess at what has the mass, and classes of weights for when that fails.
    static constexpr int64_t kHead = 256;
    static constexpr int kClasses = 4096;
    static constexpr float kClassesOfUnit = 128;

    struct Token {
        float score;
        int32_t id;
    };

    static bool is_better(const Token& a, const Token& b) {
        return a.score > b.score || (a.score == b.score && a.id < b.id);
    }

    // With a list nothing else can have been drawn.
    void show(int64_t token, bool has_list, const Report& report, int64_t index) {
        const double total = has_list ? weigh_list() : weigh_all();
        const float score = x_[token], norm = static_cast<float>(std::log(total));
        const auto logprob = [&](float of) { return (of - top_) * factor_ - norm; };
        report.logprobs[index] = logprob(score);
        const int64_t wanted = std::min(report.num_best[index], size_);
        int64_t rank = 0;
        if (has_list) {
            for (const Token& each : list_) rank += each.score >= score;
        } else {
            for (int64_t i = 0; i < size_; i += kBlock)
                if (maxima_[i / kBlock] >= score)
                    for (int64_t j = i; j < std::min(i + kBlock, size_); ++j) rank += x_[j] >= score;
            if (wanted) keep_from(bound(wanted));
        }
        report.ranks[index] = rank;
        const int64_t count = std::min<int64_t>(wanted, list_.size());
        if (count) std::partial_sort(list_.begin(), list_.begin() + count, list_.end(), is_better);
        for (int64_t i = 0; i < wanted; ++i) {
            report.best_ids[index * report.width + i] = i < count ? list_[i].id : -1;
            report.best_logprobs[index * report.width + i] = i < count ? logprob(list_[i].score) : -kInfinity;
        }
    }

    // The best score of each block of tokens, and of all.
    void find_maxima() {
        maxima_.clear();
        top_ = -kInfinity;
        for (int64_t i = 0; i < size_; i += kBlock) {
            float most = -kInfinity;
            if (i + kBlock <= size_) {
                Vector found = broadcast(-kInfinity);
                for (int v = 0; v < 4; ++v) found = maximum(load(x_ + i + v * kWidth), found);
                most = largest(found);
            } else {
                for (int64_t j = i; j < size_; ++j) most = x_[j] > most ? x_[j] : most;
            }
            maxima_.push_back(most);
            top_ = top_ > most ? top_ : most;
        }
    }

    // Weights of scores, at most one; not divided by their sum. Below what the exponential function can tell they are zero.
    Vector weights(Vector scores) const {
        const Vector exponents = multiply(subtract(scores, broadcast(top_)), broadcast(factor_));
        return where_at_least(exponents, broadcast(-87.0f), exponential(exponents));
    }

    // Those of up to a block of tokens from `first`, and their sum.
    double weigh_block(int64_t first, float* found) const {
        alignas(64) float scores[kBlock];
        const int64_t count = std::min(kBlock, size_ - first);
        const float* from = x_ + first;
        if (count < kBlock) {
            std::fill_n(std::copy_n(from, count, scores), kBlock - count, -kInfinity);
            from = scores;
        }
        Vector total = broadcast(0);
        for (int64_t i = 0; i < kBlock; i += kWidth) {
            const Vector some = weights(load(from + i));
            store(found + i, some);
            total = add(total, some);
        }
        return sum(total);
    }

    // The n-th largest of the blocks' maxima: at least n tokens are as good, or all if there are not so many blocks.
    float bound(int64_t n) {
        if (n > static_cast<int64_t>(maxima_.size())) return -kInfinity;
        scratch_ = maxima_;
        std::nth_element(scratch_.begin(), scratch_.begin() + n - 1, scratch_.end(), std::greater<>());
        return scratch_[n - 1];
    }

    // Lists tokens with scores of at least `least`, but for those that are not allowed.
    void keep_from(float least) {
        list_.clear();
        least = std::max(least, -std::numeric_limits<float>::max());
        for (int64_t i = 0; i < size_; i += kBlock) {
            if (maxima_[i / kBlock] < least) continue;
            for (int64_t j = i; j < std::min(i + kBlock, size_); ++j)
                if (x_[j] >= least) list_.push_back({x_[j], static_cast<int32_t>(j)});
        }
    }

    void keep_best(int64_t count) {
        keep_from(bound(count));
        if (count >= static_cast<int64_t>(list_.size())) return;
        scratch_.clear();
        for (const Token& each : list_) scratch_.push_back(each.score);
        std::nth_element(scratch_.begin(), scratch_.begin() + count - 1, scratch_.end(), std::greater<>());
        const float least = scratch_[count - 1];
        std::erase_if(list_, [least](const Token& each) { return each.score < least; });
    }

    // Keeps the best tokens up to a mass of p; the token that reaches it stays.
    void keep_mass(double p, bool has_list) {
        double limit = p;
        if (has_list) {
            limit *= weigh_list();
        } else {
            limit *= weigh_all();
            keep_from(bound(kHead));
            if (weigh_list() < limit) return keep_mass_of_all(limit);
        }
        const Token worst = reaching(limit, 0);
        std::erase_if(list_, [&](const Token& each) { return is_better(worst, each); });
    }

    // The one of the listed tokens, from the best on, whose weight brings the mass to a limit.
    Token reaching(double limit, double mass) {
        ordered_ = list_;
        std::sort(ordered_.begin(), ordered_.end(), is_better);
        std::swap(ordered_, list_);
        weigh_list();
        std::swap(ordered_, list_);
        for (size_t i = 0; i < ordered_.size(); ++i)
            if ((mass += list_weights_[i]) >= limit) return ordered_[i];
        return ordered_.back();
    }

    // As above: by the mass of classes of tokens with about the same score, and in order in the class where it is reached.
    void keep_mass_of_all(double limit) {
        masses_.fill(0);
        alignas(64) float found[kBlock];
        for (int64_t i = 0; i < size_; i += kBlock) {
            weigh_block(i, found);
            for (int64_t j = i; j < std::min(i + kBlock, size_); ++j) masses_[class_of(x_[j])] += found[j - i];
        }
        int last = 0;
        double before = 0;
        while (last < kClasses && before + masses_[last] < limit) before += masses_[last++];
        // The limit is of sums that were rounded otherwise, and may be a little more than there is.
        if (last == kClasses) return keep_from(-kInfinity);
        list_.clear();
        for (int64_t i = 0; i < size_; ++i)
            if (class_of(x_[i]) == last && x_[i] > -kInfinity) list_.push_back({x_[i], static_cast<int32_t>(i)});
        const Token worst = reaching(limit, before);
        keep_from(worst.score);
        std::erase_if(list_, [&](const Token& each) { return is_better(worst, each); });
    }

    int class_of(float score) const {
        const float place = (top_ - score) * factor_ * kClassesOfUnit;
        return place < kClasses - 1 ? static_cast<int>(place) : kClasses - 1;
    }

    void keep_share(float share) {
        weigh_list();
        size_t count = 0;
        for (size_t i = 0; i < list_.size(); ++i)
            if (list_weights_[i] >= share || list_[i].score == top_) list_[count++] = list_[i];
        list_.resize(count);
    }

    // The weights of the listed tokens, and their sum.
    double weigh_list() {
        const int64_t count = static_cast<int64_t>(list_.size());
        list_weights_.resize(round_up(count, kWidth));
        for (int64_t i = 0; i < count; ++i) list_weights_[i] = list_[i].score;
        double total = 0;
        for (int64_t i = 0; i < count; i += kWidth) store(&list_weights_[i], weights(load(&list_weights_[i])));
        for (int64_t i = 0; i < count; ++i) total += list_weights_[i];
        return total;
    }

    // The sums of the blocks' weights, and their sum.
    double weigh_all() {
        alignas(64) float found[kBlock];
        sums_.clear();
        double total = 0;
        for (int64_t i = 0; i < size_; i += kBlock) {
            sums_.push_back(weigh_block(i, found));
            total += sums_.back();
        }
        return total;
    }

    int64_t chosen(double uniform) {
        double left = uniform * weigh_list();
        int64_t last = 0;
        for (size_t i = 0; i < list_.size(); ++i) {
            if (list_weights_[i] <= 0) continue;
            last = list_[i].id;
            if ((left -= list_weights_[i]) < 0) break;
        }
        return last;
    }

    int64_t chosen_of_all(double uniform) {
        alignas(64) float found[kBlock];
        double left = uniform * weigh_all();
        int64_t last = 0;
        for (int64_t block = 0; block < static_cast<int64_t>(sums_.size()); ++block) {
            if (sums_[block] <= 0) continue;
            last = block;
            if (left < sums_[block]) break;
            left -= sums_[block];
        }
        weigh_block(last * kBlock, found);
        int64_t token = last * kBlock;
        for (int64_t i = 0; i < kBlock; ++i) {
            if (found[i] <= 0) continue;
            token = last * kBlock + i;
            if ((left -= found[i]) < 0) break;
        }
        return token;
    }

    const float* x_ = nullptr;
    int64_t size_ = 0;
    float factor_ = 1, top_ = 0;
    std::vector<float> maxima_, scratch_, list_weights_;
    std::vector<double> sums_;
    std::vector<Token> list_, ordered_;
    std::array<double, kClasses> masses_;
};

}  // namespace portico
