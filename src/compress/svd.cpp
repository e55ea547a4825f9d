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

/// What two factors leave of a matrix.
Matrix rest_of(const Matrix& matrix, const Factors& factors, core::ThreadPool& pool) {
  Matrix rest = matrix;
  pool.run([&](int index, int threads) {
    const core::Range mine = core::split_range(matrix.outputs, 1, index, threads);
    std::vector<double> row(static_cast<size_t>(matrix.inputs));
    for (int64_t o = mine.begin; o < mine.end; ++o) {
      std::ranges::copy_n(matrix.row(o), matrix.inputs, row.begin());
      for (int64_t r = 0; r < factors.first.outputs; ++r) {
        const double scale = factors.second.row(o)[r];
        const float* first = factors.first.row(r);
        for (size_t i = 0; i < row.size(); ++i) row[i] -= scale * double{first[i]};
      }
      std::ranges::transform(row, rest.row(o), [](double x) { return static_cast<float>(x); });
    }
  });
  return rest;
}

/// Writes factors beside a matrix, with their inputs' statistics.
Status add_factors(const Piece& piece, const Factors& factors, ModelEdit& edit) {
  const std::string name = edit.model().weights().file_name(piece.from.tensor);
  const int64_t rank = factors.first.outputs;
  const codec::Codec* codec = edit.codec_of(piece);
  LAMINA_CHECK_OK(edit.add(name + std::string(layers::kFactorIn), {rank, piece.inputs}, factors.first.numbers, codec));
  LAMINA_CHECK_OK(
      edit.add(name + std::string(layers::kFactorOut), {piece.outputs, rank}, factors.second.numbers, codec));
  stats::Statistics* statistics = edit.statistics();
  const stats::MatrixStats* found = statistics == nullptr ? nullptr : statistics->find(name);
  if (found == nullptr) return {};
  stats::MatrixStats inputs = *found;
  inputs.tensor = name + std::string(layers::kFactorIn);
  statistics->matrices.push_back(std::move(inputs));
  return {};
}

Status factor(const PassUse& use, const Piece& piece, ModelEdit& edit, Sums& sums, PassReport& report) {
  LAMINA_ASSIGN(const Matrix matrix, edit.read(piece));
  const int64_t count = piece.outputs * piece.inputs;
  sums.before += count;
  const std::vector<double> weights = weights_of(piece, edit);
  const stats::Gram* gram = gram_of(edit, piece);
  LAMINA_ASSIGN(const Factors factors,
                factorize(matrix, weights, gram, {.rank = use.integer("rank"), .energy = use.number("energy")}));
  const int64_t rank = factors.first.outputs;
  const bool keep = use.word("rest") == "keep";
  const int64_t numbers = rank * (piece.outputs + piece.inputs);
  const bool factored = keep ? rank < std::min(piece.outputs, piece.inputs) : numbers < count;
  report.details["matrices"].push_back({{"tensor", piece.from.tensor},
                                        {"rank", rank},
                                        {"energy", factors.kept},
                                        {"weighed", gram != nullptr   ? "gram"
                                                    : weights.empty() ? "no"
                                                                      : "squares"},
                                        {"factored", factored}});
  if (!factored) {
    ++sums.kept;
    sums.after += count;
    return {};
  }
  ++sums.factored;
  sums.after += numbers + (keep ? count : 0);
  LAMINA_CHECK_OK(add_factors(piece, factors, edit));
  if (keep) return edit.write(piece, rest_of(matrix, factors, edit.pool()));
  return edit.remove(edit.model().weights().file_name(piece.from.tensor));
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
  const bool keep = use.word("rest") == "keep";
  report.summary =
      fmt::format("{} matrices {}, {} stay whole; {} of {} numbers are left ({:.1f} %)", sums.factored,
                  keep ? "got two factors beside what these leave of them" : "became two factors", sums.kept,
                  sums.after, sums.before, 100.0 * static_cast<double>(sums.after) / static_cast<double>(sums.before));
  if (sums.kept > 0)
    report.notes.push_back(
        fmt::format("{} matrices stay whole: {}", sums.kept,
                    keep ? "that rank is not below their own" : "factors of that rank would have more numbers"));
  if (sums.factored == 0) return {};
  report.notes.emplace_back("factors of matrices are read by this program alone");
  return edit.commit();
}

}  // namespace lamina::compress
