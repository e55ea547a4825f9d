#include "layers/norm.h"

#include <array>

#include "kernels/norm.h"

namespace lamina::layers {

using core::ErrorCode;
using core::fail;
using core::Result;

void apply_rms(const Norm& norm, const float* x, float* out) {
  kernels::rms_norm(x, norm.weight_.data(), out, norm.size_, norm.epsilon_, 0.0F);
}

void apply_layer(const Norm& norm, const float* x, float* out) {
  kernels::layer_norm(x, norm.weight_.data(), norm.bias_.empty() ? nullptr : norm.bias_.data(), out, norm.size_,
                      norm.epsilon_);
}

Result<Norm> Norm::make(Record record, Weights& weights, int64_t size) {
  struct Kind {
    std::string_view name;
    Kernel kernel;
  };
  static constexpr std::array kKinds{Kind{"rms", apply_rms}, Kind{"layer", apply_layer}};

  Norm norm;
  norm.size_ = size;
  LAMINA_ASSIGN(const std::string kind, record.text("kind"));
  for (const Kind& known : kKinds) {
    if (known.name == kind) norm.kernel_ = known.kernel;
  }
  if (norm.kernel_ == nullptr)
    return fail(ErrorCode::kInvalid, record.place(), "norm \"{}\" is unknown; rms or layer expected", kind);
  LAMINA_ASSIGN(const double epsilon, record.number("epsilon"));
  norm.epsilon_ = static_cast<float>(epsilon);
  LAMINA_ASSIGN(const std::string weight, record.text("weight"));
  LAMINA_ASSIGN(norm.weight_, weights.vector(weight, size));
  LAMINA_ASSIGN(const double offset, record.number_or("offset", 0));
  for (float& value : norm.weight_) value += static_cast<float>(offset);
  LAMINA_ASSIGN(const std::optional<std::string> bias, record.optional_text("bias"));
  if (bias && weights.has(*bias)) {
    LAMINA_ASSIGN(norm.bias_, weights.vector(*bias, size));
  }
  LAMINA_CHECK_OK(record.done());
  return norm;
}

void Norm::apply(const float* x, float* out, int64_t rows) const {
  for (int64_t row = 0; row < rows; ++row) kernel_(*this, x + row * size_, out + row * size_);
}

}  // namespace lamina::layers
