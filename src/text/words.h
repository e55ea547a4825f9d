#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/pattern.h"

namespace lamina::text {

/// A stretch of text on its way through the pre-tokenizers: one buffer, cut into words.
struct Words {
  struct Word {
    size_t begin = 0;
    size_t end = 0;
    bool at_start = false;  ///< its first byte stems from the first byte of the whole input
  };

  std::string buffer;
  std::vector<Word> words;

  std::string_view view(const Word& word) const {
    return std::string_view(buffer).substr(word.begin, word.end - word.begin);
  }
};

/// What becomes of the parts that a delimiter pattern matched (names as in tokenizer.json).
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// One part of a word, and whether the pattern matched it.
struct Part {
  size_t begin = 0;
  size_t end = 0;
  bool match = false;
};

/// Turns matches in a text of `size` bytes into the parts that remain, in order, none empty.
void split_parts(const std::vector<ByteRange>& matches, size_t size, SplitBehavior behavior, bool invert,
                 std::vector<Part>& out);

}  // namespace lamina::text
