#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "layers/step.h"
#include "models/model.h"
#include "recipe/plan.h"

namespace lamina::run {

/// The rows of a step that have left the route, and their streams as they were then. Each row decides by its own stream
/// alone. Layers that it does not reach keep keys, values and states of it all the same, made of the stream with which
/// it left. Schuster et al. 2022, Confident Adaptive Language Modeling (arXiv 2207.07061), sections 3.1 and 3.2.
class EarlyExit {
 public:
  /// Of steps with at most that many rows.
  static int64_t bytes(const models::Model& model, int64_t rows);
  /// `memory`: that many bytes, aligned to a cache line; it and the model must outlive this.
  EarlyExit(const models::Model& model, int64_t rows, std::byte* memory);

  void begin(int64_t rows);
  bool all_left() const { return left_count_ == rows_; }
  /// Notes the stream before a visit whose change is to be looked at.
  void note(const float* stream);
  /// Gives the rows that have left their stream back.
  void restore(float* stream) const;
  /// Lets the rows leave that `plan` lets.
  void look(layers::Step& step, const recipe::ExitPlan& plan, const float* stream);

 private:
  void look_at_tokens(layers::Step& step, double confidence, const float* stream);
  void leave(int64_t row, const float* stream);

  const models::Model& model_;
  int64_t rows_ = 0;
  int64_t left_count_ = 0;
  std::vector<uint8_t> left_;
  std::vector<int64_t> looked_at_;
  float* kept_ = nullptr;    ///< [rows, hidden]
  float* before_ = nullptr;  ///< [rows, hidden]
  float* logits_ = nullptr;  ///< of some rows
};

}  // namespace lamina::run
