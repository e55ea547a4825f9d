#include "lamina/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <string_view>
#include <vector>

#include "lamina/store.h"

namespace lamina::app {

Progress::Progress(std::string label, int64_t total, std::string unit)
    : label_(std::move(label)),
      total_(std::max<int64_t>(total, 0)),
      unit_(std::move(unit)),
      terminal_(isatty(STDERR_FILENO) == 1) {
  if (!terminal_) note(total_ > 0 ? fmt::format("{}: {}", label_, amount(total_)) : label_);
}

Progress::~Progress() {
  if (drawn_) fmt::print(stderr, "\r\033[K");
}

void Progress::update(int64_t done) {
  if (first_ < 0) first_ = done;
  if (total_ > 0) done = std::min(done, total_);
  if (terminal_) {
    constexpr double kBetweenDraws = 0.1;
    if (last_draw_ >= 0 && watch_.seconds() - last_draw_ < kBetweenDraws) return;
    last_draw_ = watch_.seconds();
    draw(done);
    return;
  }
  constexpr int64_t kWorthTenths = 20'000'000;
  if (total_ < kWorthTenths || !unit_.empty()) return;
  const int64_t tenth = done * 10 / total_;
  if (tenth > tenth_ && tenth < 10) note(fmt::format("{}: {} %", label_, tenth * 10));
  tenth_ = std::max(tenth_, tenth);
}

std::string Progress::amount(int64_t count) const {
  return unit_.empty() ? size_text(count) : fmt::format("{} {}", count, unit_);
}

void Progress::draw(int64_t done) {
  constexpr int64_t kWidth = 24;
  const double rate = static_cast<double>(done - first_) / std::max(watch_.seconds(), 0.2);
  std::string bar;
  if (total_ > 0) {
    const auto filled = static_cast<size_t>(done * kWidth / total_);
    bar = fmt::format(" [{:<{}}] {:3} %", std::string(filled, '='), kWidth, done * 100 / total_);
  }
  fmt::print(stderr, "\r{:.40}{} {} {}/s\033[K", label_, bar, amount(done), amount(static_cast<int64_t>(rate)));
  std::fflush(stderr);
  drawn_ = true;
}

void note(const std::string& line) {
  fmt::print(stderr, "{}\n", line);
}

void note_all(std::span<const std::string> lines) {
  std::map<std::string_view, std::vector<std::string_view>> places;  // by what is said
  for (const std::string_view line : lines) {
    const size_t colon = std::min(line.find(": "), line.size());
    places[line.substr(colon)].push_back(line.substr(0, colon));
  }
  for (const auto& [what, where] : places) {
    const std::string others = where.size() > 1 ? fmt::format(" and {} more", where.size() - 1) : "";
    note(fmt::format("{}{}{}", where.front(), others, what));
  }
}

}  // namespace lamina::app
