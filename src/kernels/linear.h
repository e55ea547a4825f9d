#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "codec/codec.h"
#include "core/cpu.h"
#include "core/result.h"

/// Products of a packed weight matrix with rows of activations: y[row][output] = sum over inputs of w * x.
///
/// Weights lie in panels of 16 outputs; the sum of one output runs over the inputs in ascending order in one
/// accumulator, so its bits depend neither on how many rows are computed together, nor on the threads, nor on the
/// instruction set. ref/linear.h writes the order down.
namespace lamina::kernels {

/// Outputs of a panel.
inline constexpr int64_t kPanel = 16;

/// What a family of kernels reads on the activation side.
enum class InputForm {
  kFloat,      ///< float32 rows as they are
  kInt8Block,  ///< int8 with a scale per 32 inputs
  kInt8Super,  ///< int8 with a scale per 256 inputs
  kBf16,       ///< bfloat16, rounded to nearest even, an even number of them
  kLargest,    ///< float32 rows in which all but the largest numbers are 0, and which these are (LargestRow)
};

struct LinearVariant;
struct PanelFormat;

/// The packed form of a matrix [outputs, inputs]. A view of tables: copy it freely.
struct WeightLayout {
  const codec::Codec* codec = nullptr;
  InputForm activation = InputForm::kFloat;
  int64_t outputs = 0;
  int64_t inputs = 0;
  int64_t panel_bytes = 0;
  int64_t panels = 0;
  int64_t kept = 0;                        ///< kLargest: so many inputs of a row take part
  bool by_input = false;                   ///< input by input (columns.h), not in panels: what is left out is not read
  const PanelFormat* format = nullptr;     ///< null: rows stay as in the file and are decoded at use
  const LinearVariant* variant = nullptr;  ///< the kernel that linear() runs

  int64_t bytes() const { return panels * panel_bytes; }
};

/// How rows of activations lie in memory. Matrices that read the same input share it when `kind` and `inputs` agree.
struct ActivationLayout {
  InputForm kind = InputForm::kFloat;
  int64_t inputs = 0;
  int64_t kept = 0;  ///< kLargest
  int64_t row_bytes = 0;

  bool operator==(const ActivationLayout&) const = default;
};

struct LinearArgs {
  const WeightLayout* layout = nullptr;
  const std::byte* packed = nullptr;  ///< all panels of the matrix
  int64_t panel_begin = 0;            ///< this call computes the panels [panel_begin, panel_end)
  int64_t panel_end = 0;
  const std::byte* activations = nullptr;  ///< rows of activation_layout(*layout).row_bytes
  int64_t rows = 0;
  float* y = nullptr;  ///< [rows][y_stride], output 0 of the matrix first
  int64_t y_stride = 0;
  const float* bias = nullptr;   ///< [outputs] or null, added after the sum
  bool accumulate = false;       ///< adds the result to y (a residual stream) instead of replacing it
  std::byte* scratch = nullptr;  ///< linear_scratch_bytes, aligned to 64, this thread's own
};

/// One implementation. `codec` is a codec's name, or "*" for any codec decoded to float32 at use.
struct LinearVariant {
  std::string_view codec;
  core::Isa isa = core::Isa::kScalar;
  InputForm activation = InputForm::kFloat;
  void (*run)(const LinearArgs&) = nullptr;
  int64_t (*scratch_bytes)(const WeightLayout&, int64_t rows) = nullptr;
};

/// The layout that [outputs, inputs] in `codec` is packed to on this machine. `exact` keeps activations in float32
/// whatever the codec; else weights in blocks meet int8, bfloat16 weights bfloat16, float32 and float16 float32.
/// `kept`: only so many inputs of a row take part, in float32, those with the largest magnitudes; 0: all.
/// Errors: inputs that are not whole blocks, an empty matrix, or more kept than there are.
core::Result<WeightLayout> weight_layout(const codec::Codec& codec, int64_t outputs, int64_t inputs, bool exact = false,
                                         int64_t kept = 0);

/// Packs the panels [panel_begin, panel_end). `rows` is output 0 in file layout, `packed` is panel 0. Absent outputs
/// of the last panel become zeros. Panels are independent: pack in as many threads as wanted.
void pack_panels(const WeightLayout& layout, const std::byte* rows, int64_t panel_begin, int64_t panel_end,
                 std::byte* packed);

/// Decodes one output's weights to float32 [inputs], as the codec would from the file.
void decode_row(const WeightLayout& layout, const std::byte* packed, int64_t output, float* out);

/// Activations as `layout` reads them. Float rows are plain float32 [inputs]: contiguous rows may be passed as they
/// are.
ActivationLayout activation_layout(const WeightLayout& layout);

/// Scratch that linear() needs in each thread for up to `max_rows` rows.
int64_t linear_scratch_bytes(const WeightLayout& layout, int64_t max_rows);

/// Computes y for the given panels; NaN and infinity in an activation block make the row's results NaN.
void linear(const LinearArgs& args);

/// All compiled variants; for a codec the strongest allowed instruction set wins (core::isa_allowed).
std::span<const LinearVariant> linear_variants();

/// The activations that a codec's kernels read when nothing else is asked for.
InputForm activation_of(std::string_view codec);

}  // namespace lamina::kernels
