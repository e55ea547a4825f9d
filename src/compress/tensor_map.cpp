#include "compress/tensor_map.h"

#include <algorithm>
#include <map>
#include <set>

namespace lamina::compress {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;
using layers::RowPick;
using nlohmann::json;

namespace {

constexpr std::string_view kExpert = "{expert}";

std::string with_expert(std::string name, int64_t index) {
  const size_t at = name.find(kExpert);
  return at == std::string::npos ? name : name.replace(at, kExpert.size(), std::to_string(index));
}

/// The record's `rows` and `input_first`; a group of 0 stands for all outputs.
RowPick row_pick(const json& record) {
  RowPick pick{.group = 0, .stride = 0};
  if (!record.is_object()) return pick;
  const json rows = record.value("rows", json());
  if (rows.is_object()) {
    pick.begin = static_cast<int64_t>(rows.value("begin", 0.0));
    pick.of = static_cast<int64_t>(rows.value("of", 0.0));
    pick.group = static_cast<int64_t>(rows.value("group", 0.0));
    pick.stride = static_cast<int64_t>(rows.value("stride", static_cast<double>(pick.group)));
  }
  const json turned = record.value("input_first", json());
  pick.input_first = turned.is_boolean() && turned.get<bool>();
  return pick;
}

RowPick complete(RowPick pick, int64_t outputs) {
  if (pick.of == 0) pick.of = outputs;
  if (pick.group == 0) pick.group = outputs;
  if (pick.stride == 0) pick.stride = pick.group;
  return pick;
}

/// What holds for a record and everything inside it.
struct Context {
  int layer = -1;
  std::string role{};
  std::string key{};
  int64_t experts = 0;
  bool shared = false;
};

class Walker {
 public:
  Walker(const models::Model& model, format::Container container) : model_(model), container_(container) {
    for (const auto& linear : model.weights().linears()) {
      outputs_.emplace(Key{linear->name(), linear->rows().begin, linear->rows().input_first}, linear->outputs());
    }
  }

  Status walk(const json& from, const json& to, const Context& context);
  Status check_complete() const;
  std::vector<Piece> take() { return std::move(pieces_); }

 private:
  using Key = std::tuple<std::string, int64_t, bool>;
  const core::TensorView* find(const std::string& name) const {
    return model_.files().find(model_.weights().file_name(name));
  }
  bool names_tensor(const json& value) const {
    return value.is_string() && find(with_expert(value.get<std::string>(), 0)) != nullptr;
  }
  std::unexpected<core::Error> no_place(const std::string& name) const {
    return fail(
        ErrorCode::kUnsupported, model_.files().path().string(), "tensor {} has no place in {}", name,
        container_ == format::Container::kGguf ? "a GGUF file of its family" : "a Hugging Face folder of its family");
  }
  Status add(const json& from, const json& to, const std::string& field, const Context& context);
  Status add_expert(Piece piece, int64_t index, int64_t count);
  Status place(Piece piece);
  void set_order(size_t first, const json& from, const json& to);

  const models::Model& model_;
  format::Container container_;
  std::map<Key, int64_t> outputs_;
  std::vector<Piece> pieces_;
  std::set<std::string> seen_;
};

Status Walker::walk(const json& from, const json& to, const Context& context) {
  if (!from.is_object()) return {};
  const size_t first = pieces_.size();
  for (const auto& [field, value] : from.items()) {
    if (field == "bias") continue;
    if (value.is_object()) {
      Context inner = context;
      inner.key = field;
      inner.shared = field == "shared";
      if (const json experts = from.value("experts", json()); experts.is_number()) {
        inner.experts = static_cast<int64_t>(experts.get<double>());
      }
      const json other = to.is_object() ? to.value(field, json()) : json();
      LAMINA_CHECK_OK(walk(value, other, inner));
    } else if (field != "present" && names_tensor(value)) {
      LAMINA_CHECK_OK(add(from, to, field, context));
    } else if (value.is_array() && !value.empty() && to.is_object() && to.value(field, json()).is_string()) {
      Piece piece{.layer = context.layer, .role = context.role, .key = context.key};
      piece.outputs = static_cast<int64_t>(value.size());
      for (const json& number : value) piece.literal.push_back(number.get<float>());
      piece.to = {.tensor = to[field].get<std::string>(), .rows = RowPick::all(piece.outputs)};
      if (seen_.insert(piece.to.tensor).second) pieces_.push_back(std::move(piece));
    }
  }
  // After its matrix, whose rows it shares.
  if (names_tensor(from.value("bias", json()))) LAMINA_CHECK_OK(add(from, to, "bias", context));
  if (from.value("kind", "") == "attention") set_order(first, from, to);
  return {};
}

Status Walker::add(const json& from, const json& to, const std::string& field, const Context& context) {
  const auto source = from[field].get<std::string>();
  const json target = to.is_object() ? to.value(field, json()) : json();
  if (!target.is_string()) return no_place(source);
  Piece piece{.layer = context.layer, .role = context.role, .key = context.key};
  if (field != "weight" && field != "bias") piece.key = field;
  piece.from = {.tensor = source, .rows = row_pick(from)};
  piece.to = {.tensor = target.get<std::string>(), .rows = row_pick(to)};
  // Folders keep the gate of the shared expert as a matrix of one row.
  piece.one_row = field == "router" && context.shared && container_ == format::Container::kHuggingFace;
  if (from.contains("epsilon") && field == "weight") {
    const auto offset = [](const json& record) {
      const json value = record.value("offset", json());
      return value.is_number() ? value.get<double>() : 0.0;
    };
    piece.from.offset = offset(from);
    piece.to.offset = offset(to);
  }
  const bool spread = source.contains(kExpert) || piece.to.tensor.contains(kExpert);
  const bool stacked = context.experts > 0 && !spread && find(source)->rank == 3;
  if (!spread && !stacked) return place(std::move(piece));
  for (int64_t i = 0; i < context.experts; ++i) LAMINA_CHECK_OK(add_expert(piece, i, context.experts));
  return {};
}

/// Matrix `index` of a stack, or with a tensor of its own, on either side.
Status Walker::add_expert(Piece piece, int64_t index, int64_t count) {
  const bool stack_from = !piece.from.tensor.contains(kExpert);
  const bool stack_to = !piece.to.tensor.contains(kExpert);
  piece.from.tensor = with_expert(piece.from.tensor, index);
  piece.to.tensor = with_expert(piece.to.tensor, index);
  const core::TensorView* view = find(piece.from.tensor);
  if (view == nullptr)
    return fail(ErrorCode::kNotFound, model_.files().path().string(), "tensor {} is missing", piece.from.tensor);
  const int64_t outputs = stack_from ? view->shape[1] : view->shape[0];
  const auto part = [&](bool stack) {
    return stack ? RowPick{.begin = index * outputs, .of = count * outputs, .group = outputs, .stride = outputs}
                 : RowPick::all(outputs);
  };
  piece.matrix = true;
  piece.outputs = outputs;
  piece.inputs = view->columns();
  piece.experts = stack_to ? count : 0;
  piece.from.rows = part(stack_from);
  piece.to.rows = part(stack_to);
  pieces_.push_back(std::move(piece));
  return {};
}

Status Walker::place(Piece piece) {
  const core::TensorView& view = *find(piece.from.tensor);
  const auto linear = outputs_.find({piece.from.tensor, piece.from.rows.begin, piece.from.rows.input_first});
  const bool vector = view.rank == 1 || (view.rank == 2 && view.shape[0] == 1 && linear == outputs_.end());
  const bool tokens = piece.role == "embedding" && piece.key == "embedding";
  piece.matrix = !vector && (tokens || linear != outputs_.end());
  piece.inputs = vector ? 0 : piece.from.rows.input_first ? view.shape[0] : view.columns();
  piece.outputs = vector ? view.elements() : view.rows();
  if (linear != outputs_.end()) piece.outputs = linear->second;
  if (vector && piece.from.rows.of > 0) {  // a bias beside a matrix of picked rows
    const auto beside = std::ranges::find_if(pieces_.rbegin(), pieces_.rend(), [&](const Piece& other) {
      return other.matrix && other.layer == piece.layer && other.role == piece.role && other.key == piece.key;
    });
    if (beside != pieces_.rend()) piece.outputs = beside->outputs;
  }
  if (vector) piece.from.rows.input_first = piece.to.rows.input_first = false;
  piece.from.rows = complete(piece.from.rows, piece.outputs);
  piece.to.rows = complete(piece.to.rows, piece.outputs);
  const std::string identity = fmt::format("{}:{}", piece.to.tensor, piece.to.rows.begin);
  if (seen_.insert(identity).second) pieces_.push_back(std::move(piece));
  return {};
}

/// Queries and keys lie in another order where the two containers turn other pairs.
void Walker::set_order(size_t first, const json& from, const json& to) {
  const json rope = from.value("rope", json());
  const json other = to.is_object() ? to.value("rope", json()) : json();
  if (!rope.is_object() || !other.is_object() || rope["ordering"] == other["ordering"]) return;
  for (size_t i = first; i < pieces_.size(); ++i) {
    Piece& piece = pieces_[i];
    if (piece.key != "q" && piece.key != "k" && piece.key != "q_norm" && piece.key != "k_norm") continue;
    piece.head_size = static_cast<int64_t>(from["head_size"].get<double>());
    piece.rotary = static_cast<int64_t>(rope["dims"].get<double>());
    piece.from.interleaved = rope["ordering"] == "interleaved";
    piece.to.interleaved = other["ordering"] == "interleaved";
  }
}

Status Walker::check_complete() const {
  std::set<std::string> mapped;
  for (const Piece& piece : pieces_) {
    if (!piece.from.tensor.empty()) mapped.insert(model_.weights().file_name(piece.from.tensor));
  }
  for (const std::string& name : model_.weights().used()) {
    if (!mapped.contains(name)) return no_place(name);
  }
  return {};
}

/// Which of the head's records counts: the first whose "present" tensor is there, as when the model was built.
std::optional<size_t> head_index(const models::Model& model, const models::ResolvedModel& own) {
  for (size_t i = 0; i < own.heads.size(); ++i) {
    const auto present = own.heads[i].find("present");
    if (present == own.heads[i].end()) return i;
    if (present->is_string() && model.weights().has(present->get<std::string>())) return i;
  }
  return std::nullopt;
}

}  // namespace

int64_t Piece::row(const Stored& stored, int64_t o) const {
  if (!stored.interleaved) return stored.rows.row(o);
  const int64_t d = o % head_size;
  if (d >= rotary) return stored.rows.row(o);
  const int64_t half = rotary / 2;
  return stored.rows.row(o - d + (d < half ? 2 * d : 2 * (d - half) + 1));
}

Result<std::vector<Piece>> map_tensors(const models::Model& model, const models::ResolvedModel& own,
                                       const models::ResolvedModel& target, format::Container container) {
  Walker walker(model, container);
  LAMINA_CHECK_OK(walker.walk(own.embedding, target.embedding, {.role = "embedding", .key = "embedding"}));
  for (size_t i = 0; i < own.layers.size(); ++i) {
    for (const auto& [role, record] : own.layers[i].items()) {
      if (!record.is_object()) continue;
      const json other = target.layers[i].value(role, json());
      LAMINA_CHECK_OK(walker.walk(record, other, {.layer = static_cast<int>(i), .role = role, .key = role}));
    }
  }
  if (const auto index = head_index(model, own)) {
    json head = own.heads[*index];
    if (model.head().tied()) head.erase("weight");
    LAMINA_CHECK_OK(walker.walk(head, target.heads[*index], {.role = "head", .key = "head"}));
  }
  LAMINA_CHECK_OK(walker.check_complete());
  return walker.take();
}

}  // namespace lamina::compress
