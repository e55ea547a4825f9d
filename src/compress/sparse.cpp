#include <algorithm>
#include <cmath>
#include <numeric>

#include "compress/pass.h"

namespace lamina::compress {

using core::Result;
using core::Status;

namespace {

constexpr int64_t kGroup = 4;  ///< neighbours of which two are kept

/// Sets the `count` numbers of lowest score to 0; of equal ones, the first.
void clear_lowest(std::span<float> numbers, std::span<const float> scores, int64_t count, std::vector<int64_t>& order) {
  order.resize(numbers.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  const auto before = [&](int64_t a, int64_t b) {
    const float x = scores[static_cast<size_t>(a)];
    const float y = scores[static_cast<size_t>(b)];
    return x != y ? x < y : a < b;
  };
  std::nth_element(order.begin(), order.begin() + count, order.end(), before);
  for (int64_t i = 0; i < count; ++i) numbers[static_cast<size_t>(order[static_cast<size_t>(i)])] = 0;
}

struct Choice {
  double share = 0;
  bool groups = false;
};

/// Scores are sizes, by the roots of the inputs' mean squares where `squares` has them.
void prune(Matrix& matrix, std::span<const float> squares, const Choice& choice, core::ThreadPool& pool) {
  pool.run([&](int index, int threads) {
    const core::Range range = core::split_range(matrix.outputs, 1, index, threads);
    std::vector<float> scores(static_cast<size_t>(matrix.inputs));
    std::vector<int64_t> order;
    for (int64_t o = range.begin; o < range.end; ++o) {
      const std::span<float> row(matrix.row(o), static_cast<size_t>(matrix.inputs));
      for (size_t i = 0; i < row.size(); ++i)
        scores[i] = std::abs(row[i]) * (squares.empty() ? 1 : std::sqrt(squares[i]));
      if (!choice.groups) {
        clear_lowest(row, scores, static_cast<int64_t>(choice.share * static_cast<double>(matrix.inputs)), order);
        continue;
      }
      for (size_t i = 0; i < row.size(); i += kGroup)
        clear_lowest(row.subspan(i, kGroup), std::span(scores).subspan(i, kGroup), kGroup / 2, order);
    }
  });
}

Status sparse_pass(const PassUse& use, ModelEdit& edit, PassReport& report, bool weighed) {
  const Choice choice{.share = use.number("share"), .groups = use.word("pattern") == "two_of_four"};
  if (weighed && edit.statistics() == nullptr)
    return use.refuse("goes by what matrices read; --stats with a file of `lamina stats` expected");
  if (choice.groups && choice.share != 0.5) return use.refuse("pattern=two_of_four makes a share of 0.5");
  int64_t matrices = 0;
  int64_t zeros = 0;
  int64_t numbers = 0;
  for (size_t i = 0; i < edit.pieces().size(); ++i) {
    const Piece piece = edit.pieces()[i];
    if (!piece.matrix || piece.key == "router" || !use.selects(piece, edit)) continue;
    if (choice.groups && piece.inputs % kGroup != 0) {
      return use.refuse(
          fmt::format("tensor {} has {} inputs; a multiple of {} expected", piece.from.tensor, piece.inputs, kGroup));
    }
    const std::vector<float> squares = weighed ? edit.importance(piece) : std::vector<float>();
    if (weighed && squares.empty())
      return use.refuse(fmt::format("the statistics say nothing of what tensor {} reads", piece.from.tensor));
    LAMINA_ASSIGN(Matrix matrix, edit.read(piece));
    prune(matrix, squares, choice, edit.pool());
    zeros += std::ranges::count(matrix.numbers, 0.0F);
    numbers += std::ssize(matrix.numbers);
    ++matrices;
    LAMINA_CHECK_OK(edit.write(piece, matrix));
  }
  if (matrices == 0) return use.refuse("selects no matrix");
  report.summary = fmt::format("{} of {} numbers of {} matrices are 0 ({:.1f} %)", zeros, numbers, matrices,
                               100.0 * static_cast<double>(zeros) / static_cast<double>(numbers));
  report.details = {{"matrices", matrices}, {"numbers", numbers}, {"zeros", zeros}};
  report.notes.emplace_back("zeros take as many bytes and as much time as other numbers");
  return edit.commit();
}

}  // namespace

/// The sizes of numbers alone, row by row.
Status magnitude_pass(const PassUse& use, ModelEdit& edit, PassReport& report) {
  return sparse_pass(use, edit, report, false);
}

/// Sun et al. 2023 (arXiv 2306.11695), eq. 1: |W| times the norm of the input over calibration text, by output.
Status wanda_pass(const PassUse& use, ModelEdit& edit, PassReport& report) {
  return sparse_pass(use, edit, report, true);
}

}  // namespace lamina::compress
