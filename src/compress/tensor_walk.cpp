#include "compress/tensor_walk.h"

#include <algorithm>

#include "kernels/rope_factors.h"

namespace lamina::compress {

using core::ErrorCode;
using core::fail;
using core::Status;
using format::Container;
using layers::RowPick;
using nlohmann::json;

namespace {

constexpr std::string_view kExpert = "{expert}";

std::string with_expert(std::string name, int64_t index) {
  const size_t at = name.find(kExpert);
  return at == std::string::npos ? name : name.replace(at, kExpert.size(), std::to_string(index));
}

int64_t size_of(const json& record, const char* field) {
  const json value = record.is_object() ? record.value(field, json()) : json();
  return value.is_number() ? static_cast<int64_t>(value.get<double>()) : 0;
}

bool flag_of(const json& record, const char* field) {
  const json value = record.is_object() ? record.value(field, json()) : json();
  return value.is_boolean() && value.get<bool>();
}

std::string text_of(const json& record, const char* field) {
  const json value = record.is_object() ? record.value(field, json()) : json();
  return value.is_string() ? value.get<std::string>() : std::string();
}

/// The record's `rows` and `input_first`; a group of 0 stands for all outputs.
RowPick row_pick(const json& record) {
  RowPick pick{.group = 0, .stride = 0};
  if (!record.is_object()) return pick;
  const json rows = record.value("rows", json());
  if (rows.is_object()) {
    pick.begin = size_of(rows, "begin");
    pick.of = size_of(rows, "of");
    pick.group = size_of(rows, "group");
    pick.stride = rows.contains("stride") ? size_of(rows, "stride") : pick.group;
  }
  pick.input_first = flag_of(record, "input_first");
  return pick;
}

RowPick complete(RowPick pick, int64_t outputs) {
  if (pick.of == 0) pick.of = outputs;
  if (pick.group == 0) pick.group = outputs;
  if (pick.stride == 0) pick.stride = pick.group;
  return pick;
}

Stored stored_of(const json& record, const std::string& tensor, const std::string& field) {
  Stored stored{.tensor = tensor, .rows = row_pick(record)};
  stored.logarithm = flag_of(record, "logarithm");
  if (field != "weight") return stored;
  stored.scales = text_of(record, "scales");
  if (record.contains("epsilon") && record.value("offset", json()).is_number())
    stored.offset = record["offset"].get<double>();
  return stored;
}

kernels::RopeOptions rule_of(const json& rope) {
  kernels::RopeOptions rule;
  rule.rotary = size_of(rope, "dims");
  rule.base = rope["base"].get<double>();
  rule.factor = rope["factor"].get<double>();
  rule.original_context = rope["original_context"].get<double>();
  rule.low_freq_factor = rope["low_frequency"].get<double>();
  rule.high_freq_factor = rope["high_frequency"].get<double>();
  return rule;
}

}  // namespace

TensorWalk::TensorWalk(const models::Model& model, format::Container container) : model_(model), container_(container) {
  for (const auto& linear : model.weights().linears()) {
    outputs_.emplace(Key{linear->name(), linear->rows().begin, linear->rows().input_first}, linear->outputs());
  }
}

bool TensorWalk::names_tensor(const json& value) const {
  return value.is_string() && find(with_expert(value.get<std::string>(), 0)) != nullptr;
}

bool TensorWalk::in_blocks(const std::string& tensor) const {
  const core::TensorView* view = find(tensor);
  return view != nullptr && view->format->block_elements > 1;
}

std::unexpected<core::Error> TensorWalk::no_place(const std::string& name) const {
  return fail(ErrorCode::kUnsupported, model_.files().path().string(), "tensor {} has no place in {}", name,
              container_ == Container::kGguf ? "a GGUF file of its family" : "a Hugging Face folder of its family");
}

Status TensorWalk::walk(const json& from, const json& to, const WalkContext& context) {
  if (!from.is_object()) return {};
  if (from.contains("otherwise") && !names_tensor(from.value("weight", json()))) {
    return walk(from["otherwise"], to, context);
  }
  if (from.contains("keys") && from.contains("values")) return add_heads(from, to, context);
  if (from.contains("ordering")) return add_factors(from, to, context);
  const size_t first = pieces_.size();
  for (const auto& [name, value] : from.items()) {
    if (name != "bias" && name != "otherwise") LAMINA_CHECK_OK(field(from, to, name, context));
  }
  // After its matrix, whose rows it shares.
  if (names_tensor(from.value("bias", json()))) LAMINA_CHECK_OK(add(from, to, "bias", context));
  if (from.contains("rope")) set_order(first, from, to);
  return {};
}

Status TensorWalk::field(const json& from, const json& to, const std::string& name, const WalkContext& context) {
  const json& value = from[name];
  if (name == "weight" && value.is_string()) LAMINA_CHECK_OK(add_factors_of(from, to, context));
  if (!value.is_object()) {
    const bool tensor = name != "present" && name != "scales" && names_tensor(value);
    return tensor ? add(from, to, name, context) : Status();
  }
  WalkContext inner = context;
  inner.key = name;
  inner.shared = context.shared || name == "shared";
  if (const int64_t experts = size_of(from, "experts"); experts > 0) inner.experts = experts;
  return walk(value, to.is_object() ? to.value(name, json()) : json(), inner);
}

Status TensorWalk::add(const json& from, const json& to, const std::string& field, const WalkContext& context) {
  const auto source = from[field].get<std::string>();
  const json target = to.is_object() ? to.value(field, json()) : json();
  if (!target.is_string()) return no_place(source);
  Piece piece{.layer = context.layer, .role = context.role, .key = context.key};
  if (field != "weight" && field != "bias") piece.key = field;
  piece.from = stored_of(from, source, field);
  piece.to = stored_of(to, target.get<std::string>(), field);
  // Numbers in blocks are never stored with their inputs first.
  if (in_blocks(with_expert(source, 0))) piece.from.rows.input_first = false;
  if (context.key == "positions") {
    // Tables may keep rows that no position reads, or not.
    const int64_t idle = size_of(from, "offset") - size_of(to, "offset");
    if (idle < 0) return no_place(source);
    piece.from.rows.begin = idle;
    piece.outputs = find(source)->rows() - idle;
    piece.from.rows.of = piece.outputs + idle;
  }
  piece.small = context.key == "types" && container_ == Container::kGguf;
  const bool experts = context.experts > 0 && !context.shared && field != "selection_bias" && context.key != "router";
  const bool many = source.contains(kExpert) || find(with_expert(source, 0))->rank >= (field == "bias" ? 2 : 3);
  if (experts && many) return add_experts(piece, field == "bias", context);
  return place(std::move(piece), context);
}

/// Two factors that stand for a matrix or are added to it: the rows of the second are the matrix's.
Status TensorWalk::add_factors_of(const json& from, const json& to, const WalkContext& context) {
  const char* field = from.contains("factors") ? "factors" : "weight";
  const std::string name = text_of(from, field);
  if (find(name + std::string(layers::kFactorIn)) == nullptr) return {};
  const std::string target = text_of(to, field);
  if (target.empty()) return no_place(name);
  for (const bool first : {true, false}) {
    const std::string suffix(first ? layers::kFactorIn : layers::kFactorOut);
    Piece piece{.layer = context.layer, .role = context.role, .key = context.key, .factor_in = first};
    piece.from = {.tensor = name + suffix, .rows = first ? RowPick{.group = 0, .stride = 0} : row_pick(from)};
    piece.to = {.tensor = target + suffix, .rows = first ? RowPick{.group = 0, .stride = 0} : row_pick(to)};
    piece.from.rows.input_first = piece.to.rows.input_first = false;
    if (find(piece.from.tensor) == nullptr) {
      return fail(ErrorCode::kNotFound, model_.files().path().string(), "tensor {} is missing", piece.from.tensor);
    }
    LAMINA_CHECK_OK(place(std::move(piece), context));
  }
  return {};
}

/// The matrices of a stack, or with a tensor each, on either side.
Status TensorWalk::add_experts(const Piece& piece, bool bias, const WalkContext& context) {
  const bool down = context.key == "down";
  const int64_t hidden = size_of(context.part, "hidden");
  const int64_t inner = size_of(context.part, "intermediate");
  for (int64_t i = 0; i < context.experts; ++i) {
    Piece one = piece;
    one.matrix = !bias;
    one.outputs = down ? hidden : inner;
    one.inputs = bias ? 0 : down ? inner : hidden;
    for (Stored* stored : {&one.from, &one.to}) {
      if (!stored->tensor.contains(kExpert)) {
        stored->index = i;
        stored->count = context.experts;
      }
      stored->tensor = with_expert(stored->tensor, i);
      stored->rows = complete(stored->rows, one.outputs);
      if (bias) stored->rows.input_first = false;
    }
    if (find(one.from.tensor) == nullptr) {
      return fail(ErrorCode::kNotFound, model_.files().path().string(), "tensor {} is missing", one.from.tensor);
    }
    if (bias && one.to.count > 0) one.shape = {one.to.count, one.to.rows.of};
    pieces_.push_back(std::move(one));
  }
  return {};
}

/// Keys and values of the heads of latent attention: one tensor [heads * (nope + value), latent], or two, stacks of
/// [latent, nope] and of [value, latent].
Status TensorWalk::add_heads(const json& from, const json& to, const WalkContext& context) {
  const int64_t heads = size_of(context.part, "heads");
  const int64_t latent = size_of(context.part, "latent");
  const int64_t nope = size_of(context.part, "nope");
  const int64_t value = size_of(context.part, "value_size");
  const bool joint_from = names_tensor(from.value("weight", json()));
  const std::string joint_to = text_of(to, "weight");
  const std::string keys = to.is_object() ? text_of(to.value("keys", json()), "weight") : "";
  const std::string values = to.is_object() ? text_of(to.value("values", json()), "weight") : "";
  // Files of today have two tensors where their names are known.
  const bool joint = container_ == model_.files().container() ? joint_from : keys.empty() || values.empty();
  if (joint && joint_to.empty()) return no_place(text_of(from, "weight"));
  const int64_t rows = nope + value;
  const auto of_joint = [&](const std::string& name, int64_t head, bool is_value) {
    Stored stored{.tensor = name, .rows = RowPick::all(is_value ? value : nope)};
    stored.rows.begin = head * rows + (is_value ? nope : 0);
    stored.rows.of = heads * rows;
    return stored;
  };
  const auto of_stack = [&](const std::string& name, int64_t head, bool is_value) {
    Stored stored{.tensor = name, .rows = RowPick::all(is_value ? value : latent), .index = head, .count = heads};
    return stored;
  };
  for (int64_t head = 0; head < heads; ++head) {
    for (const bool is_value : {false, true}) {
      const std::string stack = text_of(from[is_value ? "values" : "keys"], "weight");
      Stored source = joint_from ? of_joint(text_of(from, "weight"), head, is_value) : of_stack(stack, head, is_value);
      const Stored target =
          joint ? of_joint(joint_to, head, is_value) : of_stack(is_value ? values : keys, head, is_value);
      const bool turned = !is_value && joint_from != joint;
      if (turned && joint_from) {
        // Row i of the keys is column i of the head's part of the joint tensor.
        source.rows = RowPick::all(latent);
        source.rows.input_begin = head * rows;
        source.rows.inputs = nope;
      } else if (turned) {
        source.rows = RowPick::all(nope);
        source.rows.inputs = latent;
      }
      source.rows.input_first = turned;
      const bool of_latent = is_value || joint;
      LAMINA_CHECK_OK(add_head(source, target,
                               is_value ? value
                               : joint  ? nope
                                        : latent,
                               of_latent ? latent : nope, context));
    }
  }
  return {};
}

Status TensorWalk::add_head(const Stored& from, const Stored& to, int64_t outputs, int64_t inputs,
                            const WalkContext& context) {
  Piece piece{.layer = context.layer, .role = context.role, .key = context.key, .matrix = true};
  piece.outputs = outputs;
  piece.inputs = inputs;
  piece.from = from;
  piece.to = to;
  if (find(from.tensor) == nullptr) {
    return fail(ErrorCode::kNotFound, model_.files().path().string(), "tensor {} is missing", from.tensor);
  }
  pieces_.push_back(std::move(piece));
  return {};
}

void TensorWalk::add_literal(std::vector<float> numbers, const std::string& target, const WalkContext& context) {
  if (!seen_.insert(target).second) return;
  Piece piece{.layer = context.layer, .role = context.role, .key = context.key};
  piece.outputs = std::ssize(numbers);
  piece.to = {.tensor = target, .rows = RowPick::all(piece.outputs)};
  piece.literal = std::move(numbers);
  pieces_.push_back(std::move(piece));
}

/// Divisors of rotary frequencies: a tensor here, a list or a rule there.
Status TensorWalk::add_factors(const json& from, const json& to, const WalkContext& context) {
  for (const char* field : {"factors", "long_factors"}) {
    const json value = from.value(field, json());
    const std::string target = text_of(to, field);
    if (names_tensor(value)) {
      if (!target.empty()) LAMINA_CHECK_OK(add(from, to, field, context));
    } else if (value.is_array() && !value.empty() && !target.empty()) {
      add_literal(value.get<std::vector<float>>(), target, context);
    } else if (text_of(from, "kind") == "llama3" && text_of(to, "kind") != "llama3" && !target.empty()) {
      LAMINA_ASSIGN(std::vector<float> factors, kernels::llama3_factors(rule_of(from)));
      add_literal(std::move(factors), target, context);
    }
  }
  return {};
}

/// The shape of arrays that are neither matrix nor vector: the kinds of layers that have them say how.
std::vector<int64_t> TensorWalk::array_shape(const Piece& piece, const WalkContext& context) const {
  const int64_t count = find(piece.from.tensor)->elements();
  const bool gguf = container_ == Container::kGguf;
  if (context.key == "conv" && piece.key == "conv") {
    const int64_t width = std::max<int64_t>(1, size_of(context.part["conv"], "width"));
    return gguf ? std::vector{count / width, width} : std::vector{count / width, int64_t{1}, width};
  }
  if (text_of(context.part, "kind") != "state_space") return {};
  if (piece.key == "a" || piece.key == "d") return gguf ? std::vector{count, int64_t{1}} : std::vector{count};
  const int64_t groups = std::max<int64_t>(1, size_of(context.part, "groups"));
  if (piece.key == "inner_norm") return gguf ? std::vector{groups, count / groups} : std::vector{count};
  return {};
}

Status TensorWalk::place(Piece piece, const WalkContext& context) {
  const core::TensorView& view = *find(piece.from.tensor);
  const auto linear = outputs_.find({piece.from.tensor, piece.from.rows.begin, piece.from.rows.input_first});
  const bool is_bias = context.key == "conv" && view.rank == 1;
  if (!is_bias) piece.shape = array_shape(piece, context);
  const bool vector = !piece.shape.empty() || view.rank == 1 ||
                      (view.rank == 2 && view.shape[0] == 1 && linear == outputs_.end() && context.key != "types");
  const bool tokens = piece.role == "embedding" && piece.key == "embedding";
  piece.matrix = !vector && (tokens || linear != outputs_.end());
  piece.inputs = vector ? 0 : piece.from.rows.input_first ? view.shape[0] : view.columns();
  if (piece.outputs == 0) piece.outputs = vector ? view.elements() : view.rows();
  if (linear != outputs_.end() && !vector) piece.outputs = linear->second;
  if (vector && piece.from.rows.of > 0) {  // a bias beside a matrix of picked rows
    const auto beside = std::ranges::find_if(pieces_.rbegin(), pieces_.rend(), [&](const Piece& other) {
      return other.matrix && other.layer == piece.layer && other.role == piece.role && other.key == piece.key;
    });
    if (beside != pieces_.rend()) piece.outputs = beside->outputs;
  }
  if (vector) piece.from.rows.input_first = piece.to.rows.input_first = false;
  piece.from.rows = complete(piece.from.rows, piece.outputs);
  piece.to.rows = complete(piece.to.rows, piece.outputs);
  // Folders keep the gate of the shared expert as a matrix of one row.
  if (vector && piece.key == "router" && context.shared && container_ == Container::kHuggingFace)
    piece.shape = {1, piece.outputs};
  const std::string identity = fmt::format("{}:{}", piece.to.tensor, piece.to.rows.begin);
  if (seen_.insert(identity).second) pieces_.push_back(std::move(piece));
  return {};
}

/// Queries and keys lie in another order where the two containers turn other pairs.
void TensorWalk::set_order(size_t first, const json& from, const json& to) {
  const json rope = from.value("rope", json());
  const json other = to.is_object() ? to.value("rope", json()) : json();
  if (!rope.is_object() || !other.is_object() || rope["ordering"] == other["ordering"]) return;
  const bool latent = from.contains("latent");
  const int64_t rotary = size_of(rope, "dims");
  for (size_t i = first; i < pieces_.size(); ++i) {
    Piece& piece = pieces_[i];
    // Latent attention turns the end of each query, and of the rows that make latent and key.
    const bool turned = latent ? piece.key == "q" || piece.key == "kv_a"
                               : piece.key == "q" || piece.key == "k" || piece.key == "q_norm" || piece.key == "k_norm";
    if (!turned || piece.factor_in) continue;
    piece.rotary = rotary;
    piece.head_size =
        latent ? (piece.key == "q" ? size_of(from, "nope") + rotary : piece.outputs) : size_of(from, "head_size");
    piece.turn_begin = latent ? piece.head_size - rotary : 0;
    piece.from.interleaved = rope["ordering"] == "interleaved";
    piece.to.interleaved = other["ordering"] == "interleaved";
  }
}

Status TensorWalk::check_complete(const std::set<std::string>& said) const {
  std::set<std::string> mapped = said;
  for (const Piece& piece : pieces_) {
    for (const std::string* name : {&piece.from.tensor, &piece.from.scales}) {
      if (!name->empty()) mapped.insert(model_.weights().file_name(*name));
    }
  }
  for (const std::string& name : model_.weights().used()) {
    if (!mapped.contains(name)) return no_place(name);
  }
  return {};
}

}  // namespace lamina::compress
