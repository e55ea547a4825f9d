#include "compress/regression_merge.h"

#include <algorithm>

#include "compress/layer_grams.h"
#include "compress/linear_algebra.h"

namespace lamina::compress {

using core::Result;
using core::Status;

namespace {

constexpr int64_t kWindow = 256;
constexpr double kRidge = 1e-5;

class RegressionMerge {
 public:
  RegressionMerge(const RegressionRule& rule, std::span<const std::unique_ptr<ModelEdit>> models, ModelEdit& edit)
      : rule_(rule), models_(models), edit_(edit) {}

  Status read_texts(std::span<const std::filesystem::path> texts);
  Status run(PassReport& report);

 private:
  Status mean(size_t index);
  Status merge_layer(int layer);
  Result<std::vector<LayerGrams>> grams_of(int layer);
  Status put_layer(const ModelEdit& from, int layer);
  Result<std::vector<Matrix>> read_all(size_t index) const;
  int64_t window() const;

  const RegressionRule& rule_;
  std::span<const std::unique_ptr<ModelEdit>> models_;
  ModelEdit& edit_;
  std::vector<std::vector<int32_t>> texts_;
  int64_t regressed_ = 0;
  int64_t plain_ = 0;
};

Status RegressionMerge::read_texts(std::span<const std::filesystem::path> texts) {
  for (size_t i = 0; i < models_.size(); ++i) {
    LAMINA_ASSIGN(std::vector<int32_t> tokens,
                  read_tokens(texts[texts.size() == 1 ? 0 : i], models_[i]->model().files(), rule_.tokens));
    texts_.push_back(std::move(tokens));
  }
  return {};
}

/// Texts are cut into windows that every model knows.
int64_t RegressionMerge::window() const {
  return std::min(kWindow, edit_.model().context());
}

Result<std::vector<Matrix>> RegressionMerge::read_all(size_t index) const {
  std::vector<Matrix> out;
  for (const auto& model : models_) {
    LAMINA_ASSIGN(Matrix matrix, model->read(model->pieces()[index]));
    out.push_back(std::move(matrix));
  }
  return out;
}

Status RegressionMerge::mean(size_t index) {
  const Piece piece = edit_.pieces()[index];
  if (!piece.literal.empty()) return {};
  LAMINA_ASSIGN(const std::vector<Matrix> all, read_all(index));
  return edit_.write(piece, weighted_mean(all, rule_.weights));
}

/// Gives a layer of the merged model the numbers of one of the models.
Status RegressionMerge::put_layer(const ModelEdit& from, int layer) {
  for (size_t i = 0; i < edit_.pieces().size(); ++i) {
    const Piece piece = edit_.pieces()[i];
    if (piece.layer != layer || !piece.literal.empty()) continue;
    LAMINA_ASSIGN(const Matrix matrix, from.read(from.pieces()[i]));
    LAMINA_CHECK_OK(edit_.write(piece, matrix));
  }
  return edit_.commit();
}

/// What each model's matrices of a layer read of its text.
Result<std::vector<LayerGrams>> RegressionMerge::grams_of(int layer) {
  std::vector<LayerGrams> out;
  for (size_t m = 0; m < models_.size(); ++m) {
    if (rule_.merged_inputs) LAMINA_CHECK_OK(put_layer(*models_[m], layer));
    const format::ModelFiles& files = rule_.merged_inputs ? edit_.model().files() : models_[m]->model().files();
    LAMINA_ASSIGN(LayerGrams grams, LayerGrams::collect(files, layer, texts_[m], window(), edit_.pool()));
    out.push_back(std::move(grams));
  }
  return out;
}

Status RegressionMerge::merge_layer(int layer) {
  LAMINA_ASSIGN(const std::vector<LayerGrams> layers, grams_of(layer));
  for (size_t i = 0; i < edit_.pieces().size(); ++i) {
    const Piece piece = edit_.pieces()[i];
    if (piece.layer != layer) continue;
    std::vector<const stats::Gram*> grams;
    for (const LayerGrams& one : layers) grams.push_back(piece.matrix ? one.of(piece.from.tensor) : nullptr);
    const bool known = std::ranges::all_of(
        grams, [&](const stats::Gram* gram) { return gram != nullptr && gram->inputs() == piece.inputs; });
    if (piece.matrix) ++(known ? regressed_ : plain_);
    if (!known) {
      LAMINA_CHECK_OK(mean(i));
      continue;
    }
    LAMINA_ASSIGN(const std::vector<Matrix> all, read_all(i));
    LAMINA_ASSIGN(const Matrix merged, regression_mean(all, grams, rule_.weights, rule_.alpha, kRidge));
    LAMINA_CHECK_OK(edit_.write(piece, merged));
  }
  return {};
}

Status RegressionMerge::run(PassReport& report) {
  // What is no layer's comes first, since the first layer reads it.
  for (size_t i = 0; i < edit_.pieces().size(); ++i) {
    if (edit_.pieces()[i].layer < 0) LAMINA_CHECK_OK(mean(i));
  }
  for (int layer = 0; layer < static_cast<int>(edit_.model().layers().size()); ++layer)
    LAMINA_CHECK_OK(merge_layer(layer));
  report.details["regressed"] = regressed_;
  report.details["plain"] = plain_;
  if (plain_ > 0)
    report.notes.push_back(fmt::format("{} matrices that do not all read the same, as experts, are means", plain_));
  return {};
}

}  // namespace

Status merge_by_regression(const RegressionRule& rule, std::span<const std::unique_ptr<ModelEdit>> models,
                           std::span<const std::filesystem::path> texts, ModelEdit& edit, PassReport& report) {
  RegressionMerge merge(rule, models, edit);
  LAMINA_CHECK_OK(merge.read_texts(texts));
  return merge.run(report);
}

}  // namespace lamina::compress
