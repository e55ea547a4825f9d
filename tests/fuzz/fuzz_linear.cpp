// Shapes, weights and activations of any kind: every variant of linear() must give the bits of the reference.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "core/memory.h"
#include "core/thread_pool.h"
#include "kernels/emulated_amx.h"
#include "kernels/linear.h"
#include "kernels/quantize.h"
#include "kernels/ref/linear.h"

namespace {

using namespace lamina;

/// The input, over and over.
class Bytes {
 public:
  Bytes(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  uint8_t next() { return data_[at_++ % size_]; }
  void fill(std::byte* to, size_t count) {
    for (size_t i = 0; i < count; ++i) to[i] = static_cast<std::byte>(next());
  }

 private:
  const uint8_t* data_;
  size_t size_;
  size_t at_ = 0;
};

core::AlignedBuffer buffer(int64_t bytes) {
  return core::AlignedBuffer::allocate(static_cast<size_t>(bytes)).value();
}

struct Product {
  const codec::Codec* codec = nullptr;
  int64_t outputs = 0;
  int64_t inputs = 0;
  int64_t rows = 0;
  bool accumulate = false;
  std::vector<std::byte> weights;
  std::vector<float> x;
  std::vector<float> bias;
};

Product read_product(Bytes& bytes) {
  Product product;
  const auto codecs = codec::codecs();
  product.codec = &codecs[bytes.next() % codecs.size()];
  product.outputs = 1 + bytes.next() % 70;
  product.rows = 1 + bytes.next() % 40;
  const int64_t block = product.codec->format.block_elements;
  const int64_t most = block >= 256 ? 3 : block >= 16 ? 20 : 300;
  product.inputs = block * (1 + bytes.next() % most);
  const uint8_t flags = bytes.next();
  product.accumulate = (flags & 1) != 0;
  product.weights.resize(static_cast<size_t>(product.outputs * product.codec->format.row_bytes(product.inputs)));
  bytes.fill(product.weights.data(), product.weights.size());
  product.x.resize(static_cast<size_t>(product.rows * product.inputs));
  if ((flags & 2) != 0) {  // any bits: denormals, infinities, NaN
    bytes.fill(reinterpret_cast<std::byte*>(product.x.data()), product.x.size() * sizeof(float));
  } else {
    for (float& value : product.x) value = std::ldexp(static_cast<float>(bytes.next()) - 128.0F, bytes.next() % 8 - 4);
  }
  if ((flags & 4) != 0) product.bias.assign(static_cast<size_t>(product.outputs), 0.25F);
  return product;
}

bool same(float a, float b) {
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) || (std::isnan(a) && std::isnan(b));
}

/// Inputs that are left out stand for products with 0, which numbers that are not finite do not give.
bool finite(const Product& product) {
  std::vector<float> weights(static_cast<size_t>(product.outputs * product.inputs));
  product.codec->decode(product.weights.data(), std::ssize(weights), weights.data());
  return std::ranges::all_of(weights, [](float w) { return std::isfinite(w); });
}

void check(const Product& product, const kernels::LinearVariant& variant) {
  const bool exact = variant.activation == kernels::InputForm::kFloat;
  const int64_t kept = variant.activation == kernels::InputForm::kLargest ? (product.inputs + 1) / 2 : 0;
  kernels::WeightLayout layout =
      kernels::weight_layout(*product.codec, product.outputs, product.inputs, exact, kept).value();
  if (variant.codec != layout.variant->codec || variant.activation != layout.activation) return;
  if (kept > 0 && !finite(product)) return;
  layout.variant = &variant;
  core::AlignedBuffer packed = buffer(layout.bytes());
  kernels::pack_panels(layout, product.weights.data(), 0, layout.panels, packed.data());
  const kernels::ActivationLayout form = kernels::activation_layout(layout);
  core::AlignedBuffer activations = buffer(form.row_bytes * product.rows);
  kernels::quantize_rows(form, product.x.data(), product.inputs, product.rows, activations.data());
  core::AlignedBuffer scratch = buffer(kernels::linear_scratch_bytes(layout, product.rows));
  std::memset(scratch.data(), 0xff, scratch.size());
  std::vector<float> y(static_cast<size_t>(product.rows * product.outputs), 0.5F);
  std::vector<float> wanted = y;
  kernels::LinearArgs args;
  args.layout = &layout;
  args.packed = packed.data();
  args.panel_end = layout.panels;
  args.activations = activations.data();
  args.rows = product.rows;
  args.y = y.data();
  args.y_stride = product.outputs;
  args.bias = product.bias.empty() ? nullptr : product.bias.data();
  args.accumulate = product.accumulate;
  args.scratch = scratch.data();
  kernels::linear(args);
  args.y = wanted.data();
  kernels::ref::linear(args, product.weights.data());
  if (!std::equal(y.begin(), y.end(), wanted.begin(), same)) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  core::set_float_mode();
  Bytes bytes(data, size);
  const Product product = read_product(bytes);
  for (const kernels::LinearVariant& variant : kernels::linear_variants()) {
    if (core::isa_allowed(variant.isa)) check(product, variant);
  }
  if (core::isa_allowed(kernels::testing::kEmulatorNeeds)) {
    for (const auto rows : {kernels::testing::emulated_block_amx(), kernels::testing::emulated_super_amx()}) {
      for (const kernels::LinearVariant& variant : rows) check(product, variant);
    }
  }
  return 0;
}
