#pragma once

#include "lamina/session.h"

namespace lamina::app {

/// Tokens that a text may have: --ctx, else the model's own limit, at most 4096 for models that keep a cache.
core::Result<int64_t> text_limit(const CommonOptions& options, int64_t own, const models::Model& model);

/// What running texts of that length in batches takes.
SessionNeeds encoder_needs(int64_t limit, const models::Model& model);

}  // namespace lamina::app
