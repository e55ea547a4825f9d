#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

namespace lamina::text::jinja {

/// Stable merge sort that stays inside its memory whatever `before` answers: it may contradict itself (NaN) or throw.
template <typename T, typename Before>
void merge_sort(std::vector<T>& items, const Before& before) {
  std::vector<T> merged;
  merged.reserve(items.size());
  for (size_t width = 1; width < items.size(); width *= 2) {
    merged.clear();
    for (size_t begin = 0; begin < items.size(); begin += 2 * width) {
      const size_t middle = std::min(begin + width, items.size());
      const size_t end = std::min(begin + 2 * width, items.size());
      size_t left = begin;
      size_t right = middle;
      while (left < middle && right < end) {
        const bool take_right = before(items[right], items[left]);
        merged.push_back(std::move(take_right ? items[right++] : items[left++]));
      }
      while (left < middle) merged.push_back(std::move(items[left++]));
      while (right < end) merged.push_back(std::move(items[right++]));
    }
    std::swap(items, merged);
  }
}

}  // namespace lamina::text::jinja
