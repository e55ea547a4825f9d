#include "run/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "run/random.h"
#include "run/select.h"

namespace lamina::run {
namespace {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();

struct Limits {
  std::string_view name;
  double value;
  double minimum;
  double maximum;
};

Status check_limits(const Limits& limits) {
  // The comparison is written so that NaN fails.
  if (limits.value >= limits.minimum && limits.value <= limits.maximum) return {};
  return fail(ErrorCode::kInvalid, fmt::format("sampling option {}", limits.name), "found {}; {} to {} expected",
              limits.value, limits.minimum, limits.maximum);
}

Status check_bias(const SamplingOptions& options, int vocabulary) {
  for (const auto& [id, bias] : options.logit_bias) {
    if (id < 0 || id >= vocabulary) {
      return fail(ErrorCode::kInvalid, "sampling option logit_bias", "found token {}; 0 to {} expected", id,
                  vocabulary - 1);
    }
    if (std::isnan(bias) || bias == kInfinity) {
      return fail(ErrorCode::kInvalid, "sampling option logit_bias",
                  "found {} for token {}; a finite number or -infinity expected", bias, id);
    }
  }
  return {};
}

/// A change to a logit must not take it out of the finite numbers.
float finite(float value) {
  return std::clamp(value, -kLargest, kLargest);
}

}  // namespace

Status check(const SamplingOptions& options, int vocabulary) {
  constexpr double kMaxInt = std::numeric_limits<int>::max();
  const std::array<Limits, 10> limits{{
      {"vocabulary", static_cast<double>(vocabulary), 1, kMaxInt},
      {"temperature", options.temperature, 0, 100},
      {"top_k", static_cast<double>(options.top_k), 0, kMaxInt},
      {"top_p", options.top_p, 0, 1},
      {"min_p", options.min_p, 0, 1},
      {"typical_p", options.typical_p, 0, 1},
      {"repeat_penalty", options.repeat_penalty, 0.01f, 100},
      {"presence_penalty", options.presence_penalty, -2, 2},
      {"frequency_penalty", options.frequency_penalty, -2, 2},
      {"penalty_window", static_cast<double>(options.penalty_window), -1, kMaxInt},
  }};
  for (const Limits& one : limits) LAMINA_CHECK_OK(check_limits(one));
  return check_bias(options, vocabulary);
}

Sampler::Sampler(SamplingOptions options, int vocabulary)
    : options_(std::move(options)),
      vocabulary_(vocabulary),
      logits_(static_cast<size_t>(vocabulary)),
      block_maxima_((static_cast<size_t>(vocabulary) + kBlock - 1) / kBlock),
      counts_(static_cast<size_t>(vocabulary)) {
  candidates_.reserve(logits_.size());
  keys_.reserve(logits_.size());
}

Result<int32_t> Sampler::sample(std::span<const float> logits, std::span<const int32_t> history,
                                std::span<const uint64_t> allowed) {
  if (logits.size() != logits_.size()) {
    return fail(ErrorCode::kInvalid, "sampler", "{} logits; {} expected", logits.size(), logits_.size());
  }
  load(logits);
  if (!allowed.empty()) keep_allowed(allowed);
  penalize(history);
  measure_blocks();
  const int32_t best = most_likely();
  if (best < 0) {
    return fail(ErrorCode::kInvalid, "sampler", "no logit is above -infinity; the model or the biases leave no token");
  }
  if (options_.temperature == 0) {
    ++step_;
    return best;
  }
  collect();
  keep_top_k();
  weigh(1.0);
  keep_typical();
  keep_top_p();
  keep_min_p();
  weigh(options_.temperature);
  return draw();
}

/// Copies the logits without NaN and +infinity, and adds the biases.
void Sampler::load(std::span<const float> logits) {
  for (size_t i = 0; i < logits.size(); ++i) {
    float value = logits[i];
    value = value > kLargest ? kLargest : value;
    logits_[i] = value >= -kInfinity ? value : -kInfinity;
  }
  for (const auto& [id, bias] : options_.logit_bias) {
    float& logit = logits_[static_cast<size_t>(id)];
    if (logit == -kInfinity) continue;
    logit = bias == -kInfinity ? bias : finite(logit + bias);
  }
}

void Sampler::keep_allowed(std::span<const uint64_t> allowed) {
  constexpr size_t kBits = 64;
  for (size_t begin = 0; begin < logits_.size(); begin += kBits) {
    const uint64_t word = begin / kBits < allowed.size() ? allowed[begin / kBits] : 0;
    if (word == ~uint64_t{0}) continue;
    const size_t end = std::min(begin + kBits, logits_.size());
    for (size_t i = begin; i < end; ++i) logits_[i] = (word >> (i - begin) & 1) != 0 ? logits_[i] : -kInfinity;
  }
}

void Sampler::penalize(std::span<const int32_t> history) {
  const bool off = options_.repeat_penalty == 1 && options_.presence_penalty == 0 && options_.frequency_penalty == 0;
  if (off) return;
  if (options_.penalty_window >= 0 && history.size() > static_cast<size_t>(options_.penalty_window)) {
    history = history.last(static_cast<size_t>(options_.penalty_window));
  }
  const auto inside = [&](int32_t id) { return id >= 0 && id < vocabulary_; };
  for (const int32_t id : history) {
    if (inside(id)) ++counts_[static_cast<size_t>(id)];
  }
  for (const int32_t id : history) {
    if (!inside(id)) continue;
    const uint32_t count = std::exchange(counts_[static_cast<size_t>(id)], 0);
    float& logit = logits_[static_cast<size_t>(id)];
    if (count == 0 || logit == -kInfinity) continue;
    const float scaled = logit > 0 ? logit / options_.repeat_penalty : logit * options_.repeat_penalty;
    const float seen = options_.presence_penalty + options_.frequency_penalty * static_cast<float>(count);
    logit = finite(finite(scaled) - seen);
  }
}

void Sampler::measure_blocks() {
  constexpr size_t kLanes = 16;
  for (size_t block = 0; block < block_maxima_.size(); ++block) {
    const size_t begin = block * kBlock;
    const size_t end = std::min(begin + kBlock, logits_.size());
    std::array<float, kLanes> lanes;
    lanes.fill(-kInfinity);
    size_t i = begin;
    for (; i + kLanes <= end; i += kLanes) {
      for (size_t lane = 0; lane < kLanes; ++lane) {
        const float value = logits_[i + lane];
        lanes[lane] = lanes[lane] < value ? value : lanes[lane];
      }
    }
    for (; i < end; ++i) lanes[0] = std::max(lanes[0], logits_[i]);
    block_maxima_[block] = *std::ranges::max_element(lanes);
  }
}

/// The lowest id with the highest logit; -1 if there is none above -infinity.
int32_t Sampler::most_likely() const {
  const auto block = std::ranges::max_element(block_maxima_);
  if (*block == -kInfinity) return -1;
  const auto begin = logits_.begin() + (block - block_maxima_.begin()) * static_cast<ptrdiff_t>(kBlock);
  return static_cast<int32_t>(std::find(begin, logits_.end(), *block) - logits_.begin());
}

/// Gathers the tokens above -infinity. At least top_k tokens are as likely as the top_k-th block maximum, so none below
/// it can be among the top_k and only blocks that reach it are read.
void Sampler::collect() {
  float threshold = -kLargest;
  const auto top_k = static_cast<size_t>(options_.top_k);
  if (top_k > 0 && top_k < block_maxima_.size()) {
    keys_.clear();
    for (const float maximum : block_maxima_) keys_.push_back(order_key(maximum));
    const Cut cut = find_cut(keys_, static_cast<double>(top_k), [](size_t) { return 1.0; });
    for (const float maximum : block_maxima_) {
      if (order_key(maximum) == cut.key) threshold = std::max(threshold, maximum);
    }
  }
  candidates_.clear();
  for (size_t block = 0; block < block_maxima_.size(); ++block) {
    if (block_maxima_[block] < threshold) continue;
    const size_t end = std::min((block + 1) * kBlock, logits_.size());
    for (size_t i = block * kBlock; i < end; ++i) {
      if (logits_[i] >= threshold) candidates_.push_back({logits_[i], static_cast<int32_t>(i), 0});
    }
  }
}

/// Keeps the fewest candidates, by falling key and rising id, that reach `target` in number or in weight.
void Sampler::keep_reaching(double target, bool count) {
  Cut cut = find_cut(keys_, target, [&](size_t i) { return count ? 1.0 : candidates_[i].weight; });
  size_t kept = 0;
  for (size_t i = 0; i < candidates_.size(); ++i) {
    const bool tie = keys_[i] == cut.key && cut.ties > 0;
    if (tie) --cut.ties;
    if (tie || keys_[i] > cut.key) candidates_[kept++] = candidates_[i];
  }
  candidates_.resize(kept);
}

void Sampler::keep_top_k() {
  if (options_.top_k == 0 || candidates_.size() <= static_cast<size_t>(options_.top_k)) return;
  keys_.clear();
  for (const Candidate& candidate : candidates_) keys_.push_back(order_key(candidate.logit));
  keep_reaching(options_.top_k, true);
}

/// weight = exp((logit - highest logit) / temperature).
void Sampler::weigh(double temperature) {
  const double highest = std::ranges::max_element(candidates_, {}, &Candidate::logit)->logit;
  for (Candidate& candidate : candidates_) {
    candidate.weight = std::exp((static_cast<double>(candidate.logit) - highest) / temperature);
  }
}

double Sampler::total_weight() const {
  double total = 0;
  for (const Candidate& candidate : candidates_) total += candidate.weight;
  return total;
}

/// Meister et al. 2023, Locally Typical Sampling (TACL 11), section 4: tokens whose surprise is nearest the entropy.
void Sampler::keep_typical() {
  if (options_.typical_p >= 1 || candidates_.size() == 1) return;
  const double highest = std::ranges::max_element(candidates_, {}, &Candidate::logit)->logit;
  const double total = total_weight();
  const double log_total = std::log(total);
  const auto surprise = [&](const Candidate& candidate) {
    return log_total - (static_cast<double>(candidate.logit) - highest);
  };
  double entropy = 0;
  for (const Candidate& candidate : candidates_) entropy += candidate.weight / total * surprise(candidate);
  keys_.clear();
  for (const Candidate& candidate : candidates_) {
    keys_.push_back(~order_key(static_cast<float>(std::abs(surprise(candidate) - entropy))));
  }
  keep_reaching(static_cast<double>(options_.typical_p) * total, false);
}

/// Holtzman et al. 2020, The Curious Case of Neural Text Degeneration (arXiv 1904.09751), equation 2.
void Sampler::keep_top_p() {
  if (options_.top_p >= 1 || candidates_.size() == 1) return;
  keys_.clear();
  for (const Candidate& candidate : candidates_) keys_.push_back(order_key(candidate.logit));
  keep_reaching(static_cast<double>(options_.top_p) * total_weight(), false);
}

/// Nguyen et al. 2024, Turning Up the Heat: Min-p Sampling (arXiv 2407.01082), section 3.
void Sampler::keep_min_p() {
  if (options_.min_p <= 0 || candidates_.size() == 1) return;
  const double highest = std::ranges::max_element(candidates_, {}, &Candidate::weight)->weight;
  const double least = static_cast<double>(options_.min_p) * highest;
  std::erase_if(candidates_, [&](const Candidate& candidate) { return candidate.weight < least; });
}

int32_t Sampler::draw() {
  double left = random_unit(options_.seed, step_++) * total_weight();
  int32_t chosen = candidates_.front().id;
  for (const Candidate& candidate : candidates_) {
    if (candidate.weight == 0) continue;
    chosen = candidate.id;
    left -= candidate.weight;
    if (left < 0) break;
  }
  return chosen;
}

}  // namespace lamina::run
