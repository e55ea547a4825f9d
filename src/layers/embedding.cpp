#include "layers/embedding.h"

#include <algorithm>
#include <array>

#include "codec/codec.h"
#include "kernels/activation.h"
#include "layers/rows.h"

namespace lamina::layers {

using core::ErrorCode;
using core::fail;
using core::Result;

namespace {

std::span<const int32_t> part(std::span<const int32_t> values, int64_t begin, int64_t end) {
  return values.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
}

}  // namespace

Result<Embedding> Embedding::make(Record record, Weights& weights) {
  Embedding embedding;
  LAMINA_ASSIGN(embedding.hidden_, record.size("hidden"));
  LAMINA_ASSIGN(const int64_t own_width, record.size_or_zero("width"));
  const int64_t width = own_width == 0 ? embedding.hidden_ : own_width;
  embedding.width_ = width;
  LAMINA_ASSIGN(const double scale, record.number("scale"));
  embedding.scale_ = static_cast<float>(scale);
  LAMINA_ASSIGN(std::optional<Record> frames, record.optional_child("frames"));
  if (frames) {
    LAMINA_ASSIGN(embedding.frames_, FrameConvolutions::make(*frames, weights, width));
  } else {
    LAMINA_ASSIGN(embedding.name_, record.text("weight"));
    LAMINA_ASSIGN(embedding.table_, weights.token_table(embedding.name_, width));
  }
  LAMINA_CHECK_OK(embedding.read_tables(record, weights, width));
  LAMINA_ASSIGN(std::optional<Record> norm, record.optional_child("norm"));
  if (norm) {
    LAMINA_ASSIGN(embedding.norm_, Norm::make(*norm, weights, width));
  }
  LAMINA_ASSIGN(std::optional<Record> project, record.optional_child("project"));
  if (project) {
    LAMINA_ASSIGN(embedding.project_, weights.linear(*project, embedding.hidden_, width));
  } else if (width != embedding.hidden_) {
    return fail(ErrorCode::kInvalid, record.place(), "tables of {} columns need a \"project\" to the stream's {}",
                width, embedding.hidden_);
  }
  LAMINA_CHECK_OK(record.done());
  return embedding;
}

core::Status Embedding::read_tables(Record& record, Weights& weights, int64_t width) {
  LAMINA_ASSIGN(std::optional<Record> positions, record.optional_child("positions"));
  if (positions) {
    LAMINA_ASSIGN(const std::optional<std::string> kind, positions->optional_text("kind"));
    if (kind && *kind != "absolute") {
      return fail(ErrorCode::kUnsupported, positions->place(),
                  "positions of kind \"{}\" are unknown; absolute expected", *kind);
    }
    LAMINA_ASSIGN(const std::string name, positions->text("weight"));
    LAMINA_ASSIGN(position_offset_, positions->size_or_zero("offset"));
    LAMINA_CHECK_OK(positions->done());
    LAMINA_ASSIGN(position_table_, weights.table(name, width));
  }
  LAMINA_ASSIGN(std::optional<Record> types, record.optional_child("types"));
  if (types) {
    LAMINA_ASSIGN(const std::string name, types->text("weight"));
    LAMINA_ASSIGN(const bool optional, types->flag("optional"));
    LAMINA_CHECK_OK(types->done());
    if (!optional || weights.has(name)) {
      LAMINA_ASSIGN(type_table_, weights.table(name, width));
    }
  }
  return {};
}

void Embedding::add_rows(const core::TensorView& table, std::span<const int32_t> rows, int64_t offset, float* scratch,
                         float* out) const {
  const auto decode = codec::codec_of(*table.format)->decode;
  for (const int32_t row : rows) {
    decode(table.row(row + offset), width(), scratch);
    kernels::add(out, scratch, width(), out);
    out += width();
  }
}

/// out [tokens, width] = scale * each token's row.
void Embedding::decode_tokens(std::span<const int32_t> tokens, float* row) const {
  const auto decode = codec::codec_of(*table_.format)->decode;
  for (const int32_t token : tokens) {
    decode(table_.row(token), width(), row);
    if (scale_ != 1) kernels::scale(row, scale_, width(), row);
    row += width();
  }
}

void Embedding::forward(Step& step, const EmbeddingInput& input, float* out) const {
  float* sums = project_ ? step.arena.take<float>(step.rows * width()) : out;
  auto* scratch = step.arena.take<float>(step.rows * width());
  if (frames_) frames_->forward(step, input.frames, sums);
  split_rows(step.pool, step.rows, [&](int64_t begin, int64_t end) {
    float* row = sums + begin * width();
    float* mine = scratch + begin * width();
    if (!frames_) decode_tokens(part(input.tokens, begin, end), row);
    if (type_table_) add_rows(*type_table_, part(input.types, begin, end), 0, mine, row);
    if (position_table_) add_rows(*position_table_, part(input.positions, begin, end), position_offset_, mine, row);
    if (norm_) norm_->apply(row, row, end - begin);
  });
  step.lap(Op::kEmbedding);
  if (project_)
    run_products(step, std::array{Product{.linear = project_.get(), .y = out, .y_stride = hidden_}}, sums, step.rows);
}

int64_t Embedding::arena_bytes(int64_t rows) const {
  const auto one = static_cast<int64_t>(Arena::padded(rows * width() * 4));
  const int64_t convolved = frames_ ? frames_->arena_bytes(rows) : 0;
  return convolved + (project_ ? 2 * one + product_bytes(std::array{project_.get()}, rows) : one);
}

int64_t Embedding::scratch_bytes(int64_t rows) const {
  return std::max(frames_ ? frames_->scratch_bytes(rows) : 0,
                  project_ ? product_scratch_bytes(std::array{project_.get()}, rows) : 0);
}

}  // namespace lamina::layers
