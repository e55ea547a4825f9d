#include "compress/edit.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "codec/codec.h"
#include "compress/scratch.h"
#include "models/structure.h"

namespace lamina::compress {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

namespace {

const codec::Codec& f32() {
  return *codec::find_codec("f32");
}

/// Rows of numbers, one after another in memory, of the part of a tensor that a piece lies in.
core::TensorView part_of(const Piece& piece, core::TensorView view) {
  const int64_t count = std::max<int64_t>(piece.from.count, 1);
  const int64_t bytes = view.bytes() / count;
  view.data += piece.from.index * bytes;
  if (piece.inputs == 0) {
    view.shape = {view.elements() / count, 1, 1, 1};
    view.rank = 2;
    return view;
  }
  if (piece.from.count > 0) {
    view.shape = {view.shape[1], view.shape[2], 1, 1};
    view.rank = 2;
  }
  return view;
}

/// What a stored number means, and the way back.
float meant(const Stored& stored, float x) {
  if (stored.logarithm) x = -std::exp(x);
  return x + static_cast<float>(stored.offset);
}
float kept(const Stored& stored, float x) {
  x -= static_cast<float>(stored.offset);
  return stored.logarithm ? std::log(-x) : x;
}

}  // namespace

ModelEdit::ModelEdit(ModelEdit&&) noexcept = default;
ModelEdit& ModelEdit::operator=(ModelEdit&&) noexcept = default;
ModelEdit::~ModelEdit() = default;

Result<ModelEdit> ModelEdit::open(std::unique_ptr<models::Model> model, const std::filesystem::path& scratch,
                                  core::ThreadPool& pool) {
  ModelEdit edit;
  edit.pool_ = &pool;
  LAMINA_ASSIGN(edit.scratch_, Scratch::open(scratch));
  edit.model_ = std::move(model);
  LAMINA_CHECK_OK(edit.walk());
  for (const format::NamedTensor& tensor : edit.model_->files().tensors()) {
    const std::string name(tensor.name);
    edit.order_.push_back(name);
    edit.tensors_[name] = {.view = tensor.view, .before = codec::codec_of(*tensor.view.format)};
  }
  edit.config_ = edit.model_->files().config();
  edit.source_layers_ = static_cast<int>(edit.model_->layers().size());
  for (int i = 0; i < edit.source_layers_; ++i) edit.origins_.push_back(i);
  return edit;
}

/// Finds the family and lists the pieces.
Status ModelEdit::walk() {
  LAMINA_ASSIGN(architecture_, models::find_architecture(model_->files()));
  LAMINA_ASSIGN(pieces_, map_tensors(*model_, *architecture_));
  return {};
}

const Piece* ModelEdit::find(int layer, std::string_view role, std::string_view key) const {
  const auto found = std::ranges::find_if(
      pieces_, [&](const Piece& piece) { return piece.layer == layer && piece.role == role && piece.key == key; });
  return found == pieces_.end() ? nullptr : &*found;
}

const Piece* ModelEdit::bias_of(const Piece& matrix) const {
  const auto found = std::ranges::find_if(pieces_, [&](const Piece& piece) {
    return !piece.matrix && piece.inputs == 0 && piece.layer == matrix.layer && piece.role == matrix.role &&
           piece.key == matrix.key && piece.outputs == matrix.outputs && piece.from.index == matrix.from.index;
  });
  return found == pieces_.end() ? nullptr : &*found;
}

void ModelEdit::keep_layers(const std::vector<int>& kept) {
  std::vector<int> origins;
  for (const int layer : kept) origins.push_back(origins_[static_cast<size_t>(layer)]);
  origins_ = std::move(origins);
}

Result<Matrix> ModelEdit::read(const Piece& piece) const {
  Matrix out{.outputs = piece.outputs, .inputs = std::max<int64_t>(piece.inputs, 1)};
  if (!piece.literal.empty()) {
    out.numbers = piece.literal;
    return out;
  }
  const auto found = tensors_.find(file_name(piece));
  if (found == tensors_.end()) return fail(ErrorCode::kNotFound, place(), "tensor {} is missing", piece.from.tensor);
  const codec::Codec* codec = codec::codec_of(*found->second.view.format);
  if (codec == nullptr || !piece.from.scales.empty()) {
    return fail(ErrorCode::kUnsupported, place(), "tensor {} is {}, whose numbers cannot be changed", piece.from.tensor,
                piece.from.scales.empty() ? found->second.view.format->name : "MXFP4 in two tensors");
  }
  const core::TensorView part = part_of(piece, found->second.view);
  out.numbers.resize(static_cast<size_t>(out.outputs * out.inputs));
  if (piece.inputs == 0) {
    std::vector<float> all(static_cast<size_t>(part.elements()));
    codec->decode(part.data, part.elements(), all.data());
    for (int64_t o = 0; o < out.outputs; ++o)
      out.numbers[static_cast<size_t>(o)] = all[static_cast<size_t>(piece.row(piece.from, o))];
  } else if (inputs_first(piece, found->second)) {
    std::vector<float> row(static_cast<size_t>(part.columns()));
    for (int64_t i = 0; i < out.inputs; ++i) {
      codec->decode(part.row(piece.from.rows.input_begin + i), part.columns(), row.data());
      for (int64_t o = 0; o < out.outputs; ++o) out.row(o)[i] = row[static_cast<size_t>(piece.row(piece.from, o))];
    }
  } else {
    pool_->run([&](int index, int threads) {
      const core::Range range = core::split_range(out.outputs, 1, index, threads);
      for (int64_t o = range.begin; o < range.end; ++o)
        codec->decode(part.row(piece.row(piece.from, o)), out.inputs, out.row(o));
    });
  }
  if (piece.from.offset != 0 || piece.from.logarithm) {
    for (float& x : out.numbers) x = meant(piece.from, x);
  }
  return out;
}

/// What lay in blocks lies outputs first, until it is in scratch memory.
bool ModelEdit::inputs_first(const Piece& piece, const Tensor& tensor) {
  return piece.inputs > 0 && (piece.from.rows.input_first || (tensor.own && piece.to.rows.input_first));
}

/// The piece's tensor in scratch memory, as float32: what lay in blocks, and so with its outputs first whatever its
/// family does, lies as the family has it.
Result<ModelEdit::Tensor*> ModelEdit::own_tensor(const Piece& piece) {
  Tensor& tensor = tensors_.at(file_name(piece));
  if (tensor.own) return &tensor;
  core::TensorView view = tensor.view;
  const codec::Codec& codec = *codec::codec_of(*view.format);
  LAMINA_ASSIGN(std::byte* const memory, scratch_->take(view.elements() * 4));
  auto* numbers = reinterpret_cast<float*>(memory);
  const int64_t columns = view.columns();
  pool_->run([&](int index, int threads) {
    const core::Range range = core::split_range(view.rows(), 1, index, threads);
    for (int64_t row = range.begin; row < range.end; ++row)
      codec.decode(view.row(row), columns, numbers + row * columns);
  });
  if (!piece.from.rows.input_first && piece.to.rows.input_first && piece.inputs > 0) {
    const int64_t matrices = std::max<int64_t>(piece.from.count, 1);
    const int64_t rows = view.rows() / matrices;
    std::vector<float> whole(static_cast<size_t>(rows * columns));
    for (int64_t m = 0; m < matrices; ++m) {
      float* matrix = numbers + m * rows * columns;
      std::copy_n(matrix, rows * columns, whole.data());
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < columns; ++c) matrix[c * rows + r] = whole[static_cast<size_t>(r * columns + c)];
      }
    }
    std::swap(view.shape[static_cast<size_t>(view.rank - 1)], view.shape[static_cast<size_t>(view.rank - 2)]);
  }
  view.format = &f32().format;
  view.data = memory;
  tensor.view = view;
  tensor.own = true;
  return &tensor;
}

Status ModelEdit::write(const Piece& piece, const Matrix& matrix) {
  if (matrix.outputs != piece.outputs || matrix.inputs != std::max<int64_t>(piece.inputs, 1) ||
      !piece.literal.empty() || !piece.from.scales.empty()) {
    return fail(ErrorCode::kUnsupported, place(), "tensor {} cannot be given {} x {} numbers", piece.from.tensor,
                matrix.outputs, matrix.inputs);
  }
  const auto bad = std::ranges::find_if_not(matrix.numbers, [](float x) { return std::isfinite(x); });
  if (bad != matrix.numbers.end()) {
    const auto at = bad - matrix.numbers.begin();
    return fail(ErrorCode::kInvalid, piece.from.tensor, "row {}, number {}: {}, which is not finite",
                at / matrix.inputs, at % matrix.inputs, *bad);
  }
  LAMINA_ASSIGN(Tensor* const tensor, own_tensor(piece));
  const core::TensorView part = part_of(piece, tensor->view);
  auto* numbers = const_cast<float*>(reinterpret_cast<const float*>(part.data));
  for (int64_t o = 0; o < matrix.outputs; ++o) {
    const int64_t row = piece.row(piece.from, o);
    const float* from = matrix.row(o);
    if (piece.inputs == 0) {
      numbers[row] = kept(piece.from, *from);
    } else if (inputs_first(piece, *tensor)) {
      for (int64_t i = 0; i < matrix.inputs; ++i)
        numbers[(piece.from.rows.input_begin + i) * part.columns() + row] = kept(piece.from, from[i]);
    } else {
      for (int64_t i = 0; i < matrix.inputs; ++i) numbers[row * matrix.inputs + i] = kept(piece.from, from[i]);
    }
  }
  return {};
}

Status ModelEdit::add(const std::string& name, const std::vector<int64_t>& shape, std::span<const float> numbers,
                      const codec::Codec* codec) {
  core::TensorView view{.format = &f32().format, .rank = static_cast<int>(shape.size())};
  if (shape.empty() || shape.size() > core::kMaxRank)
    return fail(ErrorCode::kInvalid, name, "{} dimensions; 1 to {} expected", shape.size(), core::kMaxRank);
  std::ranges::copy(shape, view.shape.begin());
  if (view.elements() != std::ssize(numbers))
    return fail(ErrorCode::kInvalid, name, "{} numbers; {} expected", numbers.size(), view.elements());
  if (!std::ranges::all_of(numbers, [](float x) { return std::isfinite(x); }))
    return fail(ErrorCode::kInvalid, name, "holds a number that is not finite");
  LAMINA_ASSIGN(std::byte* const memory, scratch_->take(view.bytes()));
  std::memcpy(memory, numbers.data(), numbers.size_bytes());
  view.data = memory;
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) order_.push_back(name);
  const bool resized = found != tensors_.end() && found->second.view.shape != view.shape;
  if (statistics_ && resized) std::erase_if(statistics_->matrices, [&](const auto& one) { return one.tensor == name; });
  tensors_[name] = {.view = view, .before = codec == nullptr ? &f32() : codec, .own = true};
  return {};
}

Status ModelEdit::remove(const std::string& name) {
  if (tensors_.erase(name) == 0) return fail(ErrorCode::kNotFound, place(), "tensor {} is missing", name);
  std::erase(order_, name);
  if (statistics_) std::erase_if(statistics_->matrices, [&](const auto& one) { return one.tensor == name; });
  return {};
}

Status ModelEdit::rename(const std::map<std::string, std::string>& names) {
  std::map<std::string, Tensor> renamed;
  for (std::string& name : order_) {
    const auto found = names.find(name);
    const std::string& wanted = found == names.end() ? name : found->second;
    if (!renamed.emplace(wanted, tensors_.at(name)).second)
      return fail(ErrorCode::kInvalid, place(), "two tensors would be named {}", wanted);
    name = wanted;
  }
  tensors_ = std::move(renamed);
  if (!statistics_) return {};
  for (stats::MatrixStats& one : statistics_->matrices) {
    if (const auto found = names.find(one.tensor); found != names.end()) one.tensor = found->second;
  }
  return {};
}

const codec::Codec* ModelEdit::kept_codec(const Piece& piece) const {
  const auto found = tensors_.find(file_name(piece));
  if (found == tensors_.end() || !found->second.own) return nullptr;
  const codec::Codec* before = found->second.before;
  return before != nullptr && before->encode != nullptr ? before : codec::find_codec("f16");
}

void ModelEdit::keep_as(const Piece& piece, const codec::Codec& codec) {
  const auto found = tensors_.find(file_name(piece));
  if (found != tensors_.end() && found->second.own) found->second.before = &codec;
}

const codec::Codec* ModelEdit::codec_of(const Piece& piece) const {
  const auto found = tensors_.find(file_name(piece));
  return found == tensors_.end() ? nullptr : found->second.before;
}

std::vector<float> ModelEdit::importance(const Piece& piece) const {
  const stats::MatrixStats* found = statistics_ ? statistics_->find(file_name(piece)) : nullptr;
  if (found == nullptr || found->inputs != piece.inputs || piece.from.index >= found->matrices()) return {};
  return found->importance(piece.from.index);
}

void ModelEdit::set_config(const std::string& key, nlohmann::json value, bool real) {
  changed_keys_.insert(key);
  if (real) real_keys_.insert(key);
  models::set_config_value(config_, model_->files().container(), key, std::move(value));
}

Status ModelEdit::commit() {
  format::Overlay overlay{.tensors = {}, .config = config_, .memory = scratch_};
  for (const std::string& name : order_) overlay.tensors.emplace_back(name, tensors_.at(name).view);
  LAMINA_ASSIGN(model_, models::Model::build(format::ModelFiles::overlaid(model_->files(), std::move(overlay)), {}));
  if (model_->layers().size() != origins_.size()) {
    return fail(ErrorCode::kInvalid, place(), "{} layers after a change that keeps {}", model_->layers().size(),
                origins_.size());
  }
  return walk();
}

}  // namespace lamina::compress
