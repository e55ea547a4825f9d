#include "layers/weights.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "codec/codec.h"

namespace lamina::layers {

using core::ErrorCode;
using core::fail;
using core::Result;

Result<core::TensorView> Weights::view(const std::string& name, std::initializer_list<int64_t> shape) {
  const std::string place = files_.path().string();
  LAMINA_ASSIGN(const core::TensorView tensor, files_.weight(name));
  if (used_.insert(name).second) new_names_.push_back(name);
  const std::vector<int64_t> found(tensor.shape.begin(), tensor.shape.begin() + tensor.rank);
  if (!std::equal(found.begin(), found.end(), shape.begin(), shape.end())) {
    return fail(ErrorCode::kCorrupt, place, "tensor {} has shape [{}]; [{}] expected", name, fmt::join(found, ", "),
                fmt::join(shape, ", "));
  }
  return tensor;
}

Result<core::TensorView> Weights::table(const std::string& name, int64_t columns) {
  const core::TensorView* tensor = files_.find(name);
  return view(name, {tensor == nullptr ? 0 : tensor->shape[0], columns});
}

Result<std::vector<float>> Weights::vector(const std::string& name, int64_t count) {
  LAMINA_ASSIGN(const core::TensorView tensor, view(name, {count}));
  std::vector<float> values(static_cast<size_t>(count));
  codec::codec_of(*tensor.format)->decode(tensor.data, count, values.data());
  return values;
}

Result<std::shared_ptr<const Linear>> Weights::matrix(const std::string& name, int64_t outputs, int64_t inputs) {
  return find_or_plan(name, outputs, inputs);
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
  LAMINA_ASSIGN(std::shared_ptr<Linear> linear, find_or_plan(name, outputs, inputs));
  if (bias && has(*bias)) {
    LAMINA_ASSIGN(std::vector<float> values, vector(*bias, outputs));
    linear->set_bias(std::move(values));
  }
  return std::shared_ptr<const Linear>(std::move(linear));
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
