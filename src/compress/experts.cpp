#include <algorithm>
#include <optional>

#include "compress/expert_split.h"
#include "compress/layer_walk.h"
#include "compress/pass.h"
#include "models/resolver.h"
#include "models/same_meaning.h"
#include "models/structure.h"

namespace lamina::compress {

using core::Result;
using core::Status;
using format::Container;
using nlohmann::json;

namespace {

constexpr int64_t kWindow = 512;
constexpr int64_t kJudgeEvery = 4;

/// The MLP of a layer.
struct Dense {
  int layer = 0;
  Piece gate{};
  Piece up{};
  Piece down{};
  std::vector<const layers::Linear*> readers{};  ///< gate and down, of the model that runs
};

/// The key of a family's setting in that container.
std::string key_of(const models::Architecture& family, Container container, const char* setting,
                   const std::string& prefix) {
  const json definition = family.data.at("settings").value(setting, json());
  json key = definition.is_object() ? definition.value(models::container_name(container), json()) : json();
  if (key.is_array() && !key.empty()) key = json(key.front());
  auto name = key.is_string() ? key.get<std::string>() : std::string();
  models::replace_all(name, "{arch}", prefix);
  return name;
}

class DenseToExperts {
 public:
  DenseToExperts(const PassUse& use, ModelEdit& edit, PassReport& report)
      : use_(use),
        edit_(edit),
        report_(report),
        container_(edit.model().files().container()),
        experts_(use.integer("count")),
        used_(use.integer("used")) {}
  Status run();

 private:
  Status find_family();
  Status list_mlps();
  Result<Dense> read_mlp(int layer) const;
  Status load();
  json new_config() const;
  Status resolve_new();
  Result<MlpRows> collect(const Dense& dense);
  Status split(const Dense& dense);
  Status put(const Dense& dense, const ExpertSplit& split);
  Status add(const Dense& dense, const char* key, const std::vector<Matrix>& experts, const Piece& before);
  std::string place() const { return edit_.model().files().path().string(); }

  const PassUse& use_;
  ModelEdit& edit_;
  PassReport& report_;
  Container container_;
  int64_t experts_;
  int64_t used_;
  const models::Architecture* family_ = nullptr;  ///< that says the model with experts
  std::vector<Dense> mlps_;
  models::ResolvedModel before_;
  models::ResolvedModel after_;
  std::unique_ptr<models::Model> model_;
  std::optional<LayerWalker> walker_;
  std::vector<float> stream_;
  double lost_ = 0;
  double chosen_ = 0;
};

Status DenseToExperts::find_family() {
  const json name = edit_.architecture()
                        .write.value(std::string(models::container_name(container_)), json::object())
                        .value("experts", json());
  for (const models::Architecture& one : models::architectures())
    if (name.is_string() && one.name == name.get<std::string>()) family_ = &one;
  if (family_ != nullptr) return {};
  return use_.refuse(fmt::format("no family says the layers of {} with experts", edit_.architecture().name));
}

Result<Dense> DenseToExperts::read_mlp(int layer) const {
  const auto& parts = edit_.model().layers()[static_cast<size_t>(layer)].parts;
  const auto part = std::ranges::find(parts, "mlp", &layers::Layer::Part::role);
  const std::string kind = part == parts.end() ? "none" : part->kind;
  if (kind != "gated_mlp")
    return use_.refuse(fmt::format("the mlp of layer {} is of kind {}; gated_mlp expected", edit_.origin(layer), kind));
  Dense dense{.layer = layer};
  for (const auto& [key, own] : {std::pair{"gate", &dense.gate}, {"up", &dense.up}, {"down", &dense.down}}) {
    const Piece* piece = edit_.find(layer, "mlp", key);
    if (piece == nullptr || !piece->matrix || piece->from.count > 0 || piece->factor_in ||
        piece->from.rows.of != piece->outputs) {
      return use_.refuse(fmt::format("layer {} has no whole matrix \"{}\"", edit_.origin(layer), key));
    }
    if (edit_.bias_of(*piece) != nullptr)
      return use_.refuse(
          fmt::format("tensor {} has a bias, which experts of {} have not", piece->from.tensor, family_->name));
    *own = *piece;
  }
  if (dense.down.inputs % experts_ != 0) {
    return use_.refuse(fmt::format("{} units do not make {} experts of one size", dense.down.inputs, experts_));
  }
  return dense;
}

Status DenseToExperts::list_mlps() {
  const std::vector<int> layers = use_.layers(edit_);
  if (layers.size() != edit_.model().layers().size())
    return use_.refuse("the settings have one number of experts for all layers; L*.mlp expected");
  for (const int layer : layers) {
    LAMINA_ASSIGN(Dense dense, read_mlp(layer));
    mlps_.push_back(std::move(dense));
  }
  return {};
}

json DenseToExperts::new_config() const {
  json config = edit_.config();
  const std::string prefix = config.value("general.architecture", "");
  const auto set = [&](const char* setting, int64_t value) {
    models::set_config_value(config, container_, key_of(*family_, container_, setting, prefix), value);
  };
  set("experts", experts_);
  set("experts_used", used_);
  set("mlp", mlps_.front().down.inputs / experts_);
  if (container_ == Container::kGguf) return config;
  config["architectures"] = json::array({family_->huggingface.front()});
  const json constants = family_->write.value("huggingface", json::object()).value("config", json::object());
  for (const auto& [key, value] : constants.items())
    if (value.is_string()) config[key] = value;
  return config;
}

/// The records of the family with experts, whose other parts must mean what they did.
Status DenseToExperts::resolve_new() {
  LAMINA_ASSIGN(before_, models::resolve(edit_.architecture(), edit_.model().files()));
  const auto has = [this](const std::string& name) { return edit_.has(name); };
  const json config = new_config();
  LAMINA_ASSIGN(after_, models::resolve(*family_, {container_, config, place(), has}));
  LAMINA_CHECK_OK(models::check_same_layer(before_.embedding, after_.embedding, "embedding", place()));
  for (size_t i = 0; i < after_.layers.size(); ++i) {
    json old = before_.layers.at(i);
    json now = after_.layers[i];
    old.erase("mlp");
    now.erase("mlp");
    LAMINA_CHECK_OK(models::check_same_layer(old, now, fmt::format("layer {}", i), place()));
  }
  return {};
}

Status DenseToExperts::load() {
  LAMINA_ASSIGN(model_, models::Model::build(edit_.model().files(), {}));
  LAMINA_CHECK_OK(model_->load(edit_.pool(), {}));
  for (Dense& dense : mlps_) {
    for (const Piece* piece : {&dense.gate, &dense.down}) {
      for (const layers::Layer::Part& part : model_->layers()[static_cast<size_t>(dense.layer)].parts) {
        for (const layers::Linear* linear : part.sublayer->linears())
          if (linear->name() == piece->from.tensor) dense.readers.push_back(linear);
      }
    }
    if (dense.readers.size() != 2)
      return use_.refuse(fmt::format("tensor {} is not one matrix that runs", dense.gate.from.tensor));
  }
  std::span<const int32_t> tokens = edit_.calibration();
  tokens = tokens.first(std::min(tokens.size(), static_cast<size_t>(use_.integer("tokens"))));
  LAMINA_ASSIGN(walker_, LayerWalker::create(*model_, edit_.pool(), tokens, kWindow, kJudgeEvery));
  stream_.resize(static_cast<size_t>(walker_->rows() * model_->hidden()));
  return {};
}

/// Takes the stream through the layer, and keeps what its MLP reads.
Result<MlpRows> DenseToExperts::collect(const Dense& dense) {
  MlpRows rows{.count = walker_->rows(),
               .read = {.outputs = walker_->rows(), .inputs = dense.gate.inputs},
               .held = {.outputs = walker_->rows(), .inputs = dense.down.inputs}};
  const std::array<Matrix*, 2> into{&rows.read, &rows.held};
  for (Matrix* one : into) one->numbers.resize(static_cast<size_t>(one->outputs * one->inputs));
  LAMINA_CHECK_OK(walker_->run({.visits = {walker_->visit(dense.layer)},
                                .end = walker_->windows(),
                                .from = dense.layer == 0 ? nullptr : &stream_,
                                .to = &stream_,
                                .readers = dense.readers,
                                .meet = [&](const MetRows& met) -> Status {
                                  for (size_t i = 0; i < into.size(); ++i) {
                                    for (int64_t r = 0; r < met.count; ++r)
                                      std::copy_n(met.inputs[i].data + r * met.inputs[i].stride, into[i]->inputs,
                                                  into[i]->row(met.window * walker_->window() + r));
                                  }
                                  return {};
                                }}));
  for (int64_t r = 0; r < rows.count; ++r) rows.judges.push_back(walker_->judges(r / walker_->window(), kJudgeEvery));
  return rows;
}

/// The tensors of one kind of matrices: a stack, or one for each expert.
Status DenseToExperts::add(const Dense& dense, const char* key, const std::vector<Matrix>& experts,
                           const Piece& before) {
  const json record = after_.layers[static_cast<size_t>(dense.layer)].at("mlp").at(key);
  const auto name = record.at("weight").get<std::string>();
  const codec::Codec* codec = edit_.codec_of(before);
  if (name.contains("{expert}")) {
    for (size_t e = 0; e < experts.size(); ++e) {
      std::string own = name;
      models::replace_all(own, "{expert}", std::to_string(e));
      LAMINA_CHECK_OK(edit_.add(own, {experts[e].outputs, experts[e].inputs}, experts[e].numbers, codec));
    }
    return {};
  }
  std::vector<float> stack;
  for (const Matrix& one : experts) stack.insert(stack.end(), one.numbers.begin(), one.numbers.end());
  return edit_.add(name, {std::ssize(experts), experts.front().outputs, experts.front().inputs}, stack, codec);
}

Status DenseToExperts::put(const Dense& dense, const ExpertSplit& split) {
  for (const auto& [key, piece] : {std::pair{"gate", &dense.gate}, {"up", &dense.up}}) {
    LAMINA_ASSIGN(const Matrix whole, edit_.read(*piece));
    std::vector<Matrix> experts;
    for (const std::vector<int64_t>& units : split.units) {
      Matrix own{.outputs = std::ssize(units), .inputs = whole.inputs};
      for (const int64_t unit : units)
        own.numbers.insert(own.numbers.end(), whole.row(unit), whole.row(unit) + whole.inputs);
      experts.push_back(std::move(own));
    }
    LAMINA_CHECK_OK(add(dense, key, experts, *piece));
  }
  // Shares sum to 1: each expert's is one over those that are used.
  const auto scale = static_cast<float>(used_);
  std::vector<Matrix> experts;
  for (const std::vector<int64_t>& units : split.units) {
    Matrix own{.outputs = split.down.outputs, .inputs = std::ssize(units)};
    for (int64_t o = 0; o < own.outputs; ++o) {
      for (const int64_t unit : units) own.numbers.push_back(scale * split.down.row(o)[unit]);
    }
    experts.push_back(std::move(own));
  }
  LAMINA_CHECK_OK(add(dense, "down", experts, dense.down));
  const json record = after_.layers[static_cast<size_t>(dense.layer)].at("mlp").at("router");
  // The last bits of a score decide which experts are chosen.
  LAMINA_CHECK_OK(edit_.add(record.at("weight").get<std::string>(), {split.router.outputs, split.router.inputs},
                            split.router.numbers));
  for (const Piece* piece : {&dense.gate, &dense.up, &dense.down})
    LAMINA_CHECK_OK(edit_.remove(edit_.model().weights().file_name(piece->from.tensor)));
  return {};
}

Status DenseToExperts::split(const Dense& dense) {
  LAMINA_ASSIGN(const MlpRows rows, collect(dense));
  LAMINA_ASSIGN(const Matrix down, edit_.read(dense.down));
  LAMINA_ASSIGN(const ExpertSplit split, split_experts(rows, down, experts_, used_, edit_.pool()));
  report_.details["mlps"].push_back({{"layer", edit_.origin(dense.layer)},
                                     {"chosen", split.chosen},
                                     {"most", split.most},
                                     {"lost_unfitted", split.unfitted},
                                     {"lost", split.lost}});
  lost_ += split.lost / static_cast<double>(mlps_.size());
  chosen_ += split.chosen / static_cast<double>(mlps_.size());
  return put(dense, split);
}

Status DenseToExperts::run() {
  if (used_ > experts_)
    return use_.refuse(fmt::format("{} of {} experts are to be used; at most all expected", used_, experts_));
  LAMINA_CHECK_OK(find_family());
  LAMINA_CHECK_OK(list_mlps());
  LAMINA_CHECK_OK(resolve_new());
  LAMINA_CHECK_OK(load());
  for (const Dense& dense : mlps_) LAMINA_CHECK_OK(split(dense));
  const json config = new_config();
  for (const auto& [key, value] : config.items())
    if (edit_.config().value(key, json()) != value) edit_.set_config(key, value);
  report_.summary = fmt::format(
      "{} MLPs as {} experts of {} units, {} used; the router finds {:.1f} % of what experts add, {:.1f} % of the "
      "square "
      "of the outputs is lost",
      mlps_.size(), experts_, mlps_.front().down.inputs / experts_, used_, 100 * chosen_, 100 * lost_);
  return edit_.commit();
}

}  // namespace

/// After Read-ME (Cai et al. 2024, arXiv 2410.19123), which trains experts and a router that sees the text alone; here
/// without training: units that act together are an expert, and each layer's router is a least-squares fit.
Status experts_pass(const PassUse& use, ModelEdit& edit, PassReport& report) {
  return DenseToExperts(use, edit, report).run();
}

}  // namespace lamina::compress
