#include "layers/weights.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "codec/codec.h"
#include "codec/fallback.h"
#include "layers/encode_rows.h"

namespace lamina::layers {

using core::ErrorCode;
using core::fail;
using core::Result;

namespace {

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
  const std::string place = files_.path().string();
  const std::string& in_file = file_name(name);
  LAMINA_ASSIGN(const core::TensorView tensor, files_.weight(in_file));
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
  LAMINA_ASSIGN(const core::TensorView tensor,
                view(name, one_row ? std::vector{int64_t{1}, count} : std::vector{count}));
  std::vector<float> values(static_cast<size_t>(count));
  codec::codec_of(*tensor.format)->decode(tensor.data, count, values.data());
  return values;
}

Result<std::shared_ptr<const Linear>> Weights::matrix(const std::string& name, int64_t outputs, int64_t inputs,
                                                      const std::optional<std::string>& bias) {
  return planned({.name = name, .shape = {outputs, inputs}, .rows = RowPick::all(outputs), .outputs = outputs}, bias);
}

Result<std::shared_ptr<const Linear>> Weights::planned(const Wanted& wanted, const std::optional<std::string>& bias) {
  LAMINA_ASSIGN(std::shared_ptr<Linear> linear, find_or_plan(wanted));
  if (bias && has(*bias)) {
    LAMINA_ASSIGN(const std::vector<float> all, vector(*bias, wanted.rows.of));
    std::vector<float> values;
    for (int64_t output = 0; output < wanted.outputs; ++output)
      values.push_back(all[static_cast<size_t>(wanted.rows.row(output))]);
    linear->set_bias(std::move(values));
  }
  return std::shared_ptr<const Linear>(std::move(linear));
}

Result<std::shared_ptr<Linear>> Weights::find_or_plan(const Wanted& wanted) {
  const auto found = index_.find({wanted.name, wanted.rows});
  if (found != index_.end() && linears_[found->second]->outputs() == wanted.outputs) return linears_[found->second];
  LAMINA_ASSIGN(const core::TensorView tensor, view(wanted.name, wanted.shape));
  const int64_t columns = wanted.rows.input_first ? tensor.rows() : tensor.columns();
  LAMINA_ASSIGN(const codec::Codec* codec, codec_for(wanted.key, wanted.name, columns));
  auto planned = Linear::plan(wanted.name, tensor, wanted.rows, wanted.outputs, {.exact = exact_, .codec = codec});
  if (!planned)
    return fail(planned.error().code, files_.path().string(), "tensor {}: {}", wanted.name, planned.error().message);
  index_[{wanted.name, wanted.rows}] = linears_.size();
  linears_.push_back(std::make_shared<Linear>(std::move(*planned)));
  return linears_.back();
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

Result<std::shared_ptr<const Linear>> Weights::linear(Record record, int64_t outputs, int64_t inputs) {
  LAMINA_ASSIGN(const std::string name, record.text("weight"));
  LAMINA_ASSIGN(const std::optional<std::string> bias, record.optional_text("bias"));
  LAMINA_ASSIGN(const RowPick rows, read_rows(record, outputs));
  LAMINA_CHECK_OK(record.done());
  std::vector<int64_t> shape{rows.of, inputs};
  if (rows.input_first) std::swap(shape[0], shape[1]);
  return planned({.name = name, .shape = shape, .rows = rows, .outputs = outputs, .key = record.key()}, bias);
}

Result<std::shared_ptr<const Linear>> Weights::expert(Record record, int64_t index, int64_t count, int64_t outputs,
                                                      int64_t inputs) {
  constexpr std::string_view kPlace = "{expert}";
  LAMINA_ASSIGN(std::string name, record.text("weight"));
  LAMINA_CHECK_OK(record.done());
  if (const size_t at = name.find(kPlace); at != std::string::npos) {
    name.replace(at, kPlace.size(), std::to_string(index));
    return planned({.name = name,
                    .shape = {outputs, inputs},
                    .rows = RowPick::all(outputs),
                    .outputs = outputs,
                    .key = record.key()},
                   {});
  }
  const RowPick rows{.begin = index * outputs, .of = count * outputs, .group = outputs, .stride = outputs};
  return find_or_plan(
      {.name = name, .shape = {count, outputs, inputs}, .rows = rows, .outputs = outputs, .key = record.key()});
}

int64_t Weights::packed_bytes() const {
  int64_t bytes = 0;
  for (const auto& linear : linears_) bytes += linear->bytes();
  for (const Table& table : tables_) bytes += static_cast<int64_t>(table.memory.size());
  return bytes;
}

core::Status Weights::pack(core::ThreadPool& pool, const Progress& progress) {
  const int64_t total = packed_bytes();
  int64_t done = 0;
  const auto advance = [&](int64_t bytes) -> core::Status {
    done += bytes;
    if (!progress || progress(done, total)) return {};
    return fail(ErrorCode::kCancelled, files_.path().string(), "loading was stopped");
  };
  const Release release = [this](const core::TensorView& piece) { files_.release(piece); };
  for (Table& table : tables_) {
    const auto read = [&](int64_t row, float* out) {
      codec::codec_of(*table.source.format)->decode(table.source.row(row), table.source.columns(), out);
    };
    LAMINA_CHECK_OK(encode_rows(pool, *table.codec, {table.source.rows(), table.source.columns()}, read,
                                {table.name, table.memory.data()}));
    LAMINA_CHECK_OK(advance(static_cast<int64_t>(table.memory.size())));
  }
  for (const auto& linear : linears_) {
    LAMINA_CHECK_OK(linear->pack(pool, release));
    LAMINA_CHECK_OK(advance(linear->bytes()));
  }
  return {};
}

}  // namespace lamina::layers
