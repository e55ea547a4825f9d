#pragma once

#include <algorithm>
#include <string_view>

namespace lamina::serve {

/// What models may write around a tag.
inline constexpr std::string_view kTagSpace = " \n\t\r";

/// The text behind the space that it begins with.
inline std::string_view without_space(std::string_view text) {
  const size_t begin = text.find_first_not_of(kTagSpace);
  return begin == std::string_view::npos ? std::string_view() : text.substr(begin);
}

/// A tag, or another text, without the space around it.
inline std::string_view core_of(std::string_view tag) {
  tag = without_space(tag);
  return tag.substr(0, tag.find_last_not_of(kTagSpace) + 1);
}

/// How much of the text's end may be the begin of the tag.
inline size_t held_back(std::string_view text, std::string_view tag) {
  for (size_t size = std::min(text.size(), tag.size()); size > 0; --size) {
    if (tag.starts_with(text.substr(text.size() - size))) return size;
  }
  return 0;
}

}  // namespace lamina::serve
