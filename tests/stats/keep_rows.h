#pragma once

#include <string>
#include <utility>
#include <vector>

#include "layers/input_recorder.h"
#include "layers/linear.h"

namespace lamina::stats {

/// Keeps every row that a tensor's first matrix reads.
class KeepRows : public layers::InputRecorder {
 public:
  explicit KeepRows(std::string name) : name_(std::move(name)) {}
  void record(std::span<const layers::Linear* const> readers, const layers::InputRows& rows) override {
    for (const layers::Linear* linear : readers) {
      if (linear->name() != name_) continue;
      for (int64_t r = 0; r < rows.count; ++r)
        kept.emplace_back(rows.data + r * rows.stride, rows.data + r * rows.stride + linear->inputs());
    }
  }
  std::vector<std::vector<float>> kept;

 private:
  std::string name_;
};

}  // namespace lamina::stats
