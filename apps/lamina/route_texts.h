#pragma once

#include <string>
#include <vector>

#include "eval/scoring.h"
#include "eval/tasks.h"
#include "lamina/cli.h"
#include "lamina/session.h"
#include "recipe/plan.h"

namespace lamina::app {

/// What commands that look for routes are told of a model and of a task's items.
struct RouteOptions {
  CommonOptions common;
  std::string tasks;
  std::string task_prefix;
};

using Texts = std::vector<eval::ScoredSequence>;

void add_task_prefix(CLI::App& command, RouteOptions& options);

/// Every other one, from `first` on.
template <typename T>
std::vector<T> half(const std::vector<T>& all, size_t first) {
  std::vector<T> out;
  for (size_t i = first; i < all.size(); i += 2) out.push_back(all[i]);
  return out;
}

/// Prompts and answers as tokens.
core::Result<Texts> item_texts(const std::vector<eval::TaskItem>& items, const std::string& prefix,
                               const text::Tokenizer& tokenizer);

/// kUnsupported: a recipe with something that acts beside the list of layers.
core::Status check_bare_route(const recipe::RunPlan& plan);

/// Positions of the longest text. kLimit, at `place`: the model was made for fewer.
core::Result<int64_t> context_of(const Texts& texts, const models::Model& model, const std::string& place);

}  // namespace lamina::app
