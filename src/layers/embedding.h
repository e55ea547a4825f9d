#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "core/tensor.h"
#include "layers/frame_convolutions.h"
#include "layers/norm.h"
#include "layers/step.h"
#include "layers/weights.h"

namespace lamina::layers {

/// What the embedding reads of each row of a batch.
struct EmbeddingInput {
  std::span<const int32_t> tokens;     ///< below vocabulary()
  std::span<const int32_t> positions;  ///< below positions(), read when there is a table of positions
  std::span<const int32_t> types;      ///< below types(), read when there is a table of types
  Frames frames{};                     ///< what one text's rows are made of, where features() is not 0, not of tokens
};

/// The tables that turn tokens into the stream: of tokens, and maybe of positions and of token types; then maybe a
/// norm, and a product where the tables are narrower than the stream (Lan et al. 2019). Rows are decoded from the
/// mapped file when they are needed. In place of tokens there may be frames, which convolutions turn into rows.
class Embedding {
 public:
  /// Reads {weight or frames: what FrameConvolutions reads, hidden, scale, width?, positions?: {weight, offset?,
  /// kind?}, types?: {weight}, norm?, project?: {weight, bias?}}. The number of rows is the vocabulary; `width` is that
  /// of the tables, `hidden` that of the stream.
  static core::Result<Embedding> make(Record record, Weights& weights);

  int64_t vocabulary() const { return frames_ ? 0 : table_.shape[0]; }
  int64_t hidden() const { return hidden_; }
  int64_t width() const { return width_; }
  /// Numbers of a frame, or 0 when rows are made of tokens.
  int64_t features() const { return frames_ ? frames_->features() : 0; }
  /// Rows that so many frames make.
  int64_t rows(int64_t frames) const { return frames_->rows(frames); }
  /// Positions that have a row, or 0 when positions are not learned.
  int64_t positions() const { return position_table_ ? position_table_->shape[0] - position_offset_ : 0; }
  /// Token types that a row may have; 1 when they make no difference.
  int64_t types() const { return type_table_ ? type_table_->shape[0] : 1; }
  const std::string& name() const { return name_; }
  const core::TensorView& table() const { return table_; }
  /// out [step.rows, hidden] = project(norm(scale * token's row + type's row + position's row)).
  void forward(Step& step, const EmbeddingInput& input, float* out) const;
  /// Arena bytes of forward().
  int64_t arena_bytes(int64_t rows) const;
  /// Scratch bytes per thread.
  int64_t scratch_bytes(int64_t rows) const;

 private:
  core::Status read_tables(Record& record, Weights& weights, int64_t width);
  void decode_tokens(std::span<const int32_t> tokens, float* row) const;
  void add_rows(const core::TensorView& table, std::span<const int32_t> rows, int64_t offset, float* scratch,
                float* out) const;

  std::string name_;
  core::TensorView table_;
  std::optional<FrameConvolutions> frames_;
  std::optional<core::TensorView> position_table_;
  std::optional<core::TensorView> type_table_;
  std::optional<Norm> norm_;
  std::shared_ptr<const Linear> project_;
  int64_t hidden_ = 0;
  int64_t width_ = 0;
  int64_t position_offset_ = 0;
  float scale_ = 1;
};

}  // namespace lamina::layers
