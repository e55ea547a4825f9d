#include <algorithm>
#include <cmath>
#include <map>

#include "compress/linear_algebra.h"
#include "compress/pass.h"
#include "compress/thin.h"

namespace lamina::compress {

using core::Result;
using core::Status;

namespace {

/// Matrices with a tensor of their own, which the products of factors can stand for.
Result<std::vector<Piece>> list_matrices(const PassUse& use, const ModelEdit& edit, PassReport& report) {
  std::map<std::string, int> users;
  for (const Piece& piece : edit.pieces()) ++users[piece.from.tensor];
  std::vector<Piece> out;
  int experts = 0;
  int shared = 0;
  for (const Piece& piece : edit.pieces()) {
    if (!piece.matrix || piece.key == "router" || !use.selects(piece, edit)) continue;
    const std::string& name = piece.from.tensor;
    const bool factor = name.ends_with(layers::kFactorIn) || name.ends_with(layers::kFactorOut);
    if (factor) return use.refuse(fmt::format("tensor {} is a factor already", name));
    const auto alike = [&](const Piece& other) {
      return other.matrix && other.layer == piece.layer && other.role == piece.role && other.key == piece.key;
    };
    if (piece.from.count > 0 || std::ranges::count_if(edit.pieces(), alike) > 1) {
      ++experts;
    } else if (users[name] > 1 || piece.from.rows.of != piece.outputs) {
      ++shared;
    } else {
      out.push_back(piece);
    }
  }
  if (out.empty()) return use.refuse("selects no matrix that two factors can stand for");
  if (experts > 0) report.notes.push_back(fmt::format("{} matrices of experts or of latent heads stay whole", experts));
  if (shared > 0) report.notes.push_back(fmt::format("{} matrices that share a tensor with others stay whole", shared));
  return out;
}

/// Root mean squares of the matrix's inputs; empty where nothing is known.
std::vector<double> weights_of(const Piece& piece, const ModelEdit& edit) {
  std::vector<double> out;
  for (const float square : edit.importance(piece)) out.push_back(std::sqrt(double{square}));
  return out;
}

struct Sums {
  int64_t before = 0;
  int64_t after = 0;
  int factored = 0;
  int kept = 0;
};

Status factor(const PassUse& use, const Piece& piece, ModelEdit& edit, Sums& sums, PassReport& report) {
  LAMINA_ASSIGN(const Matrix matrix, edit.read(piece));
  const int64_t count = piece.outputs * piece.inputs;
  sums.before += count;
  const std::vector<double> weights = weights_of(piece, edit);
  const stats::Gram* gram = gram_of(edit, piece);
  LAMINA_ASSIGN(const Factors factors,
                factorize(matrix, weights, gram, {.rank = use.integer("rank"), .energy = use.number("energy")}));
  const int64_t rank = factors.first.outputs;
  const bool saves = rank * (piece.outputs + piece.inputs) < count;
  report.details["matrices"].push_back({{"tensor", piece.from.tensor},
                                        {"rank", rank},
                                        {"energy", factors.kept},
                                        {"weighed", gram != nullptr   ? "gram"
                                                    : weights.empty() ? "no"
                                                                      : "squares"},
                                        {"factored", saves}});
  if (!saves) {
    ++sums.kept;
    sums.after += count;
    return {};
  }
  ++sums.factored;
  sums.after += rank * (piece.outputs + piece.inputs);
  const std::string name = edit.model().weights().file_name(piece.from.tensor);
  const codec::Codec* codec = edit.codec_of(piece);
  LAMINA_CHECK_OK(edit.add(name + std::string(layers::kFactorIn), {rank, piece.inputs}, factors.first.numbers, codec));
  LAMINA_CHECK_OK(
      edit.add(name + std::string(layers::kFactorOut), {piece.outputs, rank}, factors.second.numbers, codec));
  if (stats::Statistics* statistics = edit.statistics(); statistics != nullptr) {
    if (const stats::MatrixStats* found = statistics->find(name)) {
      stats::MatrixStats inputs = *found;
      inputs.tensor = name + std::string(layers::kFactorIn);
      statistics->matrices.push_back(std::move(inputs));
    }
  }
  return edit.remove(name);
}

}  // namespace

/// Kaushal et al. 2023, LORD (arXiv 2309.14021): without training, each matrix by itself; the least error of its
/// outputs for inputs with the Gram matrix or the mean squares that statistics have.
Status svd_pass(const PassUse& use, ModelEdit& edit, PassReport& report) {
  const bool rank = use.integer("rank") > 0;
  const bool energy = use.number("energy") > 0;
  if (rank == energy) return use.refuse("one of rank= and energy= expected");
  LAMINA_ASSIGN(const std::vector<Piece> matrices, list_matrices(use, edit, report));
  Sums sums;
  for (const Piece& piece : matrices) LAMINA_CHECK_OK(factor(use, piece, edit, sums, report));
  report.summary = fmt::format("{} matrices became two factors, {} stay whole; {} of {} numbers are left ({:.1f} %)",
                               sums.factored, sums.kept, sums.after, sums.before,
                               100.0 * static_cast<double>(sums.after) / static_cast<double>(sums.before));
  if (sums.kept > 0)
    report.notes.push_back(
        fmt::format("{} matrices stay whole: factors of that rank would have more numbers", sums.kept));
  if (sums.factored == 0) return {};
  report.notes.emplace_back("factors of matrices are read by this program alone");
  return edit.commit();
}

}  // namespace lamina::compress
