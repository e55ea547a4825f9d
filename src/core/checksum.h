#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace lamina::core {

/// 64 bits by which bytes that were changed by accident are told apart: any change within one word of 8 bytes always
/// shows. No protection against a forger. Runs near the speed of memory.
uint64_t checksum(std::span<const std::byte> bytes);

}  // namespace lamina::core
