#include "core/memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

namespace lamina::core {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

TEST(AlignedBuffer, IsZeroedAndWritableToItsLastByte) {
  for (const size_t bytes : {size_t{1}, size_t{4097}, kHugePage - 1, kHugePage, kHugePage + 1, 3 * kHugePage + 5000}) {
    Result<AlignedBuffer> buffer = AlignedBuffer::allocate(bytes);
    ASSERT_TRUE(buffer) << buffer.error().text();
    EXPECT_EQ(buffer->size(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % kAlignment, 0);
    EXPECT_TRUE(std::all_of(buffer->data(), buffer->data() + bytes, [](std::byte b) { return b == std::byte{0}; }));
    std::fill_n(buffer->data(), bytes, std::byte{7});
  }
}

TEST(AlignedBuffer, LargeOnesBeginAtAHugePage) {
  for (int i = 0; i < 4; ++i) {
    const Result<AlignedBuffer> buffer = AlignedBuffer::allocate(kHugePage + 4096 * static_cast<size_t>(i));
    ASSERT_TRUE(buffer);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % kHugePage, 0);
  }
}

TEST(AlignedBuffer, WhatNoMachineHasIsRefusedWithTheNumber) {
  const size_t bytes = std::numeric_limits<size_t>::max() / 4;
  const Result<AlignedBuffer> buffer = AlignedBuffer::allocate(bytes);
  ASSERT_FALSE(buffer);
  EXPECT_EQ(buffer.error().code, ErrorCode::kLimit);
  EXPECT_NE(buffer.error().text().find(std::to_string(bytes)), std::string::npos);
}

}  // namespace
}  // namespace lamina::core
