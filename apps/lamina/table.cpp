#include "lamina/table.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>

namespace lamina::app {

namespace {

constexpr size_t kDefaultWidth = 100;
constexpr size_t kLeastLastColumn = 24;

size_t terminal_width() {
  struct winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return kDefaultWidth;
}

/// `text` cut at spaces into lines of at most `width`; a longer word stays whole.
std::vector<std::string_view> wrap(std::string_view text, size_t width) {
  std::vector<std::string_view> lines;
  while (text.size() > width) {
    size_t cut = text.rfind(' ', width);
    if (cut == std::string_view::npos) cut = text.find(' ');
    if (cut == std::string_view::npos) break;
    lines.push_back(text.substr(0, cut));
    text.remove_prefix(cut + 1);
  }
  lines.push_back(text);
  return lines;
}

void append_line(std::string& out, std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  out += line + "\n";
}

}  // namespace

Table::Table(std::vector<std::string> titles) : titles_(std::move(titles)) {
  for (std::string& title : titles_) {
    right_.push_back(title.starts_with('>'));
    if (right_.back()) title.erase(0, 1);
  }
}

void Table::add(std::vector<std::string> cells) {
  cells.resize(titles_.size());
  rows_.push_back(std::move(cells));
}

std::string Table::text() const {
  std::vector<size_t> widths;
  for (const std::string& title : titles_) widths.push_back(title.size());
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  size_t indent = 0;
  for (size_t i = 0; i + 1 < widths.size(); ++i) indent += widths[i] + 2;
  const size_t last_width = std::max(kLeastLastColumn, terminal_width() - std::min(indent, terminal_width()));
  const bool wraps = !right_.back();
  std::string out;
  const auto add_row = [&](const std::vector<std::string>& row) {
    std::string line;
    for (size_t i = 0; i + 1 < row.size(); ++i)
      line += right_[i] ? fmt::format("{:>{}}  ", row[i], widths[i]) : fmt::format("{:<{}}  ", row[i], widths[i]);
    if (!wraps) {
      append_line(out, line + fmt::format("{:>{}}", row.back(), widths.back()));
      return;
    }
    for (const std::string_view part : wrap(row.back(), last_width)) {
      append_line(out, line + std::string(part));
      line.assign(indent, ' ');
    }
  };
  add_row(titles_);
  for (const auto& row : rows_) add_row(row);
  return out;
}

std::string facts_text(const std::vector<std::pair<std::string, std::string>>& facts) {
  size_t width = 0;
  for (const auto& [name, value] : facts) width = std::max(width, name.size());
  std::string out;
  for (const auto& [name, value] : facts) append_line(out, fmt::format("{:<{}}  {}", name, width, value));
  return out;
}

std::string count_text(int64_t count) {
  std::string text = std::to_string(count);
  const auto digits = static_cast<std::ptrdiff_t>(count < 0 ? 1 : 0);
  for (auto at = static_cast<std::ptrdiff_t>(text.size()) - 3; at > digits; at -= 3)
    text.insert(static_cast<size_t>(at), ",");
  return text;
}

std::string short_count_text(int64_t count) {
  const auto value = static_cast<double>(count);
  if (count >= 1'000'000'000) return fmt::format("{:.2f} G", value / 1e9);
  if (count >= 1'000'000) return fmt::format("{:.1f} M", value / 1e6);
  if (count >= 10'000) return fmt::format("{:.1f} k", value / 1e3);
  return std::to_string(count);
}

}  // namespace lamina::app
