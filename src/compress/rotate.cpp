#include <algorithm>
#include <array>
#include <map>

#include "compress/map_inputs.h"
#include "compress/part_pieces.h"
#include "compress/pass.h"
#include "models/architecture.h"
#include "models/structure.h"

namespace lamina::compress {

using core::Result;
using core::Status;
using nlohmann::json;

namespace {

/// Turns the stream of a whole model, and each attention's values, by orthogonal matrices that are folded into what
/// writes and what reads them.
class Rotate {
 public:
  Rotate(const PassUse& use, ModelEdit& edit, PassReport& report)
      : use_(use), edit_(edit), report_(report), seed_(static_cast<uint64_t>(use.integer("seed"))) {}

  Status run();

 private:
  Status check_stream();
  Status check_part(const PartPieces& part) const;
  Status turn_stream();
  Status turn_part(const PartPieces& part, const Rotation& rotation);
  Status turn_head(Matrix& table, const Rotation& rotation);
  Status untie(const Matrix& table, const std::vector<double>& factors, const Rotation& rotation);
  Result<std::vector<double>> norm_numbers(const Piece& norm) const;
  Status clear_norms();
  Status turn_values();

  const PassUse& use_;
  ModelEdit& edit_;
  PassReport& report_;
  uint64_t seed_;
  std::vector<PartPieces> parts_;
  json head_;  ///< the head's record
  const Piece* embedding_ = nullptr;
  std::map<std::string, const Piece*> norms_;  ///< whose numbers were folded, by tensor
};

std::string part_name(const PartPieces& part, const ModelEdit& edit) {
  return fmt::format("the {} of layer {}", part.role, edit.origin(part.layer));
}

/// What lies between the stream and a part must be a norm that a rotation passes through.
Status Rotate::check_part(const PartPieces& part) const {
  const std::string name = part_name(part, edit_);
  if (!part.unknown.empty()) return use_.refuse(fmt::format("{}: {}", name, part.unknown));
  for (const char* field : {"post_norm", "stream_norm"}) {
    if (part.record.value(field, json()).is_object())
      return use_.refuse(fmt::format("{} is followed by a norm, whose numbers belong to the stream as it lies", name));
  }
  const json norm = part.record.value("norm", json());
  if (!norm.is_object() || part.norm.empty()) return use_.refuse(name + " reads the stream without a norm");
  if (text_of(norm, "kind") != "rms")
    return use_.refuse(
        fmt::format("the norm before {} subtracts the mean, which a rotated stream no longer has; a "
                    "model with RMS norms expected",
                    name));
  if (part.norm.size() != 1 || !part.norm.front()->literal.empty())
    return use_.refuse(fmt::format("the norm before {} has more than factors", name));
  return {};
}

Status Rotate::check_stream() {
  const models::Model& model = edit_.model();
  if (!use_.clause.where.part.empty() || use_.layers(edit_).size() != model.layers().size())
    return use_.refuse("the stream goes through all layers; L* expected, or at=values");
  if (model.encoder() != nullptr) return use_.refuse("the stream of an encoder is read by another stack");
  for (const PartPieces& part : parts_) LAMINA_CHECK_OK(check_part(part));
  LAMINA_ASSIGN(const models::ResolvedModel resolved, models::resolve(edit_.architecture(), model.files()));
  const auto index = head_index(model, resolved);
  if (!index || model.head().outputs() == 0 || model.head().labels())
    return use_.refuse("what leaves the last layer must be read by a head for tokens; this model has none");
  head_ = resolved.heads[*index];
  for (const Piece& piece : edit_.pieces()) {
    if (piece.role != "embedding") continue;
    if (piece.key != "embedding" || !piece.matrix)
      return use_.refuse(
          fmt::format("tensor {} is added to the embedding, which would have to be rotated too", piece.from.tensor));
    embedding_ = &piece;
  }
  const json norm = head_.value("norm", json());
  if (embedding_ == nullptr || text_of(norm, "kind") != "rms" || head_.value("dense", json()).is_object() ||
      edit_.find(-1, "head", "norm") == nullptr)
    return use_.refuse("the embedding's table, one RMS norm and one matrix expected around the layers");
  return {};
}

Result<std::vector<double>> Rotate::norm_numbers(const Piece& norm) const {
  LAMINA_ASSIGN(const Matrix numbers, edit_.read(norm));
  return std::vector<double>(numbers.numbers.begin(), numbers.numbers.end());
}

Status Rotate::turn_part(const PartPieces& part, const Rotation& rotation) {
  const Piece& norm = *part.norm.front();
  LAMINA_ASSIGN(std::vector<double> factors, norm_numbers(norm));
  norms_[norm.from.tensor] = &norm;
  LAMINA_CHECK_OK(map_inputs(edit_, part.readers, {.divisors = std::move(factors), .rotation = &rotation}));
  for (const Piece* writer : part.writers) LAMINA_CHECK_OK(rotate_outputs(edit_, *writer, rotation));
  return {};
}

/// The head of a tied model becomes a matrix of its own: the last norm is folded into it, not into the embedding.
Status Rotate::untie(const Matrix& table, const std::vector<double>& factors, const Rotation& rotation) {
  Matrix matrix = table;
  rotate_rows(matrix, factors, rotation, edit_.pool());
  const format::Container container = edit_.model().files().container();
  const auto setting = edit_.architecture().data["settings"].find("tied");
  const json keys = setting == edit_.architecture().data["settings"].end()
                        ? json()
                        : setting->value(container == format::Container::kGguf ? "gguf" : "huggingface", json());
  for (const json& key : keys.is_array() ? keys : keys.is_string() ? json::array({keys}) : json::array())
    edit_.set_config(key.get<std::string>(), false);
  report_.notes.push_back(fmt::format(
      "the head was the embedding's table and is a matrix of its own now: {} numbers more", matrix.numbers.size()));
  return edit_.add(text_of(head_, "weight"), {matrix.outputs, matrix.inputs}, matrix.numbers,
                   edit_.codec_of(*embedding_));
}

Status Rotate::turn_head(Matrix& table, const Rotation& rotation) {
  const Piece& norm = *edit_.find(-1, "head", "norm");
  LAMINA_ASSIGN(std::vector<double> factors, norm_numbers(norm));
  norms_[norm.from.tensor] = &norm;
  if (edit_.model().head().tied()) return untie(table, factors, rotation);
  const Piece* head = edit_.find(-1, "head", "head");
  if (head == nullptr || !head->matrix) return use_.refuse("the head's matrix is not known");
  return map_inputs(edit_, std::array{head}, {.divisors = std::move(factors), .rotation = &rotation});
}

Status Rotate::clear_norms() {
  for (const auto& [name, norm] : norms_) {
    LAMINA_ASSIGN(Matrix numbers, edit_.read(*norm));
    std::ranges::fill(numbers.numbers, 1.0F);
    LAMINA_CHECK_OK(edit_.write(*norm, numbers));
  }
  return {};
}

Status Rotate::turn_stream() {
  LAMINA_CHECK_OK(check_stream());
  LAMINA_ASSIGN(Matrix table, edit_.read(*embedding_));
  const Rotation rotation(table.inputs, seed_);
  LAMINA_CHECK_OK(turn_head(table, rotation));
  rotate_rows(table, {}, rotation, edit_.pool());
  LAMINA_CHECK_OK(edit_.write(*embedding_, table));
  for (const PartPieces& part : parts_) LAMINA_CHECK_OK(turn_part(part, rotation));
  LAMINA_CHECK_OK(clear_norms());
  report_.summary =
      fmt::format("rotated the stream of {} numbers ({} x {})", rotation.size(), rotation.power(), rotation.odd());
  report_.details["stream"] = {{"size", rotation.size()}, {"power", rotation.power()}, {"odd", rotation.odd()}};
  return {};
}

/// Heads that share values share their rotation.
Status Rotate::turn_values() {
  int count = 0;
  const std::vector<int> layers = use_.layers(edit_);
  for (const PartPieces& part : parts_) {
    const bool wanted =
        part.kind == "attention" && part.unknown.empty() && std::ranges::find(layers, part.layer) != layers.end();
    if (!wanted) continue;
    const Rotation rotation(static_cast<int64_t>(part.number("value_size")), seed_ + 1);
    for (const Piece* v : pieces_of(edit_, part, "v", false)) LAMINA_CHECK_OK(rotate_outputs(edit_, *v, rotation));
    LAMINA_CHECK_OK(map_inputs(edit_, pieces_of(edit_, part, "o", true), {.rotation = &rotation}));
    ++count;
  }
  if (count == 0 && use_.word("at") == "values")
    return use_.refuse("selects no attention whose values and output matrix are its own");
  if (!report_.summary.empty()) report_.summary += ", ";
  report_.summary += fmt::format("rotated the values of {} attentions", count);
  report_.details["values"] = count;
  return {};
}

Status Rotate::run() {
  LAMINA_ASSIGN(parts_, list_parts(edit_));
  const std::string at = use_.word("at");
  if (at != "values") LAMINA_CHECK_OK(turn_stream());
  if (at != "stream") LAMINA_CHECK_OK(turn_values());
  const stats::Statistics* statistics = edit_.statistics();
  if (statistics != nullptr && statistics->grams.empty()) {
    report_.notes.emplace_back(
        "the statistics have no Gram matrices: inputs count after the rotation as if they did not hang together");
  }
  return edit_.commit();
}

}  // namespace

/// Ashkboos et al. 2024, QuaRot (arXiv 2404.00456), section 4.1, stages 1a and 1b, without what is rotated as it runs.
Status rotate_pass(const PassUse& use, ModelEdit& edit, PassReport& report) {
  return Rotate(use, edit, report).run();
}

}  // namespace lamina::compress
