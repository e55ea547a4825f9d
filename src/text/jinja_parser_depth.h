#pragma once

#include "text/jinja_limits.h"
#include "text/jinja_parser.h"

namespace lamina::text::jinja {

/// Counts one level of nesting while it lives.
class Parser::Deeper {
 public:
  Deeper(int& depth, int line) : depth_(depth) {
    if (depth_ >= kMaxSyntaxDepth) {
      throw Failure{core::ErrorCode::kLimit, fmt::format("nested deeper than {}", kMaxSyntaxDepth), line};
    }
    ++depth_;
  }
  ~Deeper() { --depth_; }
  Deeper(const Deeper&) = delete;
  Deeper& operator=(const Deeper&) = delete;

 private:
  int& depth_;
};

}  // namespace lamina::text::jinja
