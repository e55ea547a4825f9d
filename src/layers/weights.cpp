#include "layers/weights.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "codec/codec.h"

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

Result<core::TensorView> Weights::view(const std::string& name, std::initializer_list<int64_t> shape) {
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

Result<std::vector<float>> Weights::vector(const std::string& name, int64_t count) {
  LAMINA_ASSIGN(const core::TensorView tensor, view(name, {count}));
  std::vector<float> values(static_cast<size_t>(count));
  codec::codec_of(*tensor.format)->decode(tensor.data, count, values.data());
  return values;
}

Result<std::shared_ptr<const Linear>> Weights::matrix(const std::string& name, int64_t outputs, int64_t inputs,
                                                      const std::optional<std::string>& bias) {
  LAMINA_ASSIGN(std::shared_ptr<Linear> linear, find_or_plan(name, outputs, inputs));
  if (bias && has(*bias)) {
    LAMINA_ASSIGN(std::vector<float> values, vector(*bias, outputs));
    linear->set_bias(std::move(values));
  }
  return std::shared_ptr<const Linear>(std::move(linear));
}

Result<std::shared_ptr<Linear>> Weights::find_or_plan(const std::string& name, int64_t outputs, int64_t inputs) {
  const auto found = std::ranges::find(linears_, name, [](const auto& linear) { return linear->name(); });
  if (found != linears_.end() && (*found)->outputs() == outputs && (*found)->inputs() == inputs) return *found;
  LAMINA_ASSIGN(const core::TensorView tensor, view(name, {outputs, inputs}));
  auto planned = Linear::plan(name, tensor, exact_);
  if (!planned)
    return fail(planned.error().code, files_.path().string(), "tensor {}: {}", name, planned.error().message);
  linears_.push_back(std::make_shared<Linear>(std::move(*planned)));
  return linears_.back();
}

Result<std::shared_ptr<const Linear>> Weights::linear(Record record, int64_t outputs, int64_t inputs) {
  LAMINA_ASSIGN(const std::string name, record.text("weight"));
  LAMINA_ASSIGN(const std::optional<std::string> bias, record.optional_text("bias"));
  LAMINA_CHECK_OK(record.done());
  return matrix(name, outputs, inputs, bias);
}

int64_t Weights::packed_bytes() const {
  int64_t bytes = 0;
  for (const auto& linear : linears_) bytes += linear->bytes();
  return bytes;
}

core::Status Weights::pack(core::ThreadPool& pool, const Progress& progress) {
  const int64_t total = packed_bytes();
  int64_t done = 0;
  for (const auto& linear : linears_) {
    LAMINA_CHECK_OK(linear->pack(pool, [this](const core::TensorView& piece) { files_.release(piece); }));
    done += linear->bytes();
    if (progress && !progress(done, total))
      return fail(ErrorCode::kCancelled, files_.path().string(), "loading was stopped");
  }
  return {};
}

}  // namespace lamina::layers
