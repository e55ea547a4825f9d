#include <algorithm>
#include <numeric>

#include "compress/linear_algebra.h"
#include "compress/pass.h"
#include "compress/thin.h"
#include "models/resolver.h"
#include "models/structure.h"

namespace lamina::compress {

using core::Result;
using core::Status;
using nlohmann::json;

namespace {

/// How the heads of all attentions lie: groups of query heads, each with one head of keys and values.
struct Heads {
  int64_t heads = 0;
  int64_t groups = 0;
  int64_t size = 0;        ///< of a query and a key
  int64_t value_size = 0;  ///< of a value

  bool operator==(const Heads&) const = default;
  int64_t together() const { return heads / groups; }
};

struct Attention {
  int layer = 0;
  Piece q{}, k{}, v{}, o{};
};

Result<Piece> whole_matrix(const PassUse& use, const ModelEdit& edit, int layer, std::string_view key) {
  const Piece* piece = edit.find(layer, "attn", key);
  const bool whole = piece != nullptr && piece->matrix && piece->from.rows.of == piece->outputs &&
                     piece->from.count == 0 && !piece->factor_in;
  if (whole) return *piece;
  return use.refuse(
      fmt::format("layer {} has no matrix \"{}\" of attention that is one whole tensor", edit.origin(layer), key));
}

class FewerHeads {
 public:
  FewerHeads(const PassUse& use, ModelEdit& edit, PassReport& report) : use_(use), edit_(edit), report_(report) {}
  Status run();

 private:
  Status list();
  Status thin(const Attention& attention);
  Status set_sizes();
  std::vector<size_t> choose(const Matrix& o, std::span<const float> squares) const;

  const PassUse& use_;
  ModelEdit& edit_;
  PassReport& report_;
  Heads heads_;
  std::vector<Attention> attentions_;
  double lost_ = 0;
  double whole_ = 0;
};

/// The rows or columns of the groups that stay, `width` of each.
std::vector<size_t> of_groups(std::span<const size_t> groups, int64_t width) {
  std::vector<size_t> out;
  for (const size_t group : groups) {
    for (int64_t i = 0; i < width; ++i) out.push_back(group * static_cast<size_t>(width) + static_cast<size_t>(i));
  }
  return out;
}

/// All attentions of the model, which must be alike.
Status FewerHeads::list() {
  LAMINA_ASSIGN(const models::ResolvedModel resolved, models::resolve(edit_.architecture(), edit_.model().files()));
  const std::vector<int> selected = use_.layers(edit_);
  for (size_t i = 0; i < resolved.layers.size(); ++i) {
    const json& record = resolved.layers[i];
    if (!record.contains("attn")) continue;
    const int layer = static_cast<int>(i);
    const json& attn = record.at("attn");
    if (attn.value("kind", "") != "attention")
      return use_.refuse(fmt::format("the attention of layer {} is of kind {}; attention expected", edit_.origin(layer),
                                     attn.value("kind", "")));
    const Heads own{.heads = attn.value("heads", int64_t{0}),
                    .groups = attn.value("kv_heads", int64_t{0}),
                    .size = attn.value("head_size", int64_t{0}),
                    .value_size = attn.value("value_size", attn.value("head_size", int64_t{0}))};
    if (attentions_.empty()) heads_ = own;
    if (std::ranges::find(selected, layer) == selected.end() || own != heads_ || own.groups == 0)
      return use_.refuse(
          "the settings have one number of heads for all layers; L*.attn of a model whose attentions "
          "are alike expected");
    Attention attention{.layer = layer};
    LAMINA_ASSIGN(attention.q, whole_matrix(use_, edit_, layer, "q"));
    LAMINA_ASSIGN(attention.k, whole_matrix(use_, edit_, layer, "k"));
    LAMINA_ASSIGN(attention.v, whole_matrix(use_, edit_, layer, "v"));
    LAMINA_ASSIGN(attention.o, whole_matrix(use_, edit_, layer, "o"));
    attentions_.push_back(std::move(attention));
  }
  return attentions_.empty() ? use_.refuse("selects no attention") : Status();
}

/// The groups that add most, by the square of what their heads hold and the lengths of the columns that read them.
std::vector<size_t> FewerHeads::choose(const Matrix& o, std::span<const float> squares) const {
  const auto width = static_cast<size_t>(heads_.together() * heads_.value_size);
  std::vector<double> scores(static_cast<size_t>(heads_.groups));
  for (int64_t row = 0; row < o.outputs; ++row) {
    for (size_t i = 0; i < squares.size(); ++i)
      scores[i / width] += double{squares[i]} * double{o.row(row)[i]} * double{o.row(row)[i]};
  }
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, [&](size_t a, size_t b) { return scores[a] != scores[b] ? scores[a] > scores[b] : a < b; });
  order.resize(order.size() - static_cast<size_t>(use_.integer("groups")));
  std::ranges::sort(order);
  return order;
}

Status FewerHeads::thin(const Attention& attention) {
  const std::vector<float> squares = edit_.importance(attention.o);
  if (squares.empty())
    return use_.refuse(fmt::format("the statistics say nothing of what tensor {} reads", attention.o.from.tensor));
  LAMINA_ASSIGN(const Matrix o, edit_.read(attention.o));
  const std::vector<size_t> groups = choose(o, squares);
  const std::vector<size_t> columns = of_groups(groups, heads_.together() * heads_.value_size);
  LAMINA_ASSIGN(const FewerColumns fewer, keep_best_columns(o, squares, gram_of(edit_, attention.o), columns));
  lost_ += fewer.error;
  whole_ += fewer.whole;
  report_.details["attentions"].push_back({{"layer", edit_.origin(attention.layer)},
                                           {"kept", groups},
                                           {"lost", fewer.whole > 0 ? fewer.error / fewer.whole : 0},
                                           {"refit", fewer.refit}});
  const std::vector<size_t> queries = of_groups(groups, heads_.together() * heads_.size);
  const std::vector<size_t> keys = of_groups(groups, heads_.size);
  const std::vector<size_t> values = of_groups(groups, heads_.value_size);
  for (const auto& [piece, rows] :
       {std::pair(&attention.q, &queries), {&attention.k, &keys}, {&attention.v, &values}}) {
    if (const Piece* bias = edit_.bias_of(*piece)) LAMINA_CHECK_OK(keep_rows(edit_, Piece(*bias), *rows));
    LAMINA_CHECK_OK(keep_rows(edit_, *piece, *rows));
  }
  return keep_columns(edit_, attention.o, fewer.matrix, columns);
}

/// Sizes of a head that follow from the number of heads are said outright.
Status FewerHeads::set_sizes() {
  const format::Container container = edit_.model().files().container();
  const int64_t groups = heads_.groups - use_.integer("groups");
  const std::map<std::string, int64_t> sizes{{"heads", groups * heads_.together()},
                                             {"kv_heads", groups},
                                             {"head_size", heads_.size},
                                             {"value_size", heads_.value_size}};
  for (const auto& [setting, size] : sizes) {
    const std::string key = setting_key(edit_, setting);
    if (key.empty()) continue;
    const json before = models::config_value(edit_.config(), container, key);
    if (before.is_array()) return use_.refuse(fmt::format("the setting {} is a list; one number expected", key));
    edit_.set_config(key, size);
  }
  return {};
}

Status FewerHeads::run() {
  if (edit_.statistics() == nullptr)
    return use_.refuse("goes by what heads hold; --stats with a file of `lamina stats` expected, best with --gram");
  LAMINA_CHECK_OK(list());
  const int64_t gone = use_.integer("groups");
  if (gone >= heads_.groups)
    return use_.refuse(fmt::format("{} groups to go of {}; fewer expected", gone, heads_.groups));
  for (const Attention& attention : attentions_) LAMINA_CHECK_OK(thin(attention));
  const double lost = whole_ > 0 ? lost_ / whole_ : 0;
  report_.summary =
      fmt::format("{} attentions keep {} of {} groups of {} heads; {:.2f} % of the square of their outputs is lost",
                  attentions_.size(), heads_.groups - gone, heads_.groups, heads_.together(), 100 * lost);
  report_.details["lost"] = lost;
  LAMINA_CHECK_OK(set_sizes());
  return edit_.commit();
}

}  // namespace

/// As units, for groups of query heads that share a head of keys and values.
Status heads_pass(const PassUse& use, ModelEdit& edit, PassReport& report) {
  return FewerHeads(use, edit, report).run();
}

}  // namespace lamina::compress
