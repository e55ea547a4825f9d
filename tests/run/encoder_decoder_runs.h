#pragma once

#include <span>
#include <vector>

#include "run/model_runs.h"

namespace lamina::run {

/// Logits of tokens from the sequence's end on, in pieces.
inline std::vector<float> feed(Runner& runner, cache::SequenceId sequence, std::span<const int32_t> tokens,
                               size_t piece) {
  const auto vocabulary = static_cast<size_t>(runner.model().vocabulary());
  std::vector<float> logits(tokens.size() * vocabulary);
  for (size_t at = 0; at < tokens.size(); at += piece) {
    std::vector<BatchRow> rows;
    for (size_t i = at; i < std::min(at + piece, tokens.size()); ++i)
      rows.push_back({.token = tokens[i], .sequence = sequence, .wants_logits = true});
    const auto status = runner.step(rows, std::span(logits).subspan(at * vocabulary));
    if (!status) throw std::runtime_error(status.error().text());
  }
  return logits;
}

}  // namespace lamina::run
