#pragma once

#include <cstdint>
#include <string>

#include "core/clock.h"

namespace lamina::app {

/// How far a transfer is, on standard error: a bar on a terminal, else a line at every tenth.
class Progress {
 public:
  Progress(std::string label, int64_t total);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `done` bytes of the total are here.
  void update(int64_t done);

 private:
  void draw(int64_t done);

  std::string label_;
  int64_t total_;
  bool terminal_;
  bool drawn_ = false;
  int64_t tenth_ = 0;
  int64_t first_ = -1;
  double last_draw_ = -1;
  core::Stopwatch watch_;
};

/// A plain line on standard error.
void note(const std::string& line);

}  // namespace lamina::app
