#include "lamina/table.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <numeric>
#include <string_view>

namespace lamina::app {

namespace {

constexpr size_t kDefaultWidth = 100;
constexpr size_t kLeastLastColumn = 24;
constexpr size_t kMostColumn = 40;

size_t terminal_width() {
  struct winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return kDefaultWidth;
}

using Lines = std::vector<std::string_view>;

/// `text` cut at spaces into lines of at most `width`; a longer word stays whole.
Lines wrap(std::string_view text, size_t width) {
  Lines lines;
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
  std::vector<Lines> titles;
  for (const std::string& title : titles_) titles.push_back({title});
  std::vector<std::vector<Lines>> rows{titles};
  for (const auto& row : rows_) {
    rows.emplace_back();
    for (size_t i = 0; i < row.size(); ++i)
      rows.back().push_back(right_[i] ? Lines{row[i]} : wrap(row[i], kMostColumn));
  }
  std::vector<size_t> widths(titles_.size());
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      for (const std::string_view line : row[i]) widths[i] = std::max(widths[i], line.size());
    }
  }
  if (!right_.back()) {
    const size_t indent = std::accumulate(widths.begin(), widths.end() - 1, 2 * (widths.size() - 1));
    widths.back() = std::max(kLeastLastColumn, terminal_width() - std::min(indent, terminal_width()));
    for (size_t i = 0; i < rows_.size(); ++i) rows[i + 1].back() = wrap(rows_[i].back(), widths.back());
  }
  std::string out;
  for (const auto& row : rows) {
    const size_t height = std::ranges::max(row, {}, &Lines::size).size();
    for (size_t at = 0; at < height; ++at) {
      std::string line;
      for (size_t i = 0; i < row.size(); ++i) {
        const std::string_view part = at < row[i].size() ? row[i][at] : "";
        line += right_[i] ? fmt::format("{:>{}}  ", part, widths[i]) : fmt::format("{:<{}}  ", part, widths[i]);
      }
      append_line(out, std::move(line));
    }
  }
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
