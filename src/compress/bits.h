#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "codec/codec.h"
#include "compress/output_tensor.h"
#include "core/result.h"
#include "core/thread_pool.h"
#include "layers/weight_codecs.h"
#include "recipe/recipe.h"
#include "stats/statistics.h"

namespace lamina::compress {

/// What became of one tensor whose format was chosen.
struct BitsRow {
  std::string tensor{};
  std::string codec{};
  int64_t bytes = 0;
  double error = 0;        ///< its share of BitsReport::error
  double plain_error = 0;  ///< what it would be in the plain preset
};

/// How one `bits` clause spent its bytes.
struct BitsReport {
  std::string clause{};
  std::string measure{};  ///< what `error` counts, in words
  int64_t budget = 0;     ///< for the tensors of the clause
  int64_t bytes = 0;
  double error = 0;
  double bound = 0;     ///< no choice of these formats within the budget has less; 0: not known
  std::string plain{};  ///< the best format for all of them within the budget; empty: none fits
  int64_t plain_bytes = 0;
  double plain_error = 0;
  bool plain_won = false;  ///< the file has the plain preset
  std::vector<BitsRow> rows{};
};

/// What choosing reads. `tensors` are all of the output, planned with any format for those that bits selects.
struct BitsInput {
  const recipe::Recipe& recipe;
  int layers = 0;
  int64_t target_bytes = 0;  ///< of all tensors; 0: none
  std::span<const OutputTensor> tensors;
  const Importance& importance;
  const stats::Statistics* statistics = nullptr;
  core::ThreadPool& pool;
};

/// The format of each tensor that a `bits` clause selects, by its name. Errors are measured on rows evenly spread over
/// each tensor: with Gram matrices the error of the outputs, with squares that of each weight times its input, else
/// that of the weights, always beside what they are without error. With PartStats::sensitivity they become estimates of
/// the divergence of the model's predictions, in nats. kInvalid, at the recipe's character: a budget below the least
/// possible, which is named; both or none of a target and an average; nothing selected.
core::Result<std::map<std::string, const codec::Codec*>> choose_bits(const BitsInput& input,
                                                                     std::vector<BitsReport>& reports);

/// Whether the recipe has a `bits` clause that selects matrices of that place.
bool bits_selects(const recipe::Recipe& recipe, int layers, const layers::WeightPlace& place);

}  // namespace lamina::compress
