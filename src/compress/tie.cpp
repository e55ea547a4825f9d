#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "compress/linear_algebra.h"
#include "compress/pass.h"
#include "compress/thin.h"
#include "models/structure.h"

namespace lamina::compress {

using core::Result;
using core::Status;

namespace {

/// Kinds of parts whose matrices are each multiplied by themselves.
constexpr std::array<std::string_view, 3> kKinds{"attention", "gated_mlp", "mlp"};

/// Layers that use one set of matrices; the first of them keeps it under its names.
using Group = std::vector<int>;

class Tie {
 public:
  Tie(const PassUse& use, ModelEdit& edit, PassReport& report) : use_(use), edit_(edit), report_(report) {}

  Status run();

 private:
  Status choose_roles();
  Status choose_groups();
  Status check_kind(int layer, std::string_view role) const;
  int origin_of_set(size_t group) const;
  Status tie(size_t group, std::string_view role);
  Status tie_matrix(size_t group, const Piece& first);
  Result<Matrix> shared_matrix(size_t group, const std::vector<Matrix>& matrices) const;
  Status add_difference(const Piece& piece, const Matrix& own, const Matrix& shared);
  void say_shares();

  const PassUse& use_;
  ModelEdit& edit_;
  PassReport& report_;
  std::vector<int> layers_;
  std::vector<std::string> roles_;
  std::vector<Group> groups_;
  std::vector<std::pair<Piece, Matrix>> kept_sets_;
  std::vector<std::string> removed_;
  int64_t before_ = 0;
  int64_t after_ = 0;
  double kept_ = 0;  ///< the least share of a difference's energy that its factors keep
};

Status Tie::check_kind(int layer, std::string_view role) const {
  for (const layers::Layer::Part& part : edit_.model().layers()[static_cast<size_t>(layer)].parts) {
    if (part.role != role) continue;
    if (std::ranges::find(kKinds, std::string_view(part.kind)) != kKinds.end()) return {};
    return use_.refuse(fmt::format("the {} of layer {} is of kind {}; attention, gated_mlp or mlp expected", role,
                                   edit_.origin(layer), part.kind));
  }
  return use_.refuse(fmt::format("layer {} has no {}", edit_.origin(layer), role));
}

Status Tie::choose_roles() {
  layers_ = use_.layers(edit_);
  const std::string& part = use_.clause.where.part;
  roles_ = part.empty() ? std::vector<std::string>{"attn", "mlp"} : std::vector{part};
  for (const int layer : layers_) {
    for (const std::string& role : roles_) LAMINA_CHECK_OK(check_kind(layer, role));
  }
  return {};
}

/// Layer i of those selected uses set i mod unique, as the visits of a loop do.
Status Tie::choose_groups() {
  const auto unique = static_cast<size_t>(use_.integer("unique"));
  if (layers_.size() < 2 * unique) {
    return use_.refuse(
        fmt::format("{} layers for {} sets; at least two layers a set expected", layers_.size(), unique));
  }
  groups_.resize(unique);
  for (size_t i = 0; i < layers_.size(); ++i) groups_[i % unique].push_back(layers_[i]);
  return {};
}

/// The layer whose matrices a set begins as, where it is not a mean: "first" the loop's first round, "step" layers at
/// equal steps from the first to the last.
int Tie::origin_of_set(size_t group) const {
  if (use_.word("init") == "first" || groups_.size() == 1) return groups_[group].front();
  const double step = static_cast<double>(layers_.size() - 1) / static_cast<double>(groups_.size() - 1);
  return layers_[static_cast<size_t>(std::llround(static_cast<double>(group) * step))];
}

Result<Matrix> Tie::shared_matrix(size_t group, const std::vector<Matrix>& matrices) const {
  Matrix shared = matrices.front();
  for (size_t i = 0; i < shared.numbers.size(); ++i) {
    double sum = 0;
    for (const Matrix& matrix : matrices) sum += double{matrix.numbers[i]};
    shared.numbers[i] = static_cast<float>(sum / static_cast<double>(groups_[group].size()));
  }
  return shared;
}

/// The factors of what the layer's own matrix was beside the shared one.
Status Tie::add_difference(const Piece& piece, const Matrix& own, const Matrix& shared) {
  const int64_t rank = use_.integer("rank");
  if (rank == 0) return {};
  if (rank * (piece.outputs + piece.inputs) >= piece.outputs * piece.inputs) {
    return use_.refuse(
        fmt::format("factors of rank {} would have as many numbers as tensor {}", rank, piece.from.tensor));
  }
  Matrix difference = own;
  for (size_t i = 0; i < difference.numbers.size(); ++i) difference.numbers[i] -= shared.numbers[i];
  if (std::ranges::all_of(difference.numbers, [](float x) { return x == 0; })) return {};
  std::vector<double> weights;
  for (const float square : edit_.importance(piece)) weights.push_back(std::sqrt(double{square}));
  LAMINA_ASSIGN(const Factors factors, factorize(difference, weights, gram_of(edit_, piece), {.rank = rank}));
  kept_ = std::min(kept_, factors.kept);
  after_ += rank * (piece.outputs + piece.inputs);
  const std::string name = edit_.model().weights().file_name(piece.from.tensor);
  const codec::Codec* codec = edit_.codec_of(piece);
  LAMINA_CHECK_OK(edit_.add(name + std::string(layers::kFactorIn), {rank, piece.inputs}, factors.first.numbers, codec));
  return edit_.add(name + std::string(layers::kFactorOut), {piece.outputs, rank}, factors.second.numbers, codec);
}

Status Tie::tie_matrix(size_t group, const Piece& first) {
  std::vector<Piece> pieces;
  std::vector<Matrix> matrices;
  for (const int layer : groups_[group]) {
    const auto found = std::ranges::find_if(edit_.pieces(), [&](const Piece& piece) {
      return piece.matrix && piece.layer == layer && piece.role == first.role && piece.key == first.key;
    });
    const bool fits = found != edit_.pieces().end() && found->outputs == first.outputs && found->inputs == first.inputs;
    if (!fits) {
      return use_.refuse(fmt::format("tensor {} has {} x {} numbers; layer {} has no such matrix", first.from.tensor,
                                     first.outputs, first.inputs, edit_.origin(layer)));
    }
    if (found->from.rows.of != found->outputs || edit_.bias_of(*found) != nullptr) {
      if (found->from.rows.of != found->outputs)
        return use_.refuse(fmt::format("tensor {} holds more than one matrix", found->from.tensor));
      if (use_.integer("rank") == 0)
        return use_.refuse(fmt::format("tensor {} has a bias of its own; a rank expected", found->from.tensor));
    }
    pieces.push_back(*found);
    LAMINA_ASSIGN(Matrix matrix, edit_.read(*found));
    matrices.push_back(std::move(matrix));
  }
  const int64_t size = first.outputs * first.inputs;
  before_ += size * std::ssize(pieces);
  after_ += size;
  Matrix shared;
  if (use_.word("init") == "average") {
    LAMINA_ASSIGN(shared, shared_matrix(group, matrices));
  } else {
    const auto source = std::ranges::find_if(edit_.pieces(), [&](const Piece& piece) {
      return piece.matrix && piece.layer == origin_of_set(group) && piece.role == first.role && piece.key == first.key;
    });
    if (source == edit_.pieces().end()) return use_.refuse("layers at equal steps differ in their matrices");
    LAMINA_ASSIGN(shared, edit_.read(*source));
  }
  for (size_t i = 0; i < pieces.size(); ++i) LAMINA_CHECK_OK(add_difference(pieces[i], matrices[i], shared));
  kept_sets_.emplace_back(pieces.front(), std::move(shared));
  for (size_t i = 1; i < pieces.size(); ++i)
    removed_.push_back(edit_.model().weights().file_name(pieces[i].from.tensor));
  return {};
}

Status Tie::tie(size_t group, std::string_view role) {
  const std::vector<Piece> all(edit_.pieces().begin(), edit_.pieces().end());
  for (const Piece& piece : all) {
    if (!piece.matrix || piece.layer != groups_[group].front() || piece.role != role) continue;
    if (piece.from.tensor.ends_with(layers::kFactorIn) || piece.from.tensor.ends_with(layers::kFactorOut))
      return use_.refuse(fmt::format("tensor {} is a factor already", piece.from.tensor));
    LAMINA_CHECK_OK(tie_matrix(group, piece));
  }
  return {};
}

void Tie::say_shares() {
  for (const std::string& role : roles_) {
    nlohmann::json shares = nlohmann::json::array();
    for (int layer = 0; layer < static_cast<int>(edit_.model().layers().size()); ++layer) shares.push_back(layer);
    for (const Group& group : groups_) {
      for (const int layer : group) shares[static_cast<size_t>(layer)] = group.front();
    }
    edit_.set_config("lamina.shares." + role, std::move(shares));
  }
}

Status Tie::run() {
  const format::ModelFiles& files = edit_.model().files();
  LAMINA_ASSIGN(const models::Structure said,
                models::read_structure(files.container(), files.config(), files.path().string()));
  LAMINA_CHECK_OK(choose_roles());
  for (const std::string& role : roles_) {
    if (said.shares.contains(role)) return use_.refuse("layers of this model share matrices already");
  }
  LAMINA_CHECK_OK(choose_groups());
  kept_ = 1;
  for (size_t group = 0; group < groups_.size(); ++group) {
    for (const std::string& role : roles_) LAMINA_CHECK_OK(tie(group, role));
  }
  for (const auto& [piece, shared] : kept_sets_) LAMINA_CHECK_OK(edit_.write(piece, shared));
  for (const std::string& name : removed_) LAMINA_CHECK_OK(edit_.remove(name));
  say_shares();
  report_.summary =
      fmt::format("{} layers use {} sets of matrices; {} of {} numbers are left ({:.1f} %)", layers_.size(),
                  groups_.size(), after_, before_, 100.0 * static_cast<double>(after_) / static_cast<double>(before_));
  report_.details = {{"layers", layers_.size()}, {"sets", groups_.size()}, {"least_energy_kept", kept_}};
  report_.notes.emplace_back("matrices that layers share are read by this program alone");
  return edit_.commit();
}

}  // namespace

/// Bae et al. 2024 (arXiv 2410.20672), section 3: without the training that follows there.
Status tie_pass(const PassUse& use, ModelEdit& edit, PassReport& report) {
  return Tie(use, edit, report).run();
}

}  // namespace lamina::compress
