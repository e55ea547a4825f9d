#include <algorithm>
#include <optional>

#include "compress/calibration.h"
#include "compress/linear_algebra.h"
#include "compress/pass.h"
#include "compress/take_out.h"
#include "run/route_cost.h"

namespace lamina::compress {

using core::Result;
using core::Status;
using nlohmann::json;

namespace {

constexpr int64_t kWindow = 256;

/// What goes: parts of one layer, side by side; and the matrix before them that is to do their work.
struct Fold {
  int layer = 0;
  std::set<std::string> roles{};
  const Piece* carrier = nullptr;
};

/// Sums what the carrier reads, and what the parts that go add to the stream, row by row.
class Sums : public layers::InputRecorder, public run::BorderHook {
 public:
  Sums(const Fold& fold, const layers::Linear* carrier, int64_t hidden)
      : fold_(fold), carrier_(carrier), products_(carrier->inputs(), hidden) {}

  void record(std::span<const layers::Linear* const> readers, const layers::InputRows& rows) override {
    if (std::ranges::find(readers, carrier_) == readers.end()) return;
    read_.assign(rows.data, rows.data + rows.count * rows.stride);
  }
  void at_border(const run::Border& /*border*/, float* /*stream*/) override {}
  void before_part(const run::Border& border, std::string_view role, const float* stream) override {
    if (!goes(border, role) || !before_.empty()) return;
    before_.assign(stream, stream + border.rows * border.hidden);
  }
  void after_part(const run::Border& border, std::string_view role, const float* stream) override {
    if (!goes(border, role)) return;
    if (++seen_ < fold_.roles.size()) return;
    for (size_t i = 0; i < before_.size(); ++i) before_[i] = stream[i] - before_[i];
    products_.add(read_, before_, border.rows);
    before_.clear();
    seen_ = 0;
  }
  const Regression& products() const { return products_; }

 private:
  bool goes(const run::Border& border, std::string_view role) const {
    return border.layer == fold_.layer && fold_.roles.contains(std::string(role));
  }

  const Fold& fold_;
  const layers::Linear* carrier_;
  Regression products_;
  std::vector<float> read_;
  std::vector<float> before_;
  size_t seen_ = 0;
};

/// Whether what the part's last matrix makes is added to the stream as it is.
bool adds_plainly(const json& layer, const std::string& role) {
  const json part = layer.value(role, json::object());
  const json multiplier = part.value("multiplier", json());
  return layer.value("residual", "") == "sequential" && part.value("post_norm", json()).is_null() &&
         part.value("stream_norm", json()).is_null() && (!multiplier.is_number() || multiplier == 1.0);
}

/// The last matrix of the part that runs just before.
Result<const Piece*> find_carrier(const PassUse& use, const ModelEdit& edit, int layer, const std::string& first) {
  LAMINA_ASSIGN(const models::ResolvedModel resolved, models::resolve(edit.architecture(), edit.model().files()));
  int at = layer;
  std::string role;
  const auto& parts = edit.model().layers()[static_cast<size_t>(layer)].parts;
  for (const layers::Layer::Part& part : parts) {
    if (part.role == first) break;
    role = part.role;
  }
  if (role.empty()) {
    if (--at < 0) return use.refuse("the first layer has none before it that could do its work");
    role = edit.model().layers()[static_cast<size_t>(at)].parts.back().role;
  }
  const Piece* carrier = edit.find(at, role, role == "mlp" ? "down" : "o");
  const bool plain = carrier != nullptr && carrier->matrix && carrier->from.count == 0 && !carrier->factor_in &&
                     adds_plainly(resolved.layers[static_cast<size_t>(at)], role);
  if (plain) return carrier;
  return use.refuse(fmt::format("the {} of layer {}, which runs before, does not add one matrix's product to the stream",
                                role, edit.origin(at)));
}

Status fold_one(const PassUse& use, const Fold& fold, ModelEdit& edit, PassReport& report) {
  const std::string name = fold.carrier->from.tensor;
  std::optional<Sums> sums;
  LAMINA_CHECK_OK(run_calibration(edit, kWindow, [&](const models::Model& model) -> Result<Watch> {
    const auto all = model.weights().linears();
    const auto found = std::ranges::find(all, name, &layers::Linear::name);
    if (found == all.end()) return use.refuse(fmt::format("tensor {} is no matrix that runs", name));
    sums.emplace(fold, found->get(), model.hidden());
    return Watch{.recorder = &*sums, .hook = &*sums};
  }));
  LAMINA_ASSIGN(const Regression::Fit fit, sums->products().solve(use.number("ridge")));
  LAMINA_ASSIGN(Matrix matrix, edit.read(*fold.carrier));
  for (int64_t o = 0; o < matrix.outputs; ++o) {
    for (int64_t i = 0; i < matrix.inputs; ++i)
      matrix.row(o)[i] += static_cast<float>(fit.coefficients[static_cast<size_t>(i * matrix.outputs + o)]);
  }
  LAMINA_CHECK_OK(edit.write(*fold.carrier, matrix));
  std::string roles;
  for (const std::string& role : fold.roles) roles += (roles.empty() ? "" : "+") + role;
  report.details["folds"].push_back({{"layer", edit.origin(fold.layer)},
                                     {"parts", roles},
                                     {"into", name},
                                     {"explained", fit.explained}});
  std::vector<std::set<std::string>> parts(edit.model().layers().size());
  parts[static_cast<size_t>(fold.layer)] = fold.roles;
  return take_out(edit, parts, report.notes);
}

}  // namespace

/// After FuseGPT (arXiv 2411.14507), which trains what it folds; here in closed form: the matrix before the parts that
/// go is given the least-squares fit of what they add, from what it reads, W + D A^T (A A^T + ridge)^-1. Layers go one
/// by one, each fit on the model that the ones before have left.
Status fold_pass(const PassUse& use, ModelEdit& edit, PassReport& report) {
  if (edit.calibration().empty()) return use.refuse("fits what it takes out on text; --calibration expected");
  std::vector<int> origins;
  for (const int layer : use.layers(edit)) origins.push_back(edit.origin(layer));
  for (const int origin : origins) {
    const std::vector<int> left = use.layers(edit);
    const auto now = std::ranges::find_if(left, [&](int layer) { return edit.origin(layer) == origin; });
    if (now == left.end()) continue;
    Fold fold{.layer = *now};
    std::string first;
    for (const layers::Layer::Part& part : edit.model().layers()[static_cast<size_t>(*now)].parts) {
      const std::string& wanted = use.clause.where.part;
      const bool named = wanted.empty() || (wanted == "attn" ? run::mixes_tokens(part.role) : wanted == part.role);
      if (named && first.empty()) first = part.role;
      if (named) fold.roles.insert(part.role);
    }
    if (fold.roles.empty()) return use.refuse(fmt::format("layer {} has no such part", origin));
    LAMINA_ASSIGN(fold.carrier, find_carrier(use, edit, *now, first));
    LAMINA_CHECK_OK(fold_one(use, fold, edit, report));
  }
  report.summary = fmt::format("{} {} folded into what runs before", origins.size(),
                               use.clause.where.part.empty() ? "layers" : use.clause.where.part + " parts");
  return {};
}

}  // namespace lamina::compress
