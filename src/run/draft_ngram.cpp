#include <algorithm>

#include "run/drafter.h"

namespace lamina::run {

namespace {

/// Longer pieces that stood before tell no more.
constexpr int64_t kLongestMatch = 16;

/// How many tokens before `a` and before `b` are the same.
int64_t same_before(std::span<const int32_t> tokens, int64_t a, int64_t b) {
  int64_t same = 0;
  while (same < kLongestMatch && same < a &&
         tokens[static_cast<size_t>(a - same - 1)] == tokens[static_cast<size_t>(b - same - 1)])
    ++same;
  return same;
}

class NgramDrafter : public Drafter {
 public:
  explicit NgramDrafter(int match) : match_(match) {}

  core::Status guess(std::span<DraftText> texts) override {
    for (const DraftText& text : texts) guess(text);
    return {};
  }

 private:
  void guess(const DraftText& text) const {
    const int64_t size = std::ssize(text.known);
    int64_t best = match_ - 1;
    int64_t from = size;
    for (int64_t next = size - 1; next > 0 && best < kLongestMatch; --next) {
      const int64_t same = same_before(text.known, next, size);
      if (same <= best) continue;
      best = same;
      from = next;
    }
    if (from == size) return;
    // What was guessed may be looked up in turn: a text that repeats itself goes on doing so.
    for (int64_t i = from; std::ssize(*text.guess) < text.most; ++i) {
      text.guess->push_back(i < size ? text.known[static_cast<size_t>(i)]
                                     : (*text.guess)[static_cast<size_t>(i - size)]);
    }
  }

  int64_t match_;
};

}  // namespace

std::unique_ptr<Drafter> make_ngram_drafter(int match) {
  return std::make_unique<NgramDrafter>(match);
}

}  // namespace lamina::run
