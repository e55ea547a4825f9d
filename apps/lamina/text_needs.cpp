#include "lamina/text_needs.h"

#include <algorithm>

namespace lamina::app {

using core::ErrorCode;
using core::fail;

namespace {

constexpr int64_t kCachedLimit = 4096;
constexpr int64_t kStepRows = 1024;
constexpr int32_t kStepTexts = 64;

}  // namespace

core::Result<int64_t> text_limit(const CommonOptions& options, int64_t own, const models::Model& model) {
  if (options.context > model.context()) {
    return fail(ErrorCode::kInvalid, "--ctx", "{} positions; the model was made for {}", options.context,
                model.context());
  }
  if (options.context > 0) return options.context;
  return model.reads_ahead() ? own : std::min(own, kCachedLimit);
}

SessionNeeds encoder_needs(int64_t limit, const models::Model& model) {
  // A model that keeps a cache holds all positions of each open sequence; one that reads ahead only those of a step.
  return {.context = limit,
          .sequences = model.reads_ahead() ? kStepTexts : 1,
          .max_rows = std::max(limit, kStepRows),
          .tokenizer = true,
          .encoder = true};
}

}  // namespace lamina::app
