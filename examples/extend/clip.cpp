#include <cmath>
#include <span>

#include "compress/added_passes.h"

namespace lamina::extend::clip {

using compress::Matrix;
using compress::Piece;

namespace {

/// How many numbers of the row were too large.
int64_t clip_row(std::span<float> row, double deviations) {
  double squares = 0;
  for (const float x : row) squares += double{x} * double{x};
  const auto most = static_cast<float>(deviations * std::sqrt(squares / static_cast<double>(row.size())));
  int64_t clipped = 0;
  for (float& x : row) {
    if (std::abs(x) <= most) continue;
    x = std::copysign(most, x);
    ++clipped;
  }
  return clipped;
}

}  // namespace

core::Status apply(const compress::PassUse& use, compress::ModelEdit& edit, compress::PassReport& report) {
  const double deviations = use.number("deviations");
  int64_t matrices = 0;
  int64_t numbers = 0;
  int64_t clipped = 0;
  for (const Piece& piece : edit.pieces()) {
    // A router's few numbers decide which experts a token goes to.
    if (!piece.matrix || piece.key == "router" || !use.selects(piece, edit)) continue;
    LAMINA_ASSIGN(Matrix matrix, edit.read(piece));
    int64_t changed = 0;
    for (int64_t output = 0; output < matrix.outputs; ++output)
      changed += clip_row({matrix.row(output), static_cast<size_t>(matrix.inputs)}, deviations);
    if (changed > 0) LAMINA_CHECK_OK(edit.write(piece, matrix));
    ++matrices;
    numbers += matrix.outputs * matrix.inputs;
    clipped += changed;
  }
  if (matrices == 0) return use.refuse("selects no matrix");
  report.summary = fmt::format("{} of {} numbers of {} matrices were drawn back ({:.3f} %)", clipped, numbers, matrices,
                               100.0 * static_cast<double>(clipped) / static_cast<double>(numbers));
  report.details = {{"matrices", matrices}, {"numbers", numbers}, {"clipped", clipped}};
  return edit.commit();
}

}  // namespace lamina::extend::clip
