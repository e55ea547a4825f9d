#pragma once

#include <string>
#include <vector>

namespace lamina::app {

/// Columns of text with a line of titles. A column is as wide as its widest cell, which is wrapped at words beyond 40
/// characters; the last one is wrapped to what is left of the terminal's width (100 where there is no terminal).
class Table {
 public:
  /// A title that begins with '>' has its column aligned to the right.
  explicit Table(std::vector<std::string> titles);

  void add(std::vector<std::string> cells);
  /// All lines, each ended by a newline.
  std::string text() const;

 private:
  std::vector<std::string> titles_;
  std::vector<bool> right_;
  std::vector<std::vector<std::string>> rows_;
};

/// "Name:     value" lines, values in one column.
std::string facts_text(const std::vector<std::pair<std::string, std::string>>& facts);

/// 134515008 as "134,515,008".
std::string count_text(int64_t count);
/// 134515008 as "134.5 M".
std::string short_count_text(int64_t count);

}  // namespace lamina::app
