#pragma once

#include <cmath>
#include <span>
#include <vector>

#include "format/npy.h"
#include "run/model_runs.h"

namespace lamina::run {

/// Keeps the stream at every border.
class KeepStreams : public BorderHook {
 public:
  void at_border(const Border& border, float* stream) override {
    streams.resize(std::max(streams.size(), static_cast<size_t>(border.visit + 2)));
    auto& kept = streams[static_cast<size_t>(border.visit + 1)];
    kept.insert(kept.end(), stream, stream + border.rows * border.hidden);
  }
  std::vector<std::vector<float>> streams;
};

inline std::vector<float> read_numbers(const std::filesystem::path& path) {
  const auto file = format::NpyFile::open(path).value();
  return {file.row(0).data(), file.row(0).data() + file.rows() * file.row_elements()};
}

/// Largest difference over the largest magnitude.
inline double relative_error(std::span<const float> found, std::span<const float> wanted) {
  if (found.size() != wanted.size()) return INFINITY;
  double difference = 0;
  double magnitude = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (!(std::abs(found[i]) < 1e30F)) return INFINITY;
    difference = std::max(difference, std::abs(double{found[i]} - double{wanted[i]}));
    magnitude = std::max(magnitude, std::abs(double{wanted[i]}));
  }
  return difference / magnitude;
}

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
