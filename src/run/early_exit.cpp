#include "run/early_exit.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/softmax.h"

namespace lamina::run {

namespace {

/// Rows whose logits are made at once: those of a row can be a megabyte.
constexpr int64_t kLookRows = 8;

int64_t padded_floats(int64_t count) {
  return static_cast<int64_t>(layers::Arena::padded(count * static_cast<int64_t>(sizeof(float))));
}

/// cos(a, b), summed in double in order; 1 where one of them is 0.
double cosine(const float* a, const float* b, int64_t size) {
  double product = 0;
  double a_square = 0;
  double b_square = 0;
  for (int64_t i = 0; i < size; ++i) {
    product += double{a[i]} * double{b[i]};
    a_square += double{a[i]} * double{a[i]};
    b_square += double{b[i]} * double{b[i]};
  }
  const double norms = std::sqrt(a_square) * std::sqrt(b_square);
  return norms > 0 ? product / norms : 1;
}

/// Probability of the likeliest of `size` logits.
double top_probability(const float* logits, int64_t size) {
  const float highest = logits[kernels::argmax(logits, size)];
  return std::exp(double{highest} - kernels::log_sum_exp(logits, size));
}

}  // namespace

int64_t EarlyExit::bytes(const models::Model& model, int64_t rows) {
  return 2 * padded_floats(rows * model.hidden()) + padded_floats(std::min(rows, kLookRows) * model.head().outputs());
}

EarlyExit::EarlyExit(const models::Model& model, int64_t rows, std::byte* memory)
    : model_(model), left_(static_cast<size_t>(rows)) {
  looked_at_.reserve(static_cast<size_t>(kLookRows));
  kept_ = reinterpret_cast<float*>(memory);
  memory += padded_floats(rows * model.hidden());
  before_ = reinterpret_cast<float*>(memory);
  memory += padded_floats(rows * model.hidden());
  logits_ = reinterpret_cast<float*>(memory);
}

void EarlyExit::begin(int64_t rows) {
  rows_ = rows;
  left_count_ = 0;
  std::fill_n(left_.begin(), rows, uint8_t{0});
}

void EarlyExit::note(const float* stream) {
  std::memcpy(before_, stream, static_cast<size_t>(rows_ * model_.hidden()) * sizeof(float));
}

void EarlyExit::restore(float* stream) const {
  if (left_count_ == 0) return;
  const int64_t hidden = model_.hidden();
  for (int64_t row = 0; row < rows_; ++row) {
    if (left_[static_cast<size_t>(row)] == 0) continue;
    std::memcpy(stream + row * hidden, kept_ + row * hidden, static_cast<size_t>(hidden) * sizeof(float));
  }
}

void EarlyExit::leave(int64_t row, const float* stream) {
  const int64_t hidden = model_.hidden();
  std::memcpy(kept_ + row * hidden, stream + row * hidden, static_cast<size_t>(hidden) * sizeof(float));
  left_[static_cast<size_t>(row)] = 1;
  ++left_count_;
}

void EarlyExit::look(layers::Step& step, const recipe::ExitPlan& plan, const float* stream) {
  if (all_left()) return;
  if (!plan.by_stream) return look_at_tokens(step, plan.confidence, stream);
  const int64_t hidden = model_.hidden();
  for (int64_t row = 0; row < rows_; ++row) {
    if (left_[static_cast<size_t>(row)] != 0) continue;
    if (cosine(before_ + row * hidden, stream + row * hidden, hidden) >= plan.confidence) leave(row, stream);
  }
}

/// Makes the logits of the rows that are still on their way, some at a time.
void EarlyExit::look_at_tokens(layers::Step& step, double confidence, const float* stream) {
  const int64_t hidden = model_.hidden();
  const int64_t outputs = model_.head().outputs();
  for (int64_t row = 0; row < rows_;) {
    looked_at_.clear();
    step.arena.reset();
    auto* streams = step.arena.take<float>(std::min(rows_, kLookRows) * hidden);
    for (; row < rows_ && std::ssize(looked_at_) < kLookRows; ++row) {
      if (left_[static_cast<size_t>(row)] != 0) continue;
      std::memcpy(streams + std::ssize(looked_at_) * hidden, stream + row * hidden,
                  static_cast<size_t>(hidden) * sizeof(float));
      looked_at_.push_back(row);
    }
    if (looked_at_.empty()) return;
    model_.head().forward(step, streams, std::ssize(looked_at_), logits_);
    for (size_t i = 0; i < looked_at_.size(); ++i) {
      if (top_probability(logits_ + static_cast<int64_t>(i) * outputs, outputs) >= confidence)
        leave(looked_at_[i], stream);
    }
  }
}

}  // namespace lamina::run
