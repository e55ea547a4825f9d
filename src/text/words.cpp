#include "text/words.h"

#include <algorithm>

namespace lamina::text {
namespace {

void merge_with_previous(std::vector<Part>& parts) {
  std::vector<Part> out;
  bool previous_match = false;
  for (const Part& part : parts) {
    if (part.match && !previous_match && !out.empty()) {
      out.back().end = part.end;
    } else {
      out.push_back(part);
    }
    previous_match = part.match;
  }
  parts = std::move(out);
}

void merge_with_next(std::vector<Part>& parts) {
  std::vector<Part> out;
  bool previous_match = false;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if (part->match && !previous_match && !out.empty()) {
      out.back().begin = part->begin;
    } else {
      out.push_back(*part);
    }
    previous_match = part->match;
  }
  std::ranges::reverse(out);
  parts = std::move(out);
}

void merge_equal(std::vector<Part>& parts) {
  std::vector<Part> out;
  for (const Part& part : parts) {
    if (!out.empty() && out.back().match == part.match) {
      out.back().end = part.end;
    } else {
      out.push_back(part);
    }
  }
  parts = std::move(out);
}

}  // namespace

void split_parts(const std::vector<ByteRange>& matches, size_t size, SplitBehavior behavior, bool invert,
                 std::vector<Part>& out) {
  out.clear();
  size_t previous = 0;
  for (const ByteRange& match : matches) {
    if (previous != match.begin) out.push_back({previous, match.begin, invert});
    out.push_back({match.begin, match.end, !invert});
    previous = match.end;
  }
  if (previous != size) out.push_back({previous, size, invert});
  switch (behavior) {
    case SplitBehavior::kRemoved:
      std::erase_if(out, [](const Part& part) { return part.match; });
      break;
    case SplitBehavior::kIsolated:
      break;
    case SplitBehavior::kMergedWithPrevious:
      merge_with_previous(out);
      break;
    case SplitBehavior::kMergedWithNext:
      merge_with_next(out);
      break;
    case SplitBehavior::kContiguous:
      merge_equal(out);
      break;
  }
  std::erase_if(out, [](const Part& part) { return part.begin == part.end; });
}

}  // namespace lamina::text
