#include <algorithm>
#include <cmath>
#include <numeric>

#include "compress/linear_algebra.h"
#include "compress/pass.h"
#include "compress/thin.h"
#include "models/structure.h"

namespace lamina::compress {

using core::Result;
using core::Status;

namespace {

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
      return use.refuse(
          fmt::format("the mlp of layer {} is of kind {}; gated_mlp or mlp expected", edit.origin(layer), part->kind));
    }
    Mlp mlp{.layer = layer};
    for (const std::string_view key : {"gate", "up", "down"}) {
      const Piece* piece = edit.find(layer, "mlp", key);
      if (piece == nullptr || !piece->matrix) continue;
      if (piece->from.rows.of != piece->outputs || piece->from.count > 0 || piece->factor_in)
        return use.refuse(fmt::format("tensor {} is not one whole matrix", piece->from.tensor));
      if (key == "down") {
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
  Status thin(const Mlp& mlp);
  std::vector<size_t> choose(const Matrix& down, std::span<const float> squares);

  const PassUse& use_;
  ModelEdit& edit_;
  PassReport& report_;
  int64_t left_ = 0;
  double lost_ = 0;  ///< squared length of the outputs' error, and of the outputs
  double whole_ = 0;
};

/// The units that add most, by the square of what they hold and the length of the column that reads them.
std::vector<size_t> Thin::choose(const Matrix& down, std::span<const float> squares) {
  std::vector<double> scores(squares.size());
  for (int64_t o = 0; o < down.outputs; ++o) {
    for (size_t i = 0; i < scores.size(); ++i) scores[i] += double{down.row(o)[i]} * double{down.row(o)[i]};
  }
  for (size_t i = 0; i < scores.size(); ++i) scores[i] *= double{squares[i]};
  const int64_t step = use_.integer("step");
  const auto wanted = static_cast<int64_t>(std::ceil((1 - use_.number("share")) * static_cast<double>(down.inputs)));
  left_ = std::min((std::max<int64_t>(wanted, 1) + step - 1) / step * step, down.inputs);
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, [&](size_t a, size_t b) { return scores[a] != scores[b] ? scores[a] > scores[b] : a < b; });
  order.resize(static_cast<size_t>(left_));
  std::ranges::sort(order);
  return order;
}

Status Thin::thin(const Mlp& mlp) {
  const std::vector<float> squares = edit_.importance(mlp.down);
  if (squares.empty())
    return use_.refuse(fmt::format("the statistics say nothing of what tensor {} reads", mlp.down.from.tensor));
  LAMINA_ASSIGN(const Matrix down, edit_.read(mlp.down));
  const std::vector<size_t> kept = choose(down, squares);
  if (std::ssize(kept) == down.inputs) return {};
  LAMINA_ASSIGN(const FewerColumns fewer, keep_best_columns(down, squares, gram_of(edit_, mlp.down), kept));
  lost_ += fewer.error;
  whole_ += fewer.whole;
  report_.details["mlps"].push_back({{"layer", edit_.origin(mlp.layer)},
                                     {"units", left_},
                                     {"lost", fewer.whole > 0 ? fewer.error / fewer.whole : 0},
                                     {"refit", fewer.refit}});
  for (const Piece& maker : mlp.makers) {
    if (const Piece* bias = edit_.bias_of(maker)) LAMINA_CHECK_OK(keep_rows(edit_, Piece(*bias), kept));
    LAMINA_CHECK_OK(keep_rows(edit_, maker, kept));
  }
  return keep_columns(edit_, mlp.down, fewer.matrix, kept);
}

Status Thin::run() {
  if (edit_.statistics() == nullptr)
    return use_.refuse("goes by what units hold; --stats with a file of `lamina stats` expected, best with --gram");
  LAMINA_ASSIGN(const std::vector<Mlp> mlps, list_mlps(use_, edit_));
  const auto has_mlp = [](const layers::Layer& layer) {
    return std::ranges::find(layer.parts, "mlp", &layers::Layer::Part::role) != layer.parts.end();
  };
  if (std::ranges::count_if(edit_.model().layers(), has_mlp) != std::ssize(mlps))
    return use_.refuse("the settings have one width for all MLPs; L*.mlp expected");
  const std::string key = setting_key(edit_, "mlp");
  if (!models::config_value(edit_.config(), edit_.model().files().container(), key).is_number())
    return use_.refuse("the settings have no one number for the width of MLPs");
  const int64_t before = mlps.front().down.inputs;
  for (const Mlp& mlp : mlps) LAMINA_CHECK_OK(thin(mlp));
  const double lost = whole_ > 0 ? lost_ / whole_ : 0;
  report_.summary = fmt::format("{} MLPs keep {} of {} units each; {:.2f} % of the square of their outputs is lost",
                                mlps.size(), left_, before, 100 * lost);
  report_.details["lost"] = lost;
  if (left_ == before) {
    report_.notes.emplace_back("units: that share is less than one step, so nothing goes");
    return {};
  }
  edit_.set_config(key, left_);
  return edit_.commit();
}

}  // namespace

/// After VTrans (Dutta et al. 2024, arXiv 2406.05276), whose masks on units are trained; here what a unit adds on
/// calibration text decides, and with Gram matrices the units that are left are fitted to do the work of all.
Status units_pass(const PassUse& use, ModelEdit& edit, PassReport& report) {
  return Thin(use, edit, report).run();
}

}  // namespace lamina::compress
