#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "compress/choose_parts.h"
#include "compress/layer_walk.h"
#include "compress/linear_algebra.h"
#include "compress/part_pieces.h"
#include "compress/pass.h"
#include "compress/take_out.h"
#include "run/divergence.h"
#include "stats/gram.h"

namespace lamina::compress {

using core::Result;
using core::Status;

namespace {

constexpr int64_t kWindow = 512;
/// Every fourth stretch of the text judges the fits to the others.
constexpr int64_t kJudgeEvery = 4;
/// So many windows of them tell the divergence.
constexpr int64_t kJudged = 6;
/// Shares of the inputs' mean square that are tried: the less text, and the stranger, the more.
constexpr std::array kRidges{0.1, 0.3, 1.0, 3.0, 10.0, 30.0};

/// The last matrix of a layer that stays. What it adds is to make up for what went before.
struct Carrier {
  int layer = 0;
  int target = 0;  ///< after it, the stream is to be what it was after this layer
  Piece matrix{};
  std::optional<Piece> bias{};
  float multiplier = 1;  ///< of what it adds
  const layers::Linear* reader = nullptr;
};

/// What is added to a carrier: [hidden, inputs], and a column more for its bias.
struct Change {
  Matrix matrix{};
  double ridge = 0;
  double told = 0;  ///< of what the stream lacks there, on text that it was not fitted to
};

class Fold {
 public:
  Fold(const PassUse& use, ModelEdit& edit, PassReport& report, ChosenParts chosen)
      : use_(use), edit_(edit), report_(report), chosen_(std::move(chosen)) {}
  Status run();

 private:
  bool goes(int layer) const { return gone_[static_cast<size_t>(layer)]; }
  void list_layers();
  std::vector<int> carrying_layers() const;
  Status find_carriers();
  Result<Carrier> find_carrier(const PartPieces& part) const;
  Status load();
  Status advance(int layers);
  Walk walk(int layer) const;
  std::vector<int64_t> judged_windows() const;
  Result<std::array<stats::Gram, 2>> collect(const Carrier& carrier) const;
  Status measure(const Carrier& carrier, std::span<const Change> changes, std::vector<double>& divergences) const;
  Result<std::optional<Change>> fit(const Carrier& carrier, double& before, double& after) const;
  Status carry(const Carrier& carrier);
  Status write(const Carrier& carrier, const Change& change);

  const PassUse& use_;
  ModelEdit& edit_;
  PassReport& report_;
  ChosenParts chosen_;
  std::vector<bool> gone_;  ///< by layer: no part of it stays
  std::vector<Carrier> carriers_;
  std::unique_ptr<models::Model> model_;
  std::optional<LayerWalker> walker_;
  int advanced_ = 0;          ///< layers that whole_ has gone through
  std::vector<float> whole_;  ///< the stream of the model as it is
  bool begun_ = false;        ///< cut_ is the stream before the next layer; else that is the embedding
  std::vector<float> cut_;    ///< the stream without what goes, and with what was fitted so far
  double first_ = -1;         ///< divergence before and after all fits
  double last_ = -1;
  int64_t fitted_ = 0;
};

void Fold::list_layers() {
  for (size_t i = 0; i < chosen_.parts.size(); ++i) {
    const auto& parts = edit_.model().layers()[i].parts;
    gone_.push_back(std::ranges::all_of(parts, [&](const auto& part) { return chosen_.parts[i].contains(part.role); }));
  }
}

/// For each stretch of layers that go, those that stay from the one before it on; where only a part goes, from its own.
std::vector<int> Fold::carrying_layers() const {
  const auto layers = static_cast<int>(gone_.size());
  std::set<int> found;
  for (int layer = 0; layer < layers; ++layer) {
    if (chosen_.parts[static_cast<size_t>(layer)].empty()) continue;
    int at = layer;
    while (at > 0 && goes(at)) --at;
    for (int64_t left = use_.integer("into"); at < layers && left > 0; ++at) {
      if (goes(at)) continue;
      found.insert(at);
      --left;
    }
  }
  return {found.begin(), found.end()};
}

Result<Carrier> Fold::find_carrier(const PartPieces& part) const {
  const auto refuse = [&](const std::string& why) {
    return use_.refuse(
        fmt::format("the {} of layer {} cannot take work over: {}", part.role, edit_.origin(part.layer), why));
  };
  if (!part.unknown.empty()) return refuse(part.unknown);
  for (const char* norm : {"post_norm", "stream_norm"}) {
    if (part.record.contains(norm) && part.record[norm].is_object())
      return refuse("what it makes goes through a norm before it is in the stream");
  }
  Carrier carrier{.layer = part.layer};
  for (const Piece* piece : part.writers) {
    if (!piece->matrix) continue;
    if (carrier.matrix.matrix || piece->from.count > 0 || piece->from.tensor.ends_with(layers::kFactorOut))
      return refuse("it writes to the stream by several matrices; one expected");
    carrier.matrix = *piece;
  }
  if (const Piece* bias = edit_.bias_of(carrier.matrix)) carrier.bias = *bias;
  if (const double multiplier = part.number("multiplier"); multiplier != 0)
    carrier.multiplier = static_cast<float>(multiplier);
  return carrier;
}

Status Fold::find_carriers() {
  LAMINA_ASSIGN(const std::vector<PartPieces> parts, list_parts(edit_));
  const std::vector<int> layers = carrying_layers();
  if (layers.empty()) return use_.refuse("no layer is left; keep at least one");
  for (const int layer : layers) {
    const PartPieces* last = nullptr;
    for (const PartPieces& part : parts) {
      if (part.layer == layer && !chosen_.parts[static_cast<size_t>(layer)].contains(part.role)) last = &part;
    }
    LAMINA_ASSIGN(Carrier carrier, find_carrier(*last));
    carrier.target = layer;
    while (carrier.target + 1 < static_cast<int>(gone_.size()) && goes(carrier.target + 1)) ++carrier.target;
    carriers_.push_back(std::move(carrier));
  }
  return {};
}

/// The model as it is, and the matrices of it that are carriers.
Status Fold::load() {
  LAMINA_ASSIGN(model_, models::Model::build(edit_.model().files(), {}));
  if (model_->head().outputs() == 0 || model_->head().labels())
    return use_.refuse("the model predicts no tokens, by which fits are judged");
  LAMINA_CHECK_OK(model_->load(edit_.pool(), {}));
  for (Carrier& carrier : carriers_) {
    for (const layers::Layer::Part& part : model_->layers()[static_cast<size_t>(carrier.layer)].parts) {
      for (const layers::Linear* linear : part.sublayer->linears())
        if (linear->name() == carrier.matrix.from.tensor) carrier.reader = linear;
    }
    if (carrier.reader == nullptr || carrier.reader->inputs() != carrier.matrix.inputs)
      return use_.refuse(fmt::format("tensor {} is not one matrix that runs", carrier.matrix.from.tensor));
  }
  std::span<const int32_t> tokens = edit_.calibration();
  tokens = tokens.first(std::min(tokens.size(), static_cast<size_t>(use_.integer("tokens"))));
  LAMINA_ASSIGN(walker_, LayerWalker::create(*model_, edit_.pool(), tokens, kWindow, kJudgeEvery));
  whole_.resize(static_cast<size_t>(walker_->rows() * model_->hidden()));
  cut_.resize(whole_.size());
  return {};
}

/// Takes whole_ through the first `layers` layers.
Status Fold::advance(int layers) {
  for (; advanced_ < layers; ++advanced_) {
    LAMINA_CHECK_OK(walker_->run({.visits = {walker_->visit(advanced_)},
                                  .end = walker_->windows(),
                                  .from = advanced_ == 0 ? nullptr : &whole_,
                                  .to = &whole_}));
  }
  return {};
}

/// One layer of what stays, over all windows.
Walk Fold::walk(int layer) const {
  return {.visits = {walker_->visit(layer, chosen_.parts[static_cast<size_t>(layer)])},
          .end = walker_->windows(),
          .from = begun_ ? &cut_ : nullptr};
}

std::vector<int64_t> Fold::judged_windows() const {
  std::vector<int64_t> all;
  for (int64_t w = 0; w < walker_->windows(); ++w)
    if (walker_->judges(w, kJudgeEvery)) all.push_back(w);
  std::vector<int64_t> some;
  const auto wanted = std::min<int64_t>(kJudged, std::ssize(all));
  for (int64_t i = 0; i < wanted; ++i) some.push_back(all[static_cast<size_t>(i * std::ssize(all) / wanted)]);
  return some;
}

/// The products of what the carrier reads and of what the stream lacks after it, each row by the stream's own size,
/// which the next norm takes away: of windows that are fitted to, and of those that judge.
Result<std::array<stats::Gram, 2>> Fold::collect(const Carrier& carrier) const {
  const int64_t hidden = model_->hidden();
  const int64_t inputs = carrier.matrix.inputs;
  const int64_t own = inputs + (carrier.bias ? 1 : 0);
  const int64_t width = own + hidden;
  std::array<stats::Gram, 2> grams{stats::Gram(width), stats::Gram(width)};
  stats::GramAdder adder(edit_.pool());
  std::vector<float> joint(static_cast<size_t>(walker_->window() * width));
  Walk looks = walk(carrier.layer);
  looks.readers = {carrier.reader};
  looks.meet = [&](const MetRows& met) -> Status {
    for (int64_t r = 0; r < met.count; ++r) {
      const float* wanted = whole_.data() + (met.window * walker_->window() + r) * hidden;
      const float* read = met.inputs[0].data + r * met.inputs[0].stride;
      double square = 0;
      for (int64_t i = 0; i < hidden; ++i) square += double{wanted[i]} * double{wanted[i]};
      const auto scale = static_cast<float>(1 / std::sqrt(square / static_cast<double>(hidden) + 1e-12));
      float* row = joint.data() + r * width;
      for (int64_t i = 0; i < inputs; ++i) row[i] = scale * read[i];
      if (carrier.bias) row[inputs] = scale;
      const float* found = met.stream + r * hidden;
      for (int64_t i = 0; i < hidden; ++i) row[own + i] = scale / carrier.multiplier * (wanted[i] - found[i]);
    }
    return adder.add({.data = joint.data(), .stride = width, .count = met.count},
                     grams[walker_->judges(met.window, kJudgeEvery) ? 1 : 0]);
  };
  LAMINA_CHECK_OK(walker_->run(looks));
  return grams;
}

/// How far the predictions without what goes are from the model's, with no change of the carrier, then with each.
Status Fold::measure(const Carrier& carrier, std::span<const Change> changes, std::vector<double>& divergences) const {
  Walk all;
  Walk rest = walk(carrier.layer);
  const auto layers = static_cast<int>(gone_.size());
  for (int layer = 0; layer < layers; ++layer) {
    all.visits.push_back(walker_->visit(layer));
    if (layer > carrier.layer && !goes(layer))
      rest.visits.push_back(walker_->visit(layer, chosen_.parts[static_cast<size_t>(layer)]));
  }
  rest.readers = {carrier.reader};
  std::vector<float> wanted;
  all.predict = [&](int64_t, std::span<const float> logits) -> Status {
    wanted.assign(logits.begin(), logits.end());
    return {};
  };
  const std::vector<int64_t> windows = judged_windows();
  divergences.assign(changes.size() + 1, 0);
  for (const int64_t window : windows) {
    all.begin = rest.begin = window;
    all.end = rest.end = window + 1;
    LAMINA_CHECK_OK(walker_->run(all));
    for (size_t c = 0; c < divergences.size(); ++c) {
      rest.meet = [&](const MetRows& met) -> Status {
        if (c > 0)
          add_products(changes[c - 1].matrix, met.inputs[0], carrier.bias.has_value(), carrier.multiplier, met.stream);
        return {};
      };
      rest.predict = [&](int64_t, std::span<const float> logits) -> Status {
        const double one = run::mean_divergence(edit_.pool(), wanted, logits, static_cast<size_t>(walker_->window()));
        divergences[c] += one / static_cast<double>(windows.size());
        return {};
      };
      LAMINA_CHECK_OK(walker_->run(rest));
    }
  }
  return {};
}

/// The fit whose predictions are nearest, then made of all windows; nothing where none comes nearer.
Result<std::optional<Change>> Fold::fit(const Carrier& carrier, double& before, double& after) const {
  LAMINA_ASSIGN(auto grams, collect(carrier));
  const int64_t inputs = carrier.matrix.inputs + (carrier.bias ? 1 : 0);
  std::vector<Change> changes;
  for (const double ridge : kRidges) {
    LAMINA_ASSIGN(Matrix matrix, regress(grams[0], inputs, ridge));
    const double told = share_told(grams[1], matrix);
    changes.push_back({.matrix = std::move(matrix), .ridge = ridge, .told = told});
  }
  std::vector<double> divergences;
  LAMINA_CHECK_OK(measure(carrier, changes, divergences));
  const auto best = std::ranges::min_element(divergences) - divergences.begin();
  before = divergences.front();
  after = divergences[static_cast<size_t>(best)];
  if (best == 0) return std::nullopt;
  Change chosen = std::move(changes[static_cast<size_t>(best - 1)]);
  const std::span<double> sums = grams[0].change();
  const std::span<const double> more = grams[1].sums();
  for (size_t i = 0; i < sums.size(); ++i) sums[i] += more[i];
  LAMINA_ASSIGN(chosen.matrix, regress(grams[0], inputs, chosen.ridge));
  return chosen;
}

Status Fold::write(const Carrier& carrier, const Change& change) {
  LAMINA_ASSIGN(Matrix matrix, edit_.read(carrier.matrix));
  for (int64_t o = 0; o < matrix.outputs; ++o) {
    for (int64_t i = 0; i < matrix.inputs; ++i) matrix.row(o)[i] += change.matrix.row(o)[i];
  }
  LAMINA_CHECK_OK(edit_.write(carrier.matrix, matrix));
  if (!carrier.bias) return {};
  LAMINA_ASSIGN(Matrix bias, edit_.read(*carrier.bias));
  for (int64_t o = 0; o < matrix.outputs; ++o)
    bias.numbers[static_cast<size_t>(o)] += change.matrix.row(o)[matrix.inputs];
  return edit_.write(*carrier.bias, bias);
}

/// Takes the stream without what goes through a layer that makes up for it.
Status Fold::carry(const Carrier& carrier) {
  LAMINA_CHECK_OK(advance(carrier.target + 1));
  double before = 0;
  double after = 0;
  LAMINA_ASSIGN(const std::optional<Change> change, fit(carrier, before, after));
  if (first_ < 0) first_ = before;
  last_ = after;
  nlohmann::ordered_json row{{"layer", edit_.origin(carrier.layer)},
                             {"tensor", carrier.matrix.from.tensor},
                             {"divergence_before", before},
                             {"divergence", after}};
  Walk goes_on = walk(carrier.layer);
  goes_on.to = &cut_;
  if (change) {
    row["ridge"] = change->ridge;
    row["told"] = change->told;
    LAMINA_CHECK_OK(write(carrier, *change));
    ++fitted_;
    goes_on.readers = {carrier.reader};
    goes_on.meet = [&](const MetRows& met) -> Status {
      add_products(change->matrix, met.inputs[0], carrier.bias.has_value(), carrier.multiplier, met.stream);
      return {};
    };
  }
  report_.details["folds"].push_back(std::move(row));
  return walker_->run(goes_on);
}

Status Fold::run() {
  list_layers();
  LAMINA_CHECK_OK(find_carriers());
  LAMINA_CHECK_OK(load());
  // Up to the first layer that changes or carries, both streams are one.
  int first = carriers_.front().layer;
  for (int layer = 0; layer < first; ++layer)
    if (!chosen_.parts[static_cast<size_t>(layer)].empty()) first = layer;
  LAMINA_CHECK_OK(advance(first));
  if (first > 0) cut_ = whole_;
  begun_ = first > 0;
  size_t next = 0;
  for (int layer = first; next < carriers_.size(); ++layer) {
    if (goes(layer)) continue;
    if (carriers_[next].layer == layer) {
      LAMINA_CHECK_OK(carry(carriers_[next++]));
    } else {
      Walk goes_on = walk(layer);
      goes_on.to = &cut_;
      LAMINA_CHECK_OK(walker_->run(goes_on));
    }
    begun_ = true;
  }
  report_.details["divergence_dropped"] = first_;
  report_.details["divergence"] = last_;
  report_.summary =
      fmt::format("folded {} into {} of {} layers that stay; divergence on text not fitted to {:.4g} -> {:.4g}",
                  chosen_.names, fitted_, carriers_.size(), first_, last_);
  if (fitted_ == 0)
    report_.notes.emplace_back("fold: no fit comes nearer to the model's predictions, so the layers are only dropped");
  return take_out(edit_, chosen_.parts, report_.notes);
}

}  // namespace

/// After FuseGPT (Pei et al. 2024, arXiv 2411.14507), which folds a layer's weights into its neighbours and trains what
/// it folds; here in closed form. The last matrix of each layer that takes over is given the least squares, from what
/// it reads, of what the stream lacks after it.
Status fold_pass(const PassUse& use, ModelEdit& edit, PassReport& report) {
  LAMINA_ASSIGN(ChosenParts chosen, choose_parts(use, edit, report));
  return Fold(use, edit, report, std::move(chosen)).run();
}

}  // namespace lamina::compress
