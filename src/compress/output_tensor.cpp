#include "compress/output_tensor.h"

#include <algorithm>
#include <map>

#include "codec/fallback.h"

namespace lamina::compress {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

namespace {

const codec::Codec& f32() {
  return *codec::find_codec("f32");
}

/// One tensor of the target while its pieces are put together.
struct Group {
  std::vector<const Piece*> pieces;
};

class Assembler {
 public:
  Assembler(const models::Model& model, format::Container container, const ChooseCodec& choose)
      : model_(model), container_(container), choose_(choose) {}

  Result<OutputTensor> make(const std::string& name, std::span<const Piece* const> pieces) const;

 private:
  Result<core::TensorView> view_of(const Piece& piece) const;
  Status fill_rows(std::span<const Piece* const> pieces, OutputTensor& out) const;
  Status choose_format(std::span<const Piece* const> pieces, OutputTensor& out) const;
  void set_shape(const Piece& piece, OutputTensor& out) const;
  std::string place() const { return model_.files().path().string(); }

  const models::Model& model_;
  format::Container container_;
  const ChooseCodec& choose_;
};

Result<core::TensorView> Assembler::view_of(const Piece& piece) const {
  LAMINA_ASSIGN(core::TensorView view, model_.files().weight(model_.weights().file_name(piece.from.tensor)));
  if (piece.inputs == 0) {
    view.shape = {view.elements(), 1, 1, 1};
    view.rank = 2;
  }
  return view;
}

Status Assembler::fill_rows(std::span<const Piece* const> pieces, OutputTensor& out) const {
  out.rows.assign(static_cast<size_t>(pieces.front()->to.rows.of), {});
  for (const Piece* piece : pieces) {
    LAMINA_ASSIGN(const core::TensorView view, view_of(*piece));
    const auto source = static_cast<int32_t>(out.sources.size());
    out.sources.push_back({.view = view,
                           .input_first = piece->from.rows.input_first,
                           .offset = static_cast<float>(piece->from.offset - piece->to.offset)});
    for (int64_t o = 0; o < piece->outputs; ++o) {
      const int64_t row = piece->row(piece->to, o);
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

/// The format of the first source, f32 for vectors in GGUF and where a number is added, or what the recipe says.
Status Assembler::choose_format(std::span<const Piece* const> pieces, OutputTensor& out) const {
  const Piece& first = *pieces.front();
  const core::NumberFormat* format = out.sources.front().view.format;
  for (const OutputTensor::Source& source : out.sources) {
    if (source.view.format == format) continue;
    return fail(ErrorCode::kUnsupported, place(),
                "tensor {} is put together from {} and {}; L*:f16 would make them one", out.name, format->name,
                source.view.format->name);
  }
  const bool vector = first.inputs == 0;
  if (vector && container_ == format::Container::kGguf) format = &f32().format;
  if (out.sources.front().offset != 0) format = &f32().format;
  if (first.matrix) {
    const codec::Codec* codec = choose_(first);
    for (const Piece* piece : pieces) {
      if (choose_(*piece) == codec) continue;
      return fail(ErrorCode::kInvalid, place(),
                  "{} and {} of layer {} lie in one tensor, {}; one codec for both expected", first.key, piece->key,
                  first.layer, out.name);
    }
    if (codec != nullptr) {
      LAMINA_ASSIGN(const codec::RowCodec chosen, codec::codec_for_rows(*codec, first.inputs));
      format = &chosen.codec->format;
      out.note = chosen.note;
    }
  }
  const bool turned = out.input_first || std::ranges::any_of(out.sources, &OutputTensor::Source::input_first);
  const bool blocks = format->block_elements > 1 || out.sources.front().view.format->block_elements > 1;
  const bool fits = !blocks || (!out.input_first && (out.sources.front().view.format->block_elements == 1 || !turned));
  if (!fits) {
    return fail(ErrorCode::kUnsupported, place(),
                "tensor {} is stored with its inputs first there, which numbers in blocks ({}) cannot be; f32, f16 or "
                "bf16 would work",
                out.name, format->block_elements > 1 ? format->name : out.sources.front().view.format->name);
  }
  out.shape.format = format;
  return {};
}

void Assembler::set_shape(const Piece& piece, OutputTensor& out) const {
  const auto rows = std::ssize(out.rows);
  out.inputs = piece.inputs == 0 ? 1 : piece.inputs;
  out.shape.rank = 2;
  out.shape.shape = {rows, piece.inputs, 1, 1};
  if (piece.inputs == 0) {
    out.shape.rank = piece.one_row ? 2 : 1;
    out.shape.shape = piece.one_row ? std::array<int64_t, core::kMaxRank>{1, rows, 1, 1}
                                    : std::array<int64_t, core::kMaxRank>{rows, 1, 1, 1};
  } else if (piece.experts > 0) {
    out.shape.rank = 3;
    out.shape.shape = {piece.experts, rows / piece.experts, piece.inputs, 1};
  } else if (out.input_first) {
    std::swap(out.shape.shape[0], out.shape.shape[1]);
  }
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

}  // namespace

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
    LAMINA_ASSIGN(OutputTensor tensor, assembler.make(name, groups[name]));
    out.push_back(std::move(tensor));
  }
  return out;
}

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
    const auto found = by_name.find(kept.name);
    if (found != by_name.end()) {
      const Piece& piece = *found->second;
      kept.matrix = piece.matrix;
      kept.layer = piece.layer;
      kept.role = piece.role;
      kept.key = piece.key;
      const codec::Codec* codec = piece.matrix ? choose(piece) : nullptr;
      if (codec != nullptr) {
        LAMINA_ASSIGN(const codec::RowCodec chosen, codec::codec_for_rows(*codec, piece.inputs));
        if (piece.from.rows.input_first && chosen.codec->format.block_elements > 1) {
          return fail(ErrorCode::kUnsupported, place,
                      "tensor {} is stored with its inputs first, which numbers in blocks ({}) cannot be; f32, f16 or "
                      "bf16, or a GGUF file would work",
                      kept.name, chosen.codec->format.name);
        }
        kept.shape.format = &chosen.codec->format;
        kept.note = chosen.note;
      }
    }
    if (kept.shape.format != tensor.view.format) {
      kept.rows.resize(static_cast<size_t>(tensor.view.rows()));
      for (size_t i = 0; i < kept.rows.size(); ++i) kept.rows[i] = {.source = 0, .row = static_cast<int64_t>(i)};
    }
    out.push_back(std::move(kept));
  }
  return out;
}

}  // namespace lamina::compress
