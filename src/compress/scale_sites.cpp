#include "compress/scale_sites.h"

#include <algorithm>
#include <map>

#include "compress/map_inputs.h"
#include "compress/part_pieces.h"
#include "recipe/plan.h"

namespace lamina::compress {

using core::Result;
using core::Status;

namespace {

class SiteFinder {
 public:
  SiteFinder(const PassUse& use, const ModelEdit& edit, std::vector<std::string>& left_out)
      : use_(use), edit_(edit), left_out_(left_out) {}

  Result<std::vector<ScaleSite>> find();

 private:
  void add_norms();
  void add_values(const PartPieces& part);
  void add_ups(const PartPieces& part);
  void add_pairs(const PartPieces& part, const std::vector<const Piece*>& ups, const std::vector<const Piece*>& downs);
  void add(ScaleSite site);
  void leave_out(int layer, const std::string& name, std::string_view why) {
    const recipe::Where& where = use_.clause.where;
    if (recipe::selects(where, edit_.origin(layer), edit_.source_layers()))
      left_out_.push_back(fmt::format("layer {}, {}: {}", edit_.origin(layer), name, why));
  }

  const PassUse& use_;
  const ModelEdit& edit_;
  std::vector<std::string>& left_out_;
  std::vector<PartPieces> parts_;
  std::vector<ScaleSite> sites_;
};

void SiteFinder::add(ScaleSite site) {
  const bool wanted =
      std::ranges::any_of(site.readers, [&](const Piece* reader) { return use_.selects(*reader, edit_); });
  if (wanted) sites_.push_back(std::move(site));
}

/// A norm and all that reads it: two parts of a layer may share one.
void SiteFinder::add_norms() {
  std::map<std::string, std::vector<const PartPieces*>> by_norm;
  for (const PartPieces& part : parts_) {
    if (!part.norm.empty()) by_norm[part.norm_tensor()].push_back(&part);
  }
  for (const PartPieces& first : parts_) {
    if (first.norm.empty() || by_norm[first.norm_tensor()].front() != &first) continue;
    ScaleSite site{.name = first.role + ".norm", .layer = first.layer, .makers = first.norm};
    std::string why;
    for (const PartPieces* part : by_norm[first.norm_tensor()]) {
      if (!part->unknown.empty()) why = part->unknown;
      if (part->layer != first.layer) why = "the norm is another layer's too";
      site.readers.insert(site.readers.end(), part->readers.begin(), part->readers.end());
    }
    if (std::ranges::any_of(first.norm, [](const Piece* piece) { return !piece->literal.empty(); }))
      why = "the norm has no numbers of its own";
    if (why.empty()) {
      add(std::move(site));
    } else {
      leave_out(first.layer, site.name, why);
    }
  }
}

/// Values are mixed by attention row by row, so scales of their numbers reach the matrix after it. Heads that share
/// keys and values share scales.
void SiteFinder::add_values(const PartPieces& part) {
  if (part.kind != "attention") return;
  if (!part.unknown.empty()) return leave_out(part.layer, part.role + ".v", part.unknown);
  ScaleSite site{.name = part.role + ".v", .layer = part.layer};
  site.readers = pieces_of(edit_, part, "o", true);
  site.makers = pieces_of(edit_, part, "v", false);
  site.head = static_cast<int64_t>(part.number("value_size"));
  site.repeat = static_cast<int64_t>(part.number("heads") / part.number("kv_heads"));
  add(std::move(site));
}

/// Of a part's pieces those of its shared expert, or all others (`own`).
std::vector<const Piece*> of_shared(const std::vector<const Piece*>& pieces, const nlohmann::json& shared,
                                    const char* key, bool own) {
  const nlohmann::json linear = shared.is_object() ? shared.value(key, nlohmann::json()) : nlohmann::json();
  std::vector<const Piece*> out;
  for (const Piece* piece : pieces) {
    const bool is_shared =
        piece->from.tensor == text_of(linear, "weight") || piece->from.tensor == text_of(linear, "bias");
    if (is_shared != own) out.push_back(piece);
  }
  return out;
}

/// The gate is multiplied with what `up` makes; a bound on that, or a number added to it, would meet it scaled.
void SiteFinder::add_ups(const PartPieces& part) {
  if (part.kind != "gated_mlp" && part.kind != "moe") return;
  if (!part.unknown.empty()) return leave_out(part.layer, part.role + ".up", part.unknown);
  if (part.number("limit") != 0 || part.number("up_offset") != 0)
    return leave_out(part.layer, part.role + ".up", "what it makes is bounded before the gate");
  const std::vector<const Piece*> ups = pieces_of(edit_, part, "up", false);
  const std::vector<const Piece*> downs = pieces_of(edit_, part, "down", true);
  const nlohmann::json shared = part.record.value("shared", nlohmann::json());
  for (const bool own : {true, false})
    add_pairs(part, of_shared(ups, shared, "up", own), of_shared(downs, shared, "down", own));
}

/// Matrices and biases of as many makers as there are readers, in the same order.
void SiteFinder::add_pairs(const PartPieces& part, const std::vector<const Piece*>& ups,
                           const std::vector<const Piece*>& downs) {
  std::vector<const Piece*> matrices;
  std::vector<const Piece*> biases;
  for (const Piece* up : ups) (up->matrix ? matrices : biases).push_back(up);
  for (size_t i = 0; i < downs.size() && matrices.size() == downs.size(); ++i) {
    ScaleSite site{.name = part.role + ".up", .layer = part.layer, .readers = {downs[i]}, .makers = {matrices[i]}};
    if (biases.size() == downs.size()) site.makers.push_back(biases[i]);
    if (downs[i]->inputs == matrices[i]->outputs) add(std::move(site));
  }
}

Result<std::vector<ScaleSite>> SiteFinder::find() {
  LAMINA_ASSIGN(parts_, list_parts(edit_));
  add_norms();
  for (const PartPieces& part : parts_) {
    add_values(part);
    add_ups(part);
  }
  return std::move(sites_);
}

}  // namespace

int64_t ScaleSite::inputs() const {
  // The gate of a shared expert is a vector.
  return readers.front()->inputs > 0 ? readers.front()->inputs : readers.front()->outputs;
}

Result<std::vector<ScaleSite>> scale_sites(const PassUse& use, const ModelEdit& edit,
                                           std::vector<std::string>& left_out) {
  return SiteFinder(use, edit, left_out).find();
}

Status apply_scales(const ScaleSite& site, const std::vector<float>& scales, ModelEdit& edit) {
  for (const Piece* maker : site.makers) {
    LAMINA_ASSIGN(Matrix matrix, edit.read(*maker));
    for (int64_t row = 0; row < matrix.outputs; ++row) {
      const float scale = scales[static_cast<size_t>(row)];
      for (int64_t i = 0; i < matrix.inputs; ++i) matrix.row(row)[i] /= scale;
    }
    LAMINA_CHECK_OK(edit.write(*maker, matrix));
  }
  InputMap map;
  for (int64_t i = 0; i < site.inputs(); ++i)
    map.divisors.push_back(double{scales[static_cast<size_t>(site.source(i))]});
  return map_inputs(edit, site.readers, map);
}

}  // namespace lamina::compress
