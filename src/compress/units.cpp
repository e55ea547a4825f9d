#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <optional>

#include "compress/calibration.h"
#include "compress/pass.h"
#include "models/resolver.h"
#include "models/structure.h"

namespace lamina::compress {

using core::Result;
using core::Status;
using nlohmann::json;

namespace {

constexpr int64_t kWindow = 256;

/// Sums and squares of what one matrix reads, by input.
struct Moments {
  std::vector<double> sums;
  std::vector<double> squares;
  int64_t rows = 0;

  double mean(size_t i) const { return sums[i] / static_cast<double>(rows); }
  double variance(size_t i) const {
    return std::max(0.0, squares[i] / static_cast<double>(rows) - mean(i) * mean(i));
  }
};

/// Moments of the inputs of some matrices.
class Collect : public layers::InputRecorder {
 public:
  void add(const layers::Linear* linear) {
    const auto size = static_cast<size_t>(linear->inputs());
    moments_[linear] = {.sums = std::vector<double>(size), .squares = std::vector<double>(size)};
  }
  void record(std::span<const layers::Linear* const> readers, const layers::InputRows& rows) override {
    for (const layers::Linear* linear : readers) {
      const auto found = moments_.find(linear);
      if (found == moments_.end()) continue;
      Moments& own = found->second;
      own.rows += rows.count;
      for (int64_t r = 0; r < rows.count; ++r) {
        const float* x = rows.data + r * rows.stride;
        for (size_t i = 0; i < own.sums.size(); ++i) {
          own.sums[i] += double{x[i]};
          own.squares[i] += double{x[i]} * double{x[i]};
        }
      }
    }
  }
  /// By the matrices' tensors.
  std::map<std::string, Moments> finish() const {
    std::map<std::string, Moments> out;
    for (const auto& [linear, moments] : moments_) out[linear->name()] = moments;
    return out;
  }

 private:
  std::map<const layers::Linear*, Moments> moments_;
};

/// The MLP of a layer: what makes its units, and what reads them.
struct Mlp {
  int layer = 0;
  std::vector<Piece> makers{};  ///< gate and up, or up alone
  Piece down{};
};

Result<std::vector<Mlp>> list_mlps(const PassUse& use, const ModelEdit& edit) {
  std::vector<Mlp> out;
  for (const int layer : use.layers(edit)) {
    const auto& parts = edit.model().layers()[static_cast<size_t>(layer)].parts;
    const auto part = std::ranges::find(parts, "mlp", &layers::Layer::Part::role);
    if (part == parts.end()) continue;
    if (part->kind != "gated_mlp" && part->kind != "mlp") {
      return use.refuse(fmt::format("the mlp of layer {} is of kind {}; gated_mlp or mlp expected", edit.origin(layer),
                                    part->kind));
    }
    Mlp mlp{.layer = layer};
    for (const char* key : {"gate", "up", "down"}) {
      const Piece* piece = edit.find(layer, "mlp", key);
      if (piece == nullptr) continue;
      if (!piece->matrix || piece->from.rows.of != piece->outputs || piece->factor_in) {
        return use.refuse(fmt::format("tensor {} is no whole matrix", piece->from.tensor));
      }
      if (std::string_view(key) == "down") {
        mlp.down = *piece;
      } else {
        mlp.makers.push_back(*piece);
      }
    }
    if (mlp.makers.empty() || mlp.down.inputs == 0)
      return use.refuse(fmt::format("the mlp of layer {} has no matrix \"up\" or \"down\"", edit.origin(layer)));
    out.push_back(std::move(mlp));
  }
  if (out.empty()) return use.refuse("selects no MLP");
  return out;
}

class Thin {
 public:
  Thin(const PassUse& use, ModelEdit& edit, PassReport& report) : use_(use), edit_(edit), report_(report) {}
  Status run();

 private:
  Status thin(const Mlp& mlp, const Moments& moments);
  Status keep_rows(const Piece& piece, std::span<const size_t> kept);
  Status keep_columns(const Piece& piece, const Matrix& matrix, std::span<const size_t> kept);
  Status add_bias(const Mlp& mlp, const std::vector<double>& bias);
  Status say_sizes(std::span<const Mlp> mlps);
  Status replace(const Piece& piece, Matrix matrix);

  const PassUse& use_;
  ModelEdit& edit_;
  PassReport& report_;
  models::ResolvedModel resolved_;
  std::map<int, int64_t> sizes_;  ///< units that are left, by layer
  double lost_ = 0;               ///< expected squared length of what is lost, by that of what units add
  double whole_ = 0;
};

/// Gives a tensor another shape; its inputs-first storage stays.
Status Thin::replace(const Piece& piece, Matrix matrix) {
  std::vector<int64_t> shape{matrix.outputs, matrix.inputs};
  if (piece.to.rows.input_first) {
    Matrix turned{.outputs = matrix.inputs, .inputs = matrix.outputs, .numbers = matrix.numbers};
    for (int64_t o = 0; o < matrix.outputs; ++o) {
      for (int64_t i = 0; i < matrix.inputs; ++i) turned.row(i)[o] = matrix.row(o)[i];
    }
    matrix = std::move(turned);
    std::swap(shape[0], shape[1]);
  }
  if (piece.inputs == 0) shape = {matrix.outputs};
  const codec::Codec* codec = piece.inputs == 0 ? nullptr : edit_.codec_of(piece);
  return edit_.add(edit_.model().weights().file_name(piece.from.tensor), shape, matrix.numbers, codec);
}

Status Thin::keep_rows(const Piece& piece, std::span<const size_t> kept) {
  LAMINA_ASSIGN(const Matrix before, edit_.read(piece));
  Matrix after{.outputs = std::ssize(kept), .inputs = before.inputs};
  for (const size_t row : kept) {
    const float* from = before.row(static_cast<int64_t>(row));
    after.numbers.insert(after.numbers.end(), from, from + before.inputs);
  }
  return replace(piece, std::move(after));
}

Status Thin::keep_columns(const Piece& piece, const Matrix& matrix, std::span<const size_t> kept) {
  Matrix after{.outputs = matrix.outputs, .inputs = std::ssize(kept)};
  for (int64_t o = 0; o < matrix.outputs; ++o) {
    for (const size_t column : kept) after.numbers.push_back(matrix.row(o)[column]);
  }
  stats::Statistics* statistics = edit_.statistics();
  const std::string name = edit_.model().weights().file_name(piece.from.tensor);
  std::optional<stats::MatrixStats> inputs;
  if (const stats::MatrixStats* found = statistics != nullptr ? statistics->find(name) : nullptr) {
    inputs = stats::MatrixStats{.tensor = name, .inputs = after.inputs, .squares = {}, .rows = found->rows};
    for (const size_t column : kept) inputs->squares.push_back(found->squares[column]);
  }
  LAMINA_CHECK_OK(replace(piece, std::move(after)));
  if (inputs) statistics->matrices.push_back(std::move(*inputs));
  return {};
}

/// What the units that go add on average.
Status Thin::add_bias(const Mlp& mlp, const std::vector<double>& bias) {
  Matrix sum{.outputs = std::ssize(bias), .inputs = 1, .numbers = std::vector<float>(bias.begin(), bias.end())};
  if (const Piece* own = edit_.bias_of(mlp.down)) {
    const Piece piece = *own;
    LAMINA_ASSIGN(const Matrix before, edit_.read(piece));
    for (size_t i = 0; i < bias.size(); ++i) sum.numbers[i] += before.numbers[i];
    return edit_.write(piece, sum);
  }
  const json down = resolved_.layers[static_cast<size_t>(mlp.layer)].value(json::json_pointer("/mlp/down/bias"), json());
  if (!down.is_string()) return use_.refuse("the family has no bias for what its MLPs add; means=leave expected");
  return edit_.add(down.get<std::string>(), {sum.outputs}, sum.numbers);
}

/// Takes the units out whose variance, by the length of what they add, is least.
Status Thin::thin(const Mlp& mlp, const Moments& moments) {
  LAMINA_ASSIGN(const Matrix down, edit_.read(mlp.down));
  const auto units = static_cast<size_t>(mlp.down.inputs);
  const bool means = use_.word("means") == "bias";
  std::vector<double> scores(units);
  for (int64_t o = 0; o < down.outputs; ++o) {
    for (size_t i = 0; i < units; ++i) scores[i] += double{down.row(o)[i]} * double{down.row(o)[i]};
  }
  for (size_t i = 0; i < units; ++i) {
    const double square = moments.squares[i] / static_cast<double>(moments.rows);
    whole_ += scores[i] * square;
    scores[i] *= means ? moments.variance(i) : square;
  }
  const int64_t step = use_.integer("step");
  const auto wanted = static_cast<int64_t>(std::ceil((1 - use_.number("share")) * static_cast<double>(units)));
  const auto left = std::min<int64_t>((std::max<int64_t>(wanted, 1) + step - 1) / step * step, mlp.down.inputs);
  std::vector<size_t> order(units);
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, std::ranges::greater(), [&](size_t i) { return scores[i]; });
  std::vector<size_t> kept(order.begin(), order.begin() + left);
  std::ranges::sort(kept);
  std::vector<double> bias(static_cast<size_t>(down.outputs));
  for (size_t at = static_cast<size_t>(left); at < units; ++at) {
    lost_ += scores[order[at]];
    for (int64_t o = 0; o < down.outputs; ++o)
      bias[static_cast<size_t>(o)] += moments.mean(order[at]) * double{down.row(o)[order[at]]};
  }
  sizes_[mlp.layer] = left;
  if (std::ssize(kept) == mlp.down.inputs) return {};
  for (const Piece& maker : mlp.makers) {
    const Piece* own = edit_.bias_of(maker);
    if (own != nullptr) LAMINA_CHECK_OK(keep_rows(Piece(*own), kept));
    LAMINA_CHECK_OK(keep_rows(maker, kept));
  }
  if (means) LAMINA_CHECK_OK(add_bias(mlp, bias));
  return keep_columns(mlp.down, down, kept);
}

/// One number where all layers have as many units, else a list.
Status Thin::say_sizes(std::span<const Mlp> mlps) {
  const format::Container container = edit_.model().files().container();
  const json definition = edit_.architecture().data["settings"].value("mlp", json());
  const json keys = definition.is_object() ? definition.value(models::container_name(container), json()) : json();
  for (json key : keys.is_array() ? keys : json::array({keys})) {
    if (!key.is_string()) continue;
    auto name = key.get<std::string>();
    models::replace_all(name, "{arch}", edit_.config().value("general.architecture", ""));
    const json before = models::config_value(edit_.config(), container, name);
    if (before.is_null()) continue;
    json list = json::array();
    for (size_t i = 0; i < edit_.model().layers().size(); ++i) {
      const auto found = sizes_.find(static_cast<int>(i));
      list.push_back(found != sizes_.end() ? json(found->second) : before.is_array() ? before[i] : before);
    }
    const bool alike = std::ranges::all_of(list, [&](const json& one) { return one == list[0]; });
    edit_.set_config(name, alike ? list[0] : list);
    return {};
  }
  return use_.refuse(fmt::format("the settings do not say how many units the {} MLPs have", mlps.size()));
}

Status Thin::run() {
  if (edit_.calibration().empty()) return use_.refuse("measures units on text; --calibration expected");
  LAMINA_ASSIGN(resolved_, models::resolve(edit_.architecture(), edit_.model().files()));
  LAMINA_ASSIGN(const std::vector<Mlp> mlps, list_mlps(use_, edit_));
  Collect collect;
  LAMINA_CHECK_OK(run_calibration(edit_, kWindow, [&](const models::Model& model) -> Result<Watch> {
    for (const auto& linear : model.weights().linears()) {
      const bool wanted =
          std::ranges::any_of(mlps, [&](const Mlp& mlp) { return mlp.down.from.tensor == linear->name(); });
      if (wanted) collect.add(linear.get());
    }
    return Watch{.recorder = &collect};
  }));
  const std::map<std::string, Moments> moments = collect.finish();
  for (const Mlp& mlp : mlps) {
    const auto found = moments.find(mlp.down.from.tensor);
    if (found == moments.end() || found->second.rows == 0)
      return use_.refuse(fmt::format("tensor {} is no matrix that runs", mlp.down.from.tensor));
    LAMINA_CHECK_OK(thin(mlp, found->second));
  }
  LAMINA_CHECK_OK(say_sizes(mlps));
  report_.summary = fmt::format("{} MLPs keep {} of {} units each, {:.2f} % of what units add is lost", mlps.size(),
                                sizes_.begin()->second, mlps.front().down.inputs, whole_ > 0 ? 100 * lost_ / whole_ : 0);
  report_.details = {{"mlps", mlps.size()}, {"units", sizes_.begin()->second}, {"lost", whole_ > 0 ? lost_ / whole_ : 0}};
  return edit_.commit();
}

}  // namespace

/// The criterion of VTrans (Dutta et al. 2024, arXiv 2406.05276), mean and variance of a unit's activation, without its
/// training: what hardly varies is a bias.
Status units_pass(const PassUse& use, ModelEdit& edit, PassReport& report) {
  return Thin(use, edit, report).run();
}

}  // namespace lamina::compress
