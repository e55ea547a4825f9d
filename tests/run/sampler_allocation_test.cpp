// Counts every allocation of this program, to show that a draw makes none.
// The operators are not inlined: GCC would take the pair malloc and delete, or new and free, for a mistake.

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "run/sampler.h"

namespace {
std::atomic<long> allocations{0};
}

[[gnu::noinline]] void* operator new(size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}

namespace lamina::run {
namespace {

TEST(Sampler, DoesNotAllocateAfterItIsMade) {
  constexpr int kVocabulary = 50000;
  std::vector<float> logits(kVocabulary);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i * 7919 % 50021) * 1e-3f;
  const std::vector<int32_t> history(1000, 3);
  for (const int top_k : {0, 40, 5000}) {
    SamplingOptions options{.top_k = top_k, .typical_p = 0.9f, .repeat_penalty = 1.1f, .logit_bias = {{1, 2.0f}}};
    Sampler sampler(options, kVocabulary);
    const long before = allocations;
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(sampler.sample(logits, history));
    EXPECT_EQ(allocations, before) << top_k;
  }
  EXPECT_GT(allocations, 0);
}

}  // namespace
}  // namespace lamina::run
