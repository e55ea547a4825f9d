#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "core/clock.h"

namespace lamina::app {

/// How far a transfer or a long computation is, on standard error: a bar on a terminal, else a line at every tenth.
class Progress {
 public:
  /// `total` in bytes, or in what `unit` names ("tokens").
  Progress(std::string label, int64_t total, std::string unit = {});
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `done` of the total is here.
  void update(int64_t done);

 private:
  void draw(int64_t done);
  std::string amount(int64_t count) const;

  std::string label_;
  int64_t total_;
  std::string unit_;
  bool terminal_;
  bool drawn_ = false;
  int64_t tenth_ = 0;
  int64_t first_ = -1;
  double last_draw_ = -1;
  core::Stopwatch watch_;
};

/// A plain line on standard error.
void note(const std::string& line);
/// Plain lines; those that say the same of several places ("place: what") are one.
void note_all(std::span<const std::string> lines);

}  // namespace lamina::app
