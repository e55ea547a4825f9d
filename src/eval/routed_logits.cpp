#include "eval/routed_logits.h"

#include <algorithm>

namespace lamina::eval {

using core::Result;
using core::Status;

namespace {

std::vector<run::BatchRow> rows_of(std::span<const int32_t> tokens, cache::SequenceId sequence) {
  std::vector<run::BatchRow> rows;
  for (const int32_t token : tokens) rows.push_back({.token = token, .sequence = sequence});
  return rows;
}

}  // namespace

Result<std::unique_ptr<RoutedLogits>> RoutedLogits::create(run::Runner& runner, const run::Router& router,
                                                           std::span<const ScoredSequence> sequences) {
  LAMINA_ASSIGN(run::RouterReader reader, run::RouterReader::create(router, runner));
  return std::unique_ptr<RoutedLogits>(new RoutedLogits(runner, std::move(reader), sequences));
}

RoutedLogits::~RoutedLogits() {
  if (open_) runner_.close(*open_);
}

Status RoutedLogits::feed(std::span<const int32_t> tokens, const run::Route* route) {
  const auto most = static_cast<size_t>(runner_.options().max_rows);
  for (size_t at = 0; at < tokens.size(); at += most) {
    const auto piece = tokens.subspan(at, std::min(most, tokens.size() - at));
    LAMINA_CHECK_OK(runner_.step(rows_of(piece, *open_), {}, route));
  }
  return {};
}

/// Decides on the text's route.
Status RoutedLogits::begin(const ScoredSequence& text) {
  LAMINA_ASSIGN(open_, runner_.open());
  const std::vector<recipe::Visit>& whole = runner_.options().plan.route;
  const auto read = std::span(text.tokens).first(static_cast<size_t>(text.first_target - 1));
  if (read.empty()) {
    LAMINA_ASSIGN(route_, runner_.plan_route(whole));
  } else {
    reader_.begin(*open_, std::ssize(read));
    runner_.set_hook(&reader_);
    const Status status = feed(read, nullptr);
    runner_.set_hook(nullptr);
    LAMINA_CHECK_OK(status);
    LAMINA_ASSIGN(route_, reader_.decide(runner_, *open_));
    if (reader_.router().kind == run::Router::Kind::kRepeat && route_.visits != whole) {
      std::ignore = runner_.truncate(*open_, 0);
      LAMINA_CHECK_OK(feed(read, &route_));
    }
  }
  visits_ += static_cast<double>(route_.visits.size());
  texts_ += 1;
  return {};
}

/// Computes what of the slice is not computed yet; `wanted` counts the rows of logits.
Status RoutedLogits::add(const ScoredSequence& text, const Slice& slice, size_t& wanted) {
  const int64_t first = std::max(slice.begin, runner_.length(*open_));
  if (first >= slice.end) return {};
  auto rows = rows_of(
      std::span(text.tokens).subspan(static_cast<size_t>(first), static_cast<size_t>(slice.end - first)), *open_);
  // What stands before the first target is computed by now, so that every row predicts one.
  for (run::BatchRow& row : rows) row.wants_logits = true;
  const auto size = static_cast<size_t>(vocabulary());
  logits_.resize(std::max(logits_.size(), (wanted + rows.size()) * size));
  LAMINA_CHECK_OK(runner_.step(rows, std::span(logits_).subspan(wanted * size), &route_));
  wanted += rows.size();
  return {};
}

Result<std::span<const float>> RoutedLogits::step(std::span<const Slice> slices) {
  size_t wanted = 0;
  for (const Slice& slice : slices) {
    const ScoredSequence& text = sequences_[slice.sequence];
    if (slice.begin == 0) LAMINA_CHECK_OK(begin(text));
    LAMINA_CHECK_OK(add(text, slice, wanted));
    if (slice.end < text.inputs()) continue;
    runner_.close(*open_);
    open_.reset();
  }
  return std::span<const float>(logits_).first(wanted * static_cast<size_t>(vocabulary()));
}

}  // namespace lamina::eval
