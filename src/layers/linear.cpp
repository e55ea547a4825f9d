#include "layers/linear.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "codec/codec.h"
#include "codec/mxfp4.h"
#include "kernels/quantize.h"
#include "layers/encode_rows.h"
#include "layers/rows.h"

namespace lamina::layers {

namespace {

constexpr size_t kMaxProducts = 8;
constexpr int64_t kPieceBytes = int64_t{4} << 20;  // packed before the file's pages are given back
/// The input of a group of products in every form that its matrices read; one entry per distinct form. Float rows are
/// read where they are.
struct Inputs {
  std::array<kernels::ActivationLayout, kMaxProducts> layouts{};
  std::array<const float*, kMaxProducts> rows{};  ///< what each is made of
  std::array<const std::byte*, kMaxProducts> data{};
  std::array<std::byte*, kMaxProducts> made{};  ///< what must be written first; null: nothing
  size_t count = 0;

  size_t find_or_add(const kernels::ActivationLayout& layout, const float* x) {
    size_t index = 0;
    while (index < count && (layouts[index] != layout || rows[index] != x)) ++index;
    if (index == count) {
      layouts[count] = layout;
      rows[count++] = x;
    }
    return index;
  }
};

/// How many inputs a share is: at least one; 0 for all.
int64_t kept_inputs(int64_t inputs, double share) {
  if (share >= 1) return 0;
  return std::clamp<int64_t>(std::llround(share * static_cast<double>(inputs)), 1, std::max<int64_t>(inputs, 1));
}

}  // namespace

core::Result<Linear> Linear::plan(std::string name, const MatrixSource& source, const RowPick& rows, int64_t outputs,
                                  const LinearOptions& options) {
  Linear linear;
  const core::TensorView& tensor = source.tensor;
  const codec::Codec* codec = source.scales != nullptr ? codec::find_codec("mxfp4") : codec::codec_of(*tensor.format);
  if (rows.input_first && source.scales != nullptr)
    return core::fail(core::ErrorCode::kUnsupported, "",
                      "scales apart from the numbers, and inputs first; one expected");
  if (rows.input_first && codec->format.block_elements != 1) {
    if (options.codec != nullptr)
      return core::fail(core::ErrorCode::kUnsupported, "",
                        "numbers come in blocks of {} and inputs first; f32, f16 or bf16 expected",
                        codec->format.block_elements);
    codec = codec::find_codec(options.exact ? "f32" : "f16");
  }
  const int64_t turned = rows.inputs > 0 ? rows.inputs : tensor.rows();
  const int64_t columns = source.scales != nullptr ? 2 * tensor.columns() : tensor.columns();
  const int64_t inputs = rows.input_first ? turned : columns;
  linear.format_ = &codec->format;
  if (options.codec != nullptr && options.codec != codec) codec = linear.codec_ = options.codec;
  LAMINA_ASSIGN(linear.layout_,
                kernels::weight_layout(*codec, outputs, inputs, options.exact, kept_inputs(inputs, options.share)));
  linear.name_ = std::move(name);
  linear.source_ = source;
  linear.rows_ = rows;
  return linear;
}

/// Rows [begin, end) of the matrix, side by side and outputs first.
void Linear::gather(int64_t begin, int64_t end, std::byte* out) const {
  const int64_t row_bytes = format_->row_bytes(columns());
  for (int64_t output = begin; output < end; ++output) gather_row(rows_.row(output), out + output * row_bytes);
}

/// Inputs [begin, end) of a matrix that is stored inputs first, outputs first.
void Linear::turn(int64_t begin, int64_t end, std::byte* out) const {
  const core::TensorView& tensor = source_.tensor;
  const bool decode = tensor.format->block_elements != 1;
  const codec::Codec& stored = *codec::codec_of(*tensor.format);
  const auto size = static_cast<size_t>(format_->block_bytes);
  const int64_t stored_columns = tensor.columns();
  std::vector<float> numbers(static_cast<size_t>(decode ? stored_columns : 0));
  std::vector<std::byte> row(static_cast<size_t>(decode ? stored_columns : 0) * size);
  for (int64_t input = begin; input < end; ++input) {
    const std::byte* from = tensor.row(rows_.input_begin + input);
    if (decode) {
      stored.decode(from, stored_columns, numbers.data());
      layout_.codec->encode(numbers.data(), stored_columns, row.data());
      from = row.data();
    }
    for (int64_t output = 0; output < outputs(); ++output) {
      std::memcpy(out + static_cast<size_t>(output * columns() + input) * size,
                  from + static_cast<size_t>(rows_.row(output)) * size, size);
    }
  }
}

core::TensorView Linear::source_part() const {
  const int64_t begin = rows_.input_first ? rows_.input_begin : rows_.begin;
  const int64_t end = rows_.input_first ? begin + columns() : rows_.row(outputs() - 1) + 1;
  core::TensorView part = source_.tensor;
  part.rank = 2;
  part.data = source_.tensor.row(begin);
  part.shape = {end - begin, source_.tensor.columns(), 1, 1};
  return part;
}

/// One row of an output, as its codec has it.
void Linear::gather_row(int64_t row, std::byte* out) const {
  if (source_.scales == nullptr) {
    std::memcpy(out, source_.tensor.row(row), static_cast<size_t>(format_->row_bytes(columns())));
    return;
  }
  const int64_t blocks = columns() / format_->block_elements;
  const auto* pairs = reinterpret_cast<const uint8_t*>(source_.tensor.row(row));
  const auto* scales = reinterpret_cast<const uint8_t*>(source_.scales) + row * blocks;
  for (int64_t i = 0; i < blocks; ++i) {
    const codec::BlockMxfp4 block = codec::join_mxfp4(scales[i], pairs + 16 * i);
    std::memcpy(out + static_cast<size_t>(i) * sizeof(block), &block, sizeof(block));
  }
}

core::Status Linear::pack(core::ThreadPool& pool, const Release& release, std::byte* memory) {
  data_ = memory;
  if (codec_ != nullptr) return pack_encoded(pool, release, memory);
  if (!rows_.input_first && rows_.group == outputs() && source_.scales == nullptr) {
    pack_stored(pool, release, memory);
    return {};
  }
  LAMINA_ASSIGN(core::AlignedBuffer gathered,
                core::AlignedBuffer::allocate(static_cast<size_t>(outputs() * format_->row_bytes(columns()))));
  pool.run([&](int index, int threads) {
    const core::Range range = core::split_range(rows_.input_first ? columns() : outputs(), 1, index, threads);
    rows_.input_first ? turn(range.begin, range.end, gathered.data()) : gather(range.begin, range.end, gathered.data());
  });
  pool.run([&](int index, int threads) {
    const core::Range range = core::split_range(layout_.panels, 1, index, threads);
    kernels::pack_panels(layout_, gathered.data(), range.begin, range.end, memory);
  });
  release(source_part());
  return {};
}

std::string Linear::packed_key() const {
  return fmt::format("{} rows {}+{}/{} of {} inputs {}+{}{} {} -> {} {}x{}", name_, rows_.begin, rows_.group,
                     rows_.stride, rows_.of, rows_.input_begin, rows_.inputs, rows_.input_first ? " turned" : "",
                     source_.tensor.format->name, layout_.codec->format.name, outputs(), columns());
}

/// Row `output` of the matrix as float32.
void Linear::read_row(int64_t output, float* out) const {
  const core::TensorView& tensor = source_.tensor;
  const auto decode = codec::codec_of(*format_)->decode;
  const int64_t row = rows_.row(output);
  if (rows_.input_first) {
    for (int64_t input = 0; input < columns(); ++input)
      decode(tensor.row(rows_.input_begin + input) + row * format_->block_bytes, 1, out + input);
  } else if (source_.scales == nullptr) {
    decode(tensor.row(row), columns(), out);
  } else {
    std::vector<std::byte> joined(static_cast<size_t>(format_->row_bytes(columns())));
    gather_row(row, joined.data());
    decode(joined.data(), columns(), out);
  }
}

/// Every row goes into the other format first.
core::Status Linear::pack_encoded(core::ThreadPool& pool, const Release& release, std::byte* memory) {
  LAMINA_ASSIGN(core::AlignedBuffer encoded,
                core::AlignedBuffer::allocate(static_cast<size_t>(outputs() * codec_->format.row_bytes(columns()))));
  LAMINA_CHECK_OK(encode_rows(pool, *codec_, {outputs(), columns()},
                              [this](int64_t row, float* out) { read_row(row, out); }, {name_, encoded.data()}));
  pool.run([&](int index, int threads) {
    const core::Range range = core::split_range(layout_.panels, 1, index, threads);
    kernels::pack_panels(layout_, encoded.data(), range.begin, range.end, memory);
  });
  release(source_part());
  return {};
}

/// Rows that lie side by side are packed as they lie, piece by piece.
void Linear::pack_stored(core::ThreadPool& pool, const Release& release, std::byte* memory) {
  const std::byte* from = source_.tensor.row(rows_.begin);
  const int64_t piece = std::max<int64_t>(1, kPieceBytes / layout_.panel_bytes);
  for (int64_t first = 0; first < layout_.panels; first += piece) {
    const int64_t panels = std::min(piece, layout_.panels - first);
    pool.run([&](int index, int threads) {
      const core::Range range = core::split_range(panels, 1, index, threads);
      kernels::pack_panels(layout_, from, first + range.begin, first + range.end, memory);
    });
    const int64_t row = first * kernels::kPanel;
    core::TensorView read = source_.tensor;
    read.rank = 2;
    read.data = source_.tensor.row(rows_.begin + row);
    read.shape = {std::min(panels * kernels::kPanel, layout_.outputs - row), layout_.inputs, 1, 1};
    release(read);
  }
}

namespace {

/// Bytes of the forms that matrices of one input read.
int64_t form_bytes(std::span<const Linear* const> linears, int64_t rows) {
  Inputs inputs;
  for (const Linear* linear : linears) inputs.find_or_add(kernels::activation_layout(linear->layout()), nullptr);
  int64_t bytes = 0;
  for (size_t i = 0; i < inputs.count; ++i) {
    if (inputs.layouts[i].kind != kernels::InputForm::kFloat)
      bytes += static_cast<int64_t>(Arena::padded(inputs.layouts[i].row_bytes * rows));
  }
  return bytes;
}

/// Matrices that read the input of products, and those that read what these make of it.
struct Split {
  std::array<const Linear*, kMaxProducts> direct{};
  size_t count = 0;
  std::array<const Linear*, kMaxProducts> second{};
  size_t seconds = 0;

  explicit Split(std::span<const Linear* const> linears) {
    for (const Linear* linear : linears) {
      const bool factors = linear->first() != nullptr;
      for (const Linear* one : {factors ? linear->first() : linear, linear->beside()}) {
        assert(one == nullptr || count < kMaxProducts);
        if (one != nullptr) direct[count++] = one;
      }
      if (factors) second[seconds++] = linear;
    }
  }
  std::span<const Linear* const> readers() const { return {direct.data(), count}; }
  std::span<const Linear* const> followers() const { return {second.data(), seconds}; }
};

}  // namespace

int64_t product_bytes(std::span<const Linear* const> linears, int64_t rows) {
  const Split split(linears);
  int64_t bytes = form_bytes(split.readers(), rows);
  for (const Linear* second : split.followers()) {
    bytes += form_bytes(std::span(&second, 1), rows) +
             static_cast<int64_t>(Arena::padded(rows * second->columns() * static_cast<int64_t>(sizeof(float))));
  }
  return bytes;
}

int64_t product_scratch_bytes(std::span<const Linear* const> linears, int64_t rows) {
  int64_t bytes = 0;
  for (const Linear* linear : linears) {
    for (const Linear* one : {linear, linear->first(), linear->beside()}) {
      if (one != nullptr) bytes = std::max(bytes, kernels::linear_scratch_bytes(one->layout(), rows));
    }
  }
  return bytes;
}

OpCost product_cost(const Linear& linear, int64_t rows) {
  const int64_t operations = 2 * rows * linear.multiplications();
  const bool integers = linear.multiplies_integers();
  OpCost cost{.bytes = rows == 1 ? linear.row_bytes() : linear.bytes(),
              .int8 = integers ? operations : 0,
              .float32 = integers ? 0 : operations};
  if (linear.first() != nullptr) cost += product_cost(*linear.first(), rows);
  if (linear.beside() != nullptr) cost += product_cost(*linear.beside(), rows);
  return cost;
}

namespace {

void note_products(const Step& step, std::span<const Product> products, int64_t rows) {
  if (step.profile == nullptr) return;
  std::array<const Linear*, kMaxProducts> matrices{};
  OpCost cost;
  for (size_t i = 0; i < products.size(); ++i) {
    matrices[i] = products[i].linear;
    cost += product_cost(*products[i].linear, rows);
  }
  step.profile->lap(Op::kProduct, cost, {matrices.data(), products.size()});
}

/// One matrix's share of a product: y = x W^T + b, or added to y.
struct Term {
  Product product;
  const float* x = nullptr;
};

/// Told by neighbours that read the same rows.
void record_inputs(const Step& step, std::span<const Term> terms, int64_t rows) {
  if (step.recorder == nullptr) return;
  std::array<const Linear*, kMaxProducts> readers{};
  for (size_t begin = 0, end = 0; begin < terms.size(); begin = end) {
    for (; end < terms.size() && terms[end].x == terms[begin].x; ++end)
      readers[end - begin] = terms[end].product.linear;
    step.recorder->record({readers.data(), end - begin},
                          {.data = terms[begin].x, .stride = terms[begin].product.linear->columns(), .count = rows});
  }
}

/// Puts rows into the forms that matrices read.
void make_inputs(Step& step, Inputs& inputs, int64_t rows) {
  bool any = false;
  for (size_t i = 0; i < inputs.count; ++i) {
    const kernels::ActivationLayout& layout = inputs.layouts[i];
    inputs.data[i] = reinterpret_cast<const std::byte*>(inputs.rows[i]);
    if (layout.kind == kernels::InputForm::kFloat) continue;
    inputs.data[i] = inputs.made[i] = step.arena.take<std::byte>(layout.row_bytes * rows);
    any = true;
  }
  if (!any) return;
  split_rows(step.pool, rows, [&](int64_t begin, int64_t end) {
    for (size_t i = 0; i < inputs.count; ++i) {
      const kernels::ActivationLayout& layout = inputs.layouts[i];
      if (inputs.made[i] == nullptr) continue;
      kernels::quantize_rows(layout, inputs.rows[i] + begin * layout.inputs, layout.inputs, end - begin,
                             inputs.made[i] + begin * layout.row_bytes);
    }
  });
  step.lap(Op::kQuantize);
}

/// All terms as one list of panels.
void run_terms(Step& step, std::span<const Term> terms, int64_t rows) {
  assert(terms.size() <= kMaxProducts);
  Inputs inputs;
  std::array<size_t, kMaxProducts> form{};
  int64_t panels = 0;
  for (size_t i = 0; i < terms.size(); ++i) {
    const kernels::WeightLayout& layout = terms[i].product.linear->layout();
    form[i] = inputs.find_or_add(kernels::activation_layout(layout), terms[i].x);
    panels += layout.panels;
  }
  record_inputs(step, terms, rows);
  make_inputs(step, inputs, rows);
  step.pool.run([&](int index, int threads) {
    const core::Range mine = core::split_range(panels, 1, index, threads);
    int64_t first = 0;
    for (size_t i = 0; i < terms.size(); ++i) {
      const Product& product = terms[i].product;
      const Linear& linear = *product.linear;
      const int64_t begin = std::max(mine.begin - first, int64_t{0});
      const int64_t end = std::min(mine.end - first, linear.layout().panels);
      first += linear.layout().panels;
      if (begin >= end) continue;
      kernels::linear({.layout = &linear.layout(),
                       .packed = linear.packed(),
                       .panel_begin = begin,
                       .panel_end = end,
                       .activations = inputs.data[form[i]],
                       .rows = rows,
                       .y = product.y,
                       .y_stride = product.y_stride,
                       .bias = linear.bias(),
                       .accumulate = product.accumulate,
                       .scratch = step.thread_scratch[static_cast<size_t>(index)]});
    }
  });
}

}  // namespace

void run_products(Step& step, std::span<const Product> products, const float* x, int64_t rows) {
  assert(products.size() <= kMaxProducts);
  std::array<Term, kMaxProducts> direct{};
  std::array<Term, kMaxProducts> second{};
  size_t count = 0;
  size_t seconds = 0;
  for (const Product& product : products) {
    const Linear* first = product.linear->first();
    const Linear* beside = product.linear->beside();
    assert(count + (beside != nullptr ? 2 : 1) <= kMaxProducts);
    if (first == nullptr) {
      direct[count++] = {product, x};
      continue;
    }
    auto* inner = step.arena.take<float>(rows * first->outputs());
    direct[count++] = {{.linear = first, .y = inner, .y_stride = first->outputs()}, x};
    Product own = product;
    if (beside != nullptr) {
      own.linear = beside;
      direct[count++] = {own, x};
      own = product;
      own.accumulate = true;
    }
    second[seconds++] = {own, inner};
  }
  run_terms(step, {direct.data(), count}, rows);
  if (seconds > 0) run_terms(step, {second.data(), seconds}, rows);
  note_products(step, products, rows);
}

}  // namespace lamina::layers
