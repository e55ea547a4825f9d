#include "compress/output_tensor.h"

#include <algorithm>
#include <map>

#include "codec/fallback.h"
#include "format/safetensors_types.h"

namespace lamina::compress {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;
using Change = OutputTensor::Change;
using Half = OutputTensor::Half;

namespace {

constexpr int64_t kMxfp4Block = 32;

const codec::Codec& f32() {
  return *codec::find_codec("f32");
}

const codec::Codec& mxfp4() {
  return *codec::find_codec("mxfp4");
}

/// Matrix `index` of a stack.
core::TensorView part_of(core::TensorView view, int64_t index, int64_t count) {
  const int64_t bytes = view.bytes() / count;
  for (int i = 1; i < view.rank; ++i) view.shape[static_cast<size_t>(i - 1)] = view.shape[static_cast<size_t>(i)];
  view.shape[static_cast<size_t>(view.rank - 1)] = 1;
  view.rank -= 1;
  view.data += index * bytes;
  return view;
}

Change change_of(const Piece& piece) {
  if (piece.from.logarithm == piece.to.logarithm) return Change::kNone;
  return piece.to.logarithm ? Change::kLogarithm : Change::kPower;
}

class Assembler {
 public:
  Assembler(const models::Model& model, format::Container container, const ChooseCodec& choose)
      : model_(model), container_(container), choose_(choose) {}

  Result<OutputTensor> make(const std::string& name, std::span<const Piece* const> pieces) const;

 private:
  Result<OutputTensor::Source> source_of(const Piece& piece) const;
  Result<OutputTensor::Source> halved_source(const Piece& piece) const;
  Status fill_rows(std::span<const Piece* const> pieces, OutputTensor& out) const;
  Status choose_format(std::span<const Piece* const> pieces, OutputTensor& out) const;
  Result<const codec::Codec*> chosen_codec(std::span<const Piece* const> pieces, OutputTensor& out) const;
  Result<const codec::Codec*> kept_codec(const Piece& first, const OutputTensor& out) const;
  void set_shape(const Piece& piece, OutputTensor& out) const;
  std::string place() const { return model_.files().path().string(); }

  const models::Model& model_;
  format::Container container_;
  const ChooseCodec& choose_;
};

Result<OutputTensor::Source> Assembler::source_of(const Piece& piece) const {
  if (!piece.from.scales.empty()) return halved_source(piece);
  LAMINA_ASSIGN(core::TensorView view, model_.files().weight(model_.weights().file_name(piece.from.tensor)));
  if (piece.from.count > 0) view = part_of(view, piece.from.index, piece.from.count);
  if (piece.inputs == 0) {
    view.shape = {view.elements(), 1, 1, 1};
    view.rank = 2;
  }
  if (const int64_t inputs = piece.from.rows.inputs; inputs > 0) {
    view.data = view.row(piece.from.rows.input_begin);
    view.shape[0] = inputs;
  }
  OutputTensor::Source source{.view = view, .input_first = piece.from.rows.input_first};
  source.offset = static_cast<float>(piece.from.offset - piece.to.offset);
  source.change = change_of(piece);
  return source;
}

/// MXFP4 of a folder: bytes [matrices, rows, blocks, 16] and exponents [matrices, rows, blocks].
Result<OutputTensor::Source> Assembler::halved_source(const Piece& piece) const {
  const core::TensorView* pairs = model_.files().find(model_.weights().file_name(piece.from.tensor));
  const core::TensorView* exponents = model_.files().find(model_.weights().file_name(piece.from.scales));
  if (pairs == nullptr || exponents == nullptr)
    return fail(ErrorCode::kNotFound, place(), "tensor {} or {} is missing", piece.from.tensor, piece.from.scales);
  core::TensorView view = part_of(*pairs, piece.from.index, piece.from.count);
  view.rank = 2;
  view.shape = {piece.from.rows.of, piece.inputs / 2, 1, 1};
  return OutputTensor::Source{.view = view, .scales = part_of(*exponents, piece.from.index, piece.from.count).data};
}

Status Assembler::fill_rows(std::span<const Piece* const> pieces, OutputTensor& out) const {
  out.rows.assign(static_cast<size_t>(pieces.front()->to.all_rows()), {});
  for (const Piece* piece : pieces) {
    LAMINA_ASSIGN(OutputTensor::Source made, source_of(*piece));
    const auto source = static_cast<int32_t>(out.sources.size());
    out.sources.push_back(made);
    for (int64_t o = 0; o < piece->outputs; ++o) {
      const int64_t row = piece->to.in_stack(piece->row(piece->to, o));
      if (row < 0 || row >= std::ssize(out.rows)) {
        return fail(ErrorCode::kUnsupported, place(), "row {} of {} lies outside of tensor {}", o, piece->from.tensor,
                    out.name);
      }
      out.rows[static_cast<size_t>(row)] = {.source = source, .row = piece->row(piece->from, o)};
    }
  }
  const auto empty = std::ranges::find(out.rows, -1, &OutputTensor::Row::source);
  if (empty == out.rows.end()) return {};
  return fail(ErrorCode::kUnsupported, place(), "nothing fills row {} of tensor {}", empty - out.rows.begin(),
              out.name);
}

/// What the recipe says, or null.
Result<const codec::Codec*> Assembler::chosen_codec(std::span<const Piece* const> pieces, OutputTensor& out) const {
  const Piece& first = *pieces.front();
  if (!first.matrix) return nullptr;
  const codec::Codec* codec = choose_(first);
  for (const Piece* piece : pieces) {
    if (choose_(*piece) == codec) continue;
    return fail(ErrorCode::kInvalid, place(),
                "{} and {} of layer {} lie in one tensor, {}; one codec for both expected", first.key, piece->key,
                first.layer, out.name);
  }
  if (codec == nullptr) return nullptr;
  LAMINA_ASSIGN(const codec::RowCodec chosen, codec::codec_for_rows(*codec, first.inputs));
  out.note = chosen.note;
  return chosen.codec;
}

/// The format of the sources; f32 for vectors in GGUF, where numbers change, and where blocks are turned.
Result<const codec::Codec*> Assembler::kept_codec(const Piece& first, const OutputTensor& out) const {
  const codec::Codec& codec = out.sources.front().codec();
  const bool small = (first.inputs == 0 || first.small) && container_ == format::Container::kGguf;
  if (small) return &f32();
  for (const OutputTensor::Source& source : out.sources) {
    if (source.offset != 0 || source.change != Change::kNone) return &f32();
    if (source.input_first && source.codec().format.block_elements > 1) return &f32();
  }
  for (const OutputTensor::Source& source : out.sources) {
    if (&source.codec() == &codec) continue;
    return fail(ErrorCode::kUnsupported, place(),
                "tensor {} is put together from {} and {}; L*:f16 would make them one", out.name, codec.format.name,
                source.codec().format.name);
  }
  return &codec;
}

Status Assembler::choose_format(std::span<const Piece* const> pieces, OutputTensor& out) const {
  const Piece& first = *pieces.front();
  LAMINA_ASSIGN(const codec::Codec* codec, chosen_codec(pieces, out));
  if (codec == nullptr) {
    LAMINA_ASSIGN(codec, kept_codec(first, out));
  }
  if (!first.to.scales.empty() && codec != &mxfp4()) {
    return fail(ErrorCode::kUnsupported, place(), "tensor {} is of MXFP4 there and would be of {}", out.name,
                codec->format.name);
  }
  if (codec->format.block_elements > 1) out.input_first = false;
  out.shape.format = &codec->format;
  return {};
}

void Assembler::set_shape(const Piece& piece, OutputTensor& out) const {
  const auto rows = std::ssize(out.rows);
  out.inputs = piece.inputs == 0 ? 1 : piece.inputs;
  out.matrices = std::max<int64_t>(1, piece.to.count);
  std::vector<int64_t> shape = piece.shape;
  if (shape.empty()) {
    shape = {rows / out.matrices};
    if (piece.inputs > 0) shape.insert(out.input_first ? shape.begin() : shape.end(), piece.inputs);
    if (piece.to.count > 0) shape.insert(shape.begin(), piece.to.count);
  }
  out.shape.rank = static_cast<int>(shape.size());
  out.shape.shape = {1, 1, 1, 1};
  std::ranges::copy(shape, out.shape.shape.begin());
}

Result<OutputTensor> Assembler::make(const std::string& name, std::span<const Piece* const> pieces) const {
  const Piece& first = *pieces.front();
  OutputTensor out{.name = name, .matrix = first.matrix, .layer = first.layer, .role = first.role, .key = first.key};
  if (!first.literal.empty()) {
    out.literal = first.literal;
    out.shape = {.format = &f32().format, .rank = 1, .shape = {first.outputs, 1, 1, 1}};
    return out;
  }
  out.input_first = first.to.rows.input_first;
  LAMINA_CHECK_OK(fill_rows(pieces, out));
  LAMINA_CHECK_OK(choose_format(pieces, out));
  set_shape(first, out);
  return out;
}

/// MXFP4 as two tensors of bytes.
void push_halves(OutputTensor tensor, const std::string& exponents, std::vector<OutputTensor>& out) {
  const int64_t blocks = tensor.inputs / kMxfp4Block;
  tensor.half = Half::kPairs;
  tensor.shape.format = format::safetensors_format("U8");
  tensor.shape.rank = 4;
  const int64_t rows = std::ssize(tensor.rows) / tensor.matrices;
  tensor.shape.shape = {tensor.matrices, rows, blocks, kMxfp4Block / 2};
  OutputTensor other = tensor;
  out.push_back(std::move(tensor));
  other.name = exponents;
  other.half = Half::kExponents;
  other.shape.rank = 3;
  other.shape.shape = {other.matrices, rows, blocks, 1};
  out.push_back(std::move(other));
}

/// The format of most numbers of matrices, if it has 16 bits; else null.
const codec::Codec* short_format(std::span<const OutputTensor> tensors) {
  std::map<const core::NumberFormat*, int64_t> counts;
  for (const OutputTensor& tensor : tensors) {
    if (tensor.matrix) counts[tensor.shape.format] += tensor.shape.elements();
  }
  const auto most = std::ranges::max_element(counts, {}, [](const auto& entry) { return entry.second; });
  if (most == counts.end() || (most->first->name != "f16" && most->first->name != "bf16")) return nullptr;
  return codec::codec_of(*most->first);
}

void shorten_vectors(std::vector<OutputTensor>& tensors) {
  const codec::Codec* codec = short_format(tensors);
  if (codec == nullptr) return;
  for (OutputTensor& tensor : tensors) {
    const bool fits = !tensor.matrix && tensor.literal.empty() && tensor.shape.format == &f32().format;
    if (fits && holds_exactly(tensor, *codec)) tensor.shape.format = &codec->format;
  }
}

}  // namespace

const codec::Codec& OutputTensor::Source::codec() const {
  return scales != nullptr ? mxfp4() : *codec::codec_of(*view.format);
}

const codec::Codec& OutputTensor::codec() const {
  return half == Half::kWhole ? *codec::codec_of(*shape.format) : mxfp4();
}

bool copies_as(const OutputTensor& tensor, const codec::Codec& codec) {
  return tensor.literal.empty() && std::ranges::all_of(tensor.sources, [&](const OutputTensor::Source& source) {
           const bool turned = source.input_first && codec.format.block_elements > 1;
           return &source.codec() == &codec && source.offset == 0 && source.change == Change::kNone && !turned;
         });
}

Result<std::vector<OutputTensor>> assemble(const models::Model& model, std::span<const Piece> pieces,
                                           format::Container container, const ChooseCodec& choose) {
  std::vector<std::string> order;
  std::map<std::string, std::vector<const Piece*>> groups;
  for (const Piece& piece : pieces) {
    auto& group = groups[piece.to.tensor];
    if (group.empty()) order.push_back(piece.to.tensor);
    group.push_back(&piece);
  }
  const Assembler assembler(model, container, choose);
  std::vector<OutputTensor> out;
  for (const std::string& name : order) {
    const Piece& first = *groups[name].front();
    LAMINA_ASSIGN(OutputTensor tensor, assembler.make(name, groups[name]));
    if (first.to.scales.empty()) {
      out.push_back(std::move(tensor));
    } else {
      push_halves(std::move(tensor), first.to.scales, out);
    }
  }
  if (container == format::Container::kHuggingFace) shorten_vectors(out);
  return out;
}

namespace {

/// Gives a kept tensor the codec; a stack or matrix whose inputs come first is turned when numbers come in blocks.
Status recode(const Piece& piece, const codec::Codec& codec, const std::string& place, OutputTensor& kept) {
  if (!piece.from.scales.empty()) {
    return fail(ErrorCode::kUnsupported, place, "tensor {} is MXFP4 in two tensors; a GGUF file can be given {}",
                kept.name, codec.format.name);
  }
  LAMINA_ASSIGN(const codec::RowCodec chosen, codec::codec_for_rows(codec, piece.inputs));
  const core::TensorView view = kept.sources.front().view;
  kept.note = chosen.note;
  kept.shape.format = &chosen.codec->format;
  if (kept.shape.format == view.format) return {};
  const bool turn = piece.from.rows.input_first && chosen.codec->format.block_elements > 1;
  if (!turn) {
    kept.rows.resize(static_cast<size_t>(view.rows()));
    for (size_t i = 0; i < kept.rows.size(); ++i) kept.rows[i] = {.source = 0, .row = static_cast<int64_t>(i)};
    return {};
  }
  kept.inputs = piece.inputs;
  kept.matrices = std::max<int64_t>(1, piece.from.count);
  kept.sources.clear();
  for (int64_t i = 0; i < kept.matrices; ++i) {
    const core::TensorView part = piece.from.count > 0 ? part_of(view, i, kept.matrices) : view;
    kept.sources.push_back({.view = part, .input_first = true});
    for (int64_t row = 0; row < part.columns(); ++row) kept.rows.push_back({static_cast<int32_t>(i), row});
  }
  std::swap(kept.shape.shape[static_cast<size_t>(view.rank - 1)], kept.shape.shape[static_cast<size_t>(view.rank - 2)]);
  return {};
}

}  // namespace

Result<std::vector<OutputTensor>> keep_names(const models::Model& model, std::span<const Piece> pieces,
                                             const ChooseCodec& choose) {
  std::map<std::string, const Piece*> by_name;
  const std::string place = model.files().path().string();
  for (const Piece& piece : pieces) {
    const auto [at, added] = by_name.emplace(model.weights().file_name(piece.from.tensor), &piece);
    if (added || !piece.matrix || choose(*at->second) == choose(piece)) continue;
    return fail(ErrorCode::kInvalid, place, "{} and {} of layer {} lie in one tensor, {}; one codec for both expected",
                at->second->key, piece.key, piece.layer, at->first);
  }
  std::vector<OutputTensor> out;
  for (const format::NamedTensor& tensor : model.files().tensors()) {
    OutputTensor kept{.name = std::string(tensor.name), .shape = tensor.view, .inputs = tensor.view.columns()};
    kept.shape.data = nullptr;
    kept.sources.push_back({.view = tensor.view});
    if (const auto found = by_name.find(kept.name); found != by_name.end()) {
      const Piece& piece = *found->second;
      kept.matrix = piece.matrix;
      kept.layer = piece.layer;
      kept.role = piece.role;
      kept.key = piece.key;
      const codec::Codec* codec = piece.matrix ? choose(piece) : nullptr;
      if (codec != nullptr) LAMINA_CHECK_OK(recode(piece, *codec, place, kept));
    }
    out.push_back(std::move(kept));
  }
  return out;
}

}  // namespace lamina::compress
