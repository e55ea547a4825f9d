#include "kernels/linear.h"

#include <cassert>
#include <vector>

#include "kernels/columns.h"
#include "kernels/linear_format.h"
#include "kernels/linear_isa.h"
#include "kernels/linear_pack.h"
#include "kernels/quantize.h"

namespace lamina::kernels {

namespace {

/// Whether a row may be chosen: some processors might lack its instructions, or round in another order.
bool usable(const LinearVariant& variant) {
  if (!core::isa_allowed(variant.isa)) return false;
#if defined(__x86_64__) && !defined(LAMINA_SCALAR_BUILD)
  if (variant.isa == core::Isa::kAvx512Bf16) {
    static const bool ordered = bf16_dot_keeps_order();
    return ordered;
  }
#endif
  return true;
}

const LinearVariant* choose_variant(std::string_view codec, InputForm activation) {
  const LinearVariant* best = nullptr;
  for (const LinearVariant& variant : linear_variants()) {
    if (variant.codec != codec || variant.activation != activation || !usable(variant)) continue;
    if (best == nullptr || variant.isa > best->isa) best = &variant;
  }
  return best;
}

}  // namespace

std::span<const LinearVariant> linear_variants() {
  static const std::vector<LinearVariant> variants = [] {
    std::vector<LinearVariant> all;
    const auto add = [&all](std::span<const LinearVariant> rows) { all.insert(all.end(), rows.begin(), rows.end()); };
    add(linear_portable());
#if defined(__x86_64__) && !defined(LAMINA_SCALAR_BUILD)
    add(linear_avx2());
    add(linear_block_avx2());
    add(linear_super_avx2());
    add(linear_block_avx2vnni());
    add(linear_super_avx2vnni());
    add(linear_avx512());
    add(linear_avx512vnni());
    add(linear_super_avx512vnni());
    add(linear_block_amxint8());
    add(linear_super_amxint8());
    add(linear_avx512bf16());
#endif
    return all;
  }();
  return variants;
}

InputForm activation_of(std::string_view codec) {
  const PanelFormat* format = find_panel_format(codec);
  return format == nullptr ? InputForm::kFloat : format->activation;
}

core::Result<WeightLayout> weight_layout(const codec::Codec& codec, int64_t outputs, int64_t inputs, bool exact,
                                         int64_t kept) {
  const core::NumberFormat& numbers = codec.format;
  if (outputs <= 0 || inputs <= 0) {
    return core::fail(core::ErrorCode::kInvalid, numbers.name, "matrix [{}, {}] is empty; both sizes above 0 expected",
                      outputs, inputs);
  }
  if (inputs % numbers.block_elements != 0) {
    return core::fail(core::ErrorCode::kInvalid, numbers.name, "{} inputs; a multiple of {} expected", inputs,
                      numbers.block_elements);
  }
  if (kept < 0 || kept > inputs) {
    return core::fail(core::ErrorCode::kInvalid, numbers.name, "{} of {} inputs are kept; 0 to {} expected", kept,
                      inputs, inputs);
  }
  WeightLayout layout;
  layout.codec = &codec;
  layout.outputs = outputs;
  layout.inputs = inputs;
  layout.panels = (outputs + kPanel - 1) / kPanel;
  layout.panel_bytes = kPanel * numbers.row_bytes(inputs);
  if (kept > 0) {
    layout.kept = kept;
    layout.by_input = lies_by_input(codec);
    layout.activation = InputForm::kLargest;
    layout.variant =
        layout.by_input ? choose_variant(numbers.name, InputForm::kLargest) : choose_variant("*", InputForm::kFloat);
    return layout;
  }
  layout.format = find_panel_format(numbers.name, exact);
  if (layout.format != nullptr)
    layout.panel_bytes = kPanel * layout.format->padded(inputs) / layout.format->block * layout.format->panel_bytes;
  layout.activation = layout.format == nullptr ? InputForm::kFloat : layout.format->activation;
  layout.variant = choose_variant(layout.format == nullptr ? "*" : numbers.name, layout.activation);
  return layout;
}

void pack_panels(const WeightLayout& layout, const std::byte* rows, int64_t panel_begin, int64_t panel_end,
                 std::byte* packed) {
  if (layout.by_input) {
    pack_columns(columns_of(layout), rows, panel_begin * kPanel, panel_end * kPanel, packed);
    return;
  }
  const int64_t row_bytes = layout.codec->format.row_bytes(layout.inputs);
  const PackFunction pack = layout.format == nullptr ? nullptr : find_pack(*layout.format);
  for (int64_t panel = panel_begin; panel < panel_end; ++panel) {
    const int64_t first = panel * kPanel;
    const int64_t count = layout.outputs - first < kPanel ? layout.outputs - first : kPanel;
    const std::byte* from = rows + first * row_bytes;
    std::byte* to = packed + panel * layout.panel_bytes;
    if (count < kPanel) std::memset(to, 0, static_cast<size_t>(layout.panel_bytes));
    if (pack == nullptr) {
      std::memcpy(to, from, static_cast<size_t>(count * row_bytes));
    } else {
      pack(*layout.format, {from, row_bytes, count, layout.inputs}, to);
    }
  }
}

ActivationLayout activation_layout(const WeightLayout& layout) {
  int64_t bytes = layout.inputs * static_cast<int64_t>(sizeof(float));
  if (layout.activation == InputForm::kInt8Block) bytes = BlockRow::of(layout.inputs).bytes;
  if (layout.activation == InputForm::kInt8Super) bytes = SuperRow::of(layout.inputs).bytes;
  if (layout.activation == InputForm::kBf16) bytes = bf16_row_bytes(layout.inputs);
  if (layout.activation == InputForm::kLargest) bytes = LargestRow::of(layout.inputs, layout.kept).bytes;
  return {layout.activation, layout.inputs, layout.kept, bytes};
}

int64_t linear_scratch_bytes(const WeightLayout& layout, int64_t max_rows) {
  return layout.variant->scratch_bytes(layout, max_rows);
}

void linear(const LinearArgs& args) {
  assert(args.panel_begin >= 0 && args.panel_end <= args.layout->panels);
  if (args.rows > 0 && args.panel_begin < args.panel_end) args.layout->variant->run(args);
}

}  // namespace lamina::kernels
