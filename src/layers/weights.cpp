#include "layers/weights.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

#include "codec/codec.h"
#include "codec/fallback.h"
#include "layers/encode_rows.h"

namespace lamina::layers {

using core::ErrorCode;
using core::fail;
using core::Result;

namespace {

/// Asks for the files' pages before they are needed, a little at a time: the system takes as long to accept a large
/// request as the disk takes for most of it.
class ReadAhead {
 public:
  ReadAhead(const format::ModelFiles& files, std::vector<core::TensorView> parts)
      : files_(files), parts_(std::move(parts)) {
    advance();
  }
  /// So many bytes were read.
  void done(int64_t bytes) {
    ahead_ -= bytes;
    advance();
  }

 private:
  static constexpr int64_t kAhead = int64_t{64} << 20;
  static constexpr int64_t kPiece = int64_t{4} << 20;

  void advance() {
    while (next_ < parts_.size() && ahead_ < kAhead) {
      const core::TensorView& part = parts_[next_];
      const int64_t rows =
          std::min(part.rows() - row_, std::max<int64_t>(1, kPiece / std::max<int64_t>(1, part.row_bytes())));
      core::TensorView piece = part;
      piece.shape[0] = rows;
      piece.data = part.row(row_);
      files_.prefetch(piece);
      ahead_ += piece.bytes();
      row_ += rows;
      if (row_ < part.rows()) continue;
      row_ = 0;
      ++next_;
    }
  }

  const format::ModelFiles& files_;
  std::vector<core::TensorView> parts_;
  size_t next_ = 0;  ///< the part that is asked for, from row_ on
  int64_t row_ = 0;
  int64_t ahead_ = 0;
};

/// `name` with the part that * stands for put into the replacement, or unchanged when it does not match.
std::string renamed(const std::string& name, const std::string& pattern, const std::string& replacement) {
  const size_t star = pattern.find('*');
  const std::string_view before = std::string_view(pattern).substr(0, star);
  const std::string_view after = std::string_view(pattern).substr(star + 1);
  if (name.size() < before.size() + after.size() || !name.starts_with(before) || !name.ends_with(after)) return name;
  const std::string middle = name.substr(before.size(), name.size() - before.size() - after.size());
  std::string out = replacement;
  return out.replace(out.find('*'), 1, middle);
}

}  // namespace

core::Status Weights::rename(const std::vector<std::pair<std::string, std::string>>& rules) {
  for (const auto& [pattern, replacement] : rules) {
    if (std::ranges::count(pattern, '*') != 1 || std::ranges::count(replacement, '*') != 1) {
      return fail(ErrorCode::kInvalid, files_.path().string(), "the rule {} -> {} needs one * on each side", pattern,
                  replacement);
    }
  }
  rules_ = rules;
  for (const format::NamedTensor& tensor : files_.tensors()) {
    std::string known = known_name(tensor.name);
    if (known != tensor.name && files_.find(known) == nullptr) file_names_.emplace(std::move(known), tensor.name);
  }
  return {};
}

std::string Weights::known_name(std::string_view file_name) const {
  std::string name(file_name);
  for (const auto& [pattern, replacement] : rules_) name = renamed(name, pattern, replacement);
  return name;
}

const std::string& Weights::file_name(const std::string& name) const {
  const auto found = file_names_.find(name);
  return found == file_names_.end() ? name : found->second;
}

Result<core::TensorView> Weights::view(const std::string& name, const std::vector<int64_t>& shape) {
  LAMINA_ASSIGN(const core::TensorView tensor, files_.weight(file_name(name)));
  return check_shape(name, tensor, shape);
}

/// Marks the tensor as used and compares its shape.
Result<core::TensorView> Weights::check_shape(const std::string& name, const core::TensorView& tensor,
                                              const std::vector<int64_t>& shape) {
  const std::string place = files_.path().string();
  const std::string& in_file = file_name(name);
  if (used_.insert(in_file).second) new_names_.push_back(in_file);
  const std::vector<int64_t> found(tensor.shape.begin(), tensor.shape.begin() + tensor.rank);
  if (!std::equal(found.begin(), found.end(), shape.begin(), shape.end())) {
    return fail(ErrorCode::kCorrupt, place, "tensor {} has shape [{}]; [{}] expected", name, fmt::join(found, ", "),
                fmt::join(shape, ", "));
  }
  return tensor;
}

Result<core::TensorView> Weights::table(const std::string& name, int64_t columns) {
  const core::TensorView* tensor = files_.find(file_name(name));
  return view(name, {tensor == nullptr ? 0 : tensor->shape[0], columns});
}

/// The format that the recipe gives the matrix, or null for the file's own.
Result<const codec::Codec*> Weights::codec_for(std::string_view key, const std::string& name, int64_t columns) {
  const codec::Codec* wanted = codecs_.find({.layer = layer_, .role = role_, .key = key});
  if (wanted == nullptr) return nullptr;
  LAMINA_ASSIGN(codec::RowCodec chosen, codec::codec_for_rows(*wanted, columns));
  if (!chosen.note.empty()) notes_.push_back(fmt::format("tensor {}: {}", name, chosen.note));
  return chosen.codec;
}

Result<core::TensorView> Weights::token_table(const std::string& name, int64_t columns) {
  LAMINA_ASSIGN(core::TensorView tensor, table(name, columns));
  LAMINA_ASSIGN(const codec::Codec* codec, codec_for("embedding", name, columns));
  if (codec == nullptr || &codec->format == tensor.format) return tensor;
  Table encoded{.name = name, .source = tensor, .codec = codec, .memory = {}};
  tensor.format = &codec->format;
  LAMINA_ASSIGN(encoded.memory, core::AlignedBuffer::allocate(static_cast<size_t>(tensor.bytes())));
  tensor.data = encoded.memory.data();
  tables_.push_back(std::move(encoded));
  return tensor;
}

Result<std::vector<float>> Weights::vector(const std::string& name, int64_t count) {
  const core::TensorView* stored = files_.find(file_name(name));
  const bool one_row = stored != nullptr && stored->rank == 2 && stored->shape[0] == 1;
  return numbers(name, one_row ? std::vector{int64_t{1}, count} : std::vector{count});
}

Result<std::vector<float>> Weights::numbers(const std::string& name, const std::vector<int64_t>& shape) {
  LAMINA_ASSIGN(const core::TensorView tensor, view(name, shape));
  const int64_t count = std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
  std::vector<float> values(static_cast<size_t>(count));
  codec::codec_of(*tensor.format)->decode(tensor.data, count, values.data());
  return values;
}

std::vector<int64_t> Weights::Wanted::shape() const {
  std::vector<int64_t> shape{rows.of, inputs};
  if (rows.input_first) std::swap(shape[0], shape[1]);
  if (width > 0) shape = {rows.of, inputs / width, width};
  if (count > 0) shape.insert(shape.begin(), count);
  return shape;
}

Result<std::vector<float>> Weights::array(const std::string& name, const std::vector<int64_t>& shape) {
  const core::TensorView* stored = files_.find(file_name(name));
  std::vector<int64_t> expected = shape;
  if (stored != nullptr) {
    const std::vector<int64_t> found(stored->shape.begin(), stored->shape.begin() + stored->rank);
    const auto without_ones = [](std::vector<int64_t> sizes) {
      std::erase(sizes, 1);
      return sizes;
    };
    int64_t count = 1;
    const bool countable =
        std::ranges::none_of(shape, [&](int64_t size) { return __builtin_mul_overflow(count, size, &count); });
    if (without_ones(found) == without_ones(shape) || (countable && found == std::vector{count})) expected = found;
  }
  LAMINA_ASSIGN(const core::TensorView tensor, view(name, expected));
  std::vector<float> values(static_cast<size_t>(tensor.elements()));
  codec::codec_of(*tensor.format)->decode(tensor.data, tensor.elements(), values.data());
  return values;
}

Result<std::shared_ptr<const Linear>> Weights::matrix(const std::string& name, int64_t outputs, int64_t inputs,
                                                      const std::optional<std::string>& bias) {
  return planned({.name = name, .inputs = inputs, .rows = RowPick::all(outputs), .outputs = outputs, .bias = bias});
}

Result<std::shared_ptr<const Linear>> Weights::planned(const Wanted& wanted) {
  LAMINA_ASSIGN(std::shared_ptr<Linear> linear, find_or_plan(wanted));
  if (wanted.bias && has(*wanted.bias)) {
    LAMINA_ASSIGN(std::vector<float> values, bias(wanted));
    linear->set_bias(std::move(values));
  }
  return std::shared_ptr<const Linear>(std::move(linear));
}

/// The numbers of the bias that belong to the picked rows.
Result<std::vector<float>> Weights::bias(const Wanted& wanted) {
  std::vector<float> all(static_cast<size_t>(wanted.rows.of));
  if (wanted.count > 0) {
    LAMINA_ASSIGN(const core::TensorView stack, view(*wanted.bias, {wanted.count, wanted.rows.of}));
    codec::codec_of(*stack.format)->decode(stack.row(wanted.index), wanted.rows.of, all.data());
  } else {
    LAMINA_ASSIGN(all, vector(*wanted.bias, wanted.rows.of));
  }
  std::vector<float> values;
  for (int64_t output = 0; output < wanted.outputs; ++output)
    values.push_back(all[static_cast<size_t>(wanted.rows.row(output))]);
  return values;
}

Result<std::shared_ptr<const Linear>> Weights::convolution(const std::string& name, const std::array<int64_t, 3>& shape,
                                                           const std::optional<std::string>& bias) {
  return planned({.name = name,
                  .inputs = shape[1] * shape[2],
                  .rows = RowPick::all(shape[0]),
                  .outputs = shape[0],
                  .bias = bias,
                  .width = shape[2]});
}

/// What is no product of a layer with rows of its stream or of its inner width reads all of its inputs.
double Weights::share_for(const Wanted& wanted) {
  if (wanted.factor || wanted.key.empty() || wanted.width > 0) return 1;
  return shares_.take({.layer = layer_, .role = role_, .key = wanted.key});
}

Result<std::shared_ptr<Linear>> Weights::find_or_plan(const Wanted& wanted) {
  const double share = share_for(wanted);
  const auto found = index_.find({wanted.name, wanted.index, wanted.rows, share});
  if (found != index_.end() && linears_[found->second]->outputs() == wanted.outputs) return linears_[found->second];
  LAMINA_ASSIGN(const MatrixSource tensor, source(wanted));
  const int64_t columns = wanted.rows.inputs > 0 ? wanted.rows.inputs : wanted.inputs;
  LAMINA_ASSIGN(const codec::Codec* codec, codec_for(wanted.key, wanted.name, columns));
  auto planned =
      Linear::plan(wanted.name, tensor, wanted.rows, wanted.outputs, {.exact = exact_, .codec = codec, .share = share});
  if (!planned)
    return fail(planned.error().code, files_.path().string(), "tensor {}: {}", wanted.name, planned.error().message);
  if (const kernels::WeightLayout& layout = planned->layout(); layout.kept > 0 && !layout.by_input) {
    std::string note = fmt::format(
        "{} does not lie input by input, so inputs that take no part are read all the same; f32, f16, bf16 or q8_0 "
        "would "
        "be faster",
        layout.codec->format.name);
    if (std::ranges::find(notes_, note) == notes_.end()) notes_.push_back(std::move(note));
  }
  index_[{wanted.name, wanted.index, wanted.rows, share}] = linears_.size();
  linears_.push_back(std::make_shared<Linear>(std::move(*planned)));
  return linears_.back();
}

namespace {

/// Matrix `index` of a stack [count, rows, columns].
core::TensorView part_of(const core::TensorView& stack, int64_t index) {
  core::TensorView part = stack;
  part.rank = 2;
  part.shape = {stack.shape[1], stack.shape[2], 1, 1};
  part.data = stack.data + index * part.bytes();
  return part;
}

}  // namespace

Result<MatrixSource> Weights::source(const Wanted& wanted) {
  if (wanted.scales) return joined_source(wanted);
  LAMINA_ASSIGN(core::TensorView tensor, view(wanted.name, wanted.shape()));
  if (wanted.width > 0) {
    tensor.rank = 2;
    tensor.shape = {wanted.rows.of, wanted.inputs, 1, 1};
  }
  return MatrixSource{.tensor = wanted.count > 0 ? part_of(tensor, wanted.index) : tensor};
}

/// MXFP4 whose numbers and exponents are two tensors of bytes, which no codec reads by themselves.
Result<MatrixSource> Weights::joined_source(const Wanted& wanted) {
  constexpr int64_t kNumbers = 32;
  const auto bytes_of = [&](const std::string& name, const std::vector<int64_t>& shape) -> Result<core::TensorView> {
    const core::TensorView* tensor = files_.find(file_name(name));
    if (tensor == nullptr) return fail(ErrorCode::kNotFound, files_.path().string(), "tensor {} is missing", name);
    if (tensor->format->block_bytes != 1 || tensor->format->block_elements != 1)
      return fail(ErrorCode::kCorrupt, files_.path().string(), "tensor {} is stored as {}; bytes expected", name,
                  tensor->format->name);
    return check_shape(name, *tensor, shape);
  };
  const int64_t blocks = wanted.inputs / kNumbers;
  if (wanted.inputs % kNumbers != 0 || wanted.count == 0 || wanted.rows.input_first)
    return fail(ErrorCode::kUnsupported, files_.path().string(),
                "tensor {}: scales belong to stacks of matrices, outputs first, whose inputs are a multiple of {}",
                wanted.name, kNumbers);
  LAMINA_ASSIGN(core::TensorView pairs, bytes_of(wanted.name, {wanted.count, wanted.rows.of, blocks, kNumbers / 2}));
  LAMINA_ASSIGN(const core::TensorView scales, bytes_of(*wanted.scales, {wanted.count, wanted.rows.of, blocks}));
  joined_[file_name(wanted.name)] = {.format = &codec::find_codec("mxfp4")->format,
                                     .rank = 3,
                                     .shape = {wanted.count, wanted.rows.of, wanted.inputs, 1},
                                     .data = pairs.data};
  joined_[file_name(*wanted.scales)] = {.format = scales.format, .rank = 1, .shape = {0, 1, 1, 1}, .data = scales.data};
  pairs.rank = 3;
  pairs.shape = {wanted.count, wanted.rows.of, wanted.inputs / 2, 1};
  return MatrixSource{.tensor = part_of(pairs, wanted.index), .scales = part_of(scales, wanted.index).data};
}

namespace {

/// The record's `rows` and `input_first` for a matrix of that many outputs.
Result<RowPick> read_rows(Record& record, int64_t outputs) {
  RowPick pick = RowPick::all(outputs);
  LAMINA_ASSIGN(std::optional<Record> rows, record.optional_child("rows"));
  LAMINA_ASSIGN(pick.input_first, record.flag("input_first"));
  if (!rows) return pick;
  LAMINA_ASSIGN(pick.begin, rows->size_or_zero("begin"));
  LAMINA_ASSIGN(pick.of, rows->size("of"));
  LAMINA_ASSIGN(const double group, rows->number_or("group", static_cast<double>(outputs)));
  LAMINA_ASSIGN(const double stride, rows->number_or("stride", group));
  LAMINA_CHECK_OK(rows->done());
  pick.group = static_cast<int64_t>(group);
  pick.stride = static_cast<int64_t>(stride);
  if (pick.group < 1 || outputs % pick.group != 0 || pick.stride < pick.group || pick.row(outputs - 1) >= pick.of) {
    return fail(ErrorCode::kCorrupt, rows->place(),
                "{} rows in groups of {}, {} apart, from row {} on, do not fit into {}", outputs, group, stride,
                pick.begin, pick.of);
  }
  return pick;
}

}  // namespace

Result<Weights::Wanted> Weights::read_wanted(Record& record, int64_t outputs, int64_t inputs) const {
  Wanted wanted;
  LAMINA_ASSIGN(wanted.name, record.text("weight"));
  LAMINA_ASSIGN(wanted.bias, record.optional_text("bias"));
  LAMINA_ASSIGN(wanted.rows, read_rows(record, outputs));
  // Numbers in blocks lie along the inputs, so such a matrix is stored outputs first, whatever its family does.
  const core::TensorView* stored = files_.find(file_name(wanted.name));
  if (stored != nullptr && stored->format->block_elements > 1) wanted.rows.input_first = false;
  wanted.inputs = inputs;
  wanted.outputs = outputs;
  wanted.key = record.key();
  return wanted;
}

Result<std::shared_ptr<const Linear>> Weights::linear(Record record, int64_t outputs, int64_t inputs) {
  LAMINA_ASSIGN(std::optional<Record> otherwise, record.optional_child("otherwise"));
  LAMINA_ASSIGN(const std::optional<std::string> factors, record.optional_text("factors"));
  LAMINA_ASSIGN(const Wanted wanted, read_wanted(record, outputs, inputs));
  const std::string own = factors ? *factors : wanted.name;
  const bool factored = has(own + std::string(kFactorIn));
  if (otherwise && !has(wanted.name) && !factored) return linear(*otherwise, outputs, inputs);
  LAMINA_CHECK_OK(record.done());
  if (factored) return factored_matrix(wanted, own);
  if (factors && wanted.bias && has(*wanted.bias)) {
    return fail(ErrorCode::kUnsupported, files_.path().string(),
                "tensor {} serves several layers, and {} is a bias for one of them", wanted.name, *wanted.bias);
  }
  return planned(wanted);
}

/// The product of two factors, which lie outputs first whatever the family does, and of the matrix beside them if the
/// file has it.
Result<std::shared_ptr<const Linear>> Weights::factored_matrix(const Wanted& wanted, const std::string& name) {
  const std::string in = name + std::string(kFactorIn);
  const core::TensorView* stored = files_.find(file_name(in));
  const int64_t rank = stored != nullptr && stored->rank == 2 ? stored->shape[0] : 0;
  if (rank < 1) return fail(ErrorCode::kCorrupt, files_.path().string(), "tensor {} is no matrix", in);
  LAMINA_ASSIGN(std::shared_ptr<const Linear> first, find_or_plan({.name = in,
                                                                   .inputs = wanted.inputs,
                                                                   .rows = RowPick::all(rank),
                                                                   .outputs = rank,
                                                                   .key = wanted.key,
                                                                   .factor = true}));
  Wanted second{.name = name + std::string(kFactorOut),
                .inputs = rank,
                .rows = wanted.rows,
                .outputs = wanted.outputs,
                .key = wanted.key,
                .factor = true};
  second.rows.input_first = false;
  LAMINA_ASSIGN(const std::shared_ptr<Linear> out, find_or_plan(second));
  std::shared_ptr<const Linear> beside;
  if (has(wanted.name)) {
    LAMINA_ASSIGN(beside, find_or_plan(wanted));
  }
  out->set_first(std::move(first), std::move(beside));
  if (wanted.bias && has(*wanted.bias)) {
    LAMINA_ASSIGN(std::vector<float> values, bias(wanted));
    out->set_bias(std::move(values));
  }
  return std::shared_ptr<const Linear>(out);
}

Result<std::shared_ptr<const Linear>> Weights::expert(Record record, int64_t index, int64_t count, int64_t outputs,
                                                      int64_t inputs) {
  constexpr std::string_view kPlace = "{expert}";
  LAMINA_ASSIGN(Wanted wanted, read_wanted(record, outputs, inputs));
  LAMINA_ASSIGN(wanted.scales, record.optional_text("scales"));
  LAMINA_CHECK_OK(record.done());
  const auto numbered = [&](std::string& name) {
    const size_t at = name.find(kPlace);
    if (at != std::string::npos) name.replace(at, kPlace.size(), std::to_string(index));
    return at != std::string::npos;
  };
  if (numbered(wanted.name)) {
    if (wanted.bias) numbered(*wanted.bias);
    return planned(wanted);
  }
  wanted.index = index;
  wanted.count = count;
  return planned(wanted);
}

core::TensorView Weights::listed(const format::NamedTensor& tensor) const {
  const auto found = joined_.find(tensor.name);
  return found == joined_.end() ? tensor.view : found->second;
}

int64_t Weights::packed_bytes() const {
  int64_t bytes = 0;
  for (const auto& linear : linears_) bytes += linear->bytes();
  for (const Table& table : tables_) bytes += static_cast<int64_t>(table.memory.size());
  return bytes;
}

core::Status Weights::pack(core::ThreadPool& pool, const Progress& progress) {
  const auto padded = [](size_t bytes) { return (bytes + core::kAlignment - 1) / core::kAlignment * core::kAlignment; };
  size_t bytes = 0;
  for (const auto& linear : linears_) bytes += padded(static_cast<size_t>(linear->bytes()));
  // One block, so that small matrices lie in huge pages too.
  LAMINA_ASSIGN(memory_, core::AlignedBuffer::allocate(bytes));
  std::byte* next = memory_.data();
  const Memory memory = [&](size_t size) -> core::Result<std::byte*> {
    return std::exchange(next, next + padded(size));
  };
  return pack_each(pool, progress, memory, [](std::span<const std::byte>) { return core::Status(); });
}

/// The matrices in the order in which their numbers lie in the files, so that a disk is read from front to back.
std::vector<size_t> Weights::pack_order() const {
  std::vector<std::pair<int64_t, size_t>> places;
  for (size_t i = 0; i < linears_.size(); ++i) places.emplace_back(files_.place_of(linears_[i]->source_part()), i);
  std::ranges::sort(places);
  std::vector<size_t> order;
  for (const auto& [place, index] : places) order.push_back(index);
  return order;
}

core::Status Weights::pack_each(core::ThreadPool& pool, const Progress& progress, const Memory& memory,
                                const Packed& packed) {
  const int64_t total = packed_bytes();
  int64_t done = 0;
  const auto advance = [&](std::span<const std::byte> bytes) -> core::Status {
    LAMINA_CHECK_OK(packed(bytes));
    done += static_cast<int64_t>(bytes.size());
    if (!progress || progress(done, total)) return {};
    return fail(ErrorCode::kCancelled, files_.path().string(), "loading was stopped");
  };
  for (Table& table : tables_) {
    const auto read = [&](int64_t row, float* out) {
      codec::codec_of(*table.source.format)->decode(table.source.row(row), table.source.columns(), out);
    };
    LAMINA_CHECK_OK(encode_rows(pool, *table.codec, {table.source.rows(), table.source.columns()}, read,
                                {table.name, table.memory.data()}));
    LAMINA_CHECK_OK(advance({table.memory.data(), table.memory.size()}));
  }
  const std::vector<size_t> order = pack_order();
  std::vector<core::TensorView> parts;
  for (const size_t index : order) parts.push_back(linears_[index]->source_part());
  ReadAhead ahead(files_, std::move(parts));
  const Release release = [&](const core::TensorView& piece) {
    files_.release(piece);
    ahead.done(piece.bytes());
  };
  for (const size_t index : order) {
    Linear& linear = *linears_[index];
    LAMINA_ASSIGN(std::byte * to, memory(static_cast<size_t>(linear.bytes())));
    LAMINA_CHECK_OK(linear.pack(pool, release, to));
    LAMINA_CHECK_OK(advance({linear.packed(), static_cast<size_t>(linear.bytes())}));
  }
  return {};
}

}  // namespace lamina::layers
