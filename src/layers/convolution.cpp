#include "layers/convolution.h"

namespace lamina::layers {

core::Result<Convolution> Convolution::make(Record record, Weights& weights, int64_t channels) {
  Convolution convolution;
  convolution.channels_ = channels;
  LAMINA_ASSIGN(convolution.width_, record.size("width"));
  LAMINA_ASSIGN(const std::string name, record.text("weight"));
  LAMINA_ASSIGN(const std::vector<float> stored, weights.array(name, {channels, convolution.width_}));
  LAMINA_ASSIGN(const std::optional<std::string> bias, record.optional_text("bias"));
  if (bias && weights.has(*bias)) {
    LAMINA_ASSIGN(convolution.bias_, weights.vector(*bias, channels));
  }
  const auto width = static_cast<size_t>(convolution.width_);
  const auto count = static_cast<size_t>(channels);
  convolution.weights_.resize(stored.size());
  for (size_t channel = 0; channel < count; ++channel) {
    for (size_t k = 0; k < width; ++k) convolution.weights_[k * count + channel] = stored[channel * width + k];
  }
  LAMINA_CHECK_OK(record.done());
  return convolution;
}

void Convolution::apply(kernels::ConvolutionArgs args, int64_t begin, int64_t end) const {
  args.channels = end - begin;
  args.width = width_;
  args.x += begin;
  args.weights = weights_.data() + begin;
  args.weight_stride = channels_;
  args.bias = bias_.empty() ? nullptr : bias_.data() + begin;
  args.state += begin;
  args.state_stride = channels_;
  args.out += begin;
  kernels::convolve(args);
}

}  // namespace lamina::layers
