#include <fnmatch.h>

#include <algorithm>

#include "models/architecture.h"
#include "models/model.h"

namespace lamina::models {

using core::ErrorCode;
using core::fail;
using core::Result;

Result<std::unique_ptr<Model>> Model::build(const std::filesystem::path& path, const BuildOptions& options) {
  LAMINA_ASSIGN(format::ModelFiles files, format::ModelFiles::open(path));
  std::unique_ptr<Model> model(new Model(std::move(files)));
  LAMINA_ASSIGN(const Architecture* architecture, find_architecture(model->files_));
  LAMINA_ASSIGN(const ResolvedModel resolved, resolve(*architecture, model->files_));
  model->architecture_ = architecture->name;
  model->weights_ = std::make_unique<layers::Weights>(model->files_, options.exact);

  LAMINA_CHECK_OK(
      model->weights_->rename(architecture->data.value("rename", std::vector<std::pair<std::string, std::string>>())));

  LAMINA_ASSIGN(layers::WeightCodecs codecs,
                layers::WeightCodecs::make(options.recipe, static_cast<int>(resolved.layers.size())));
  model->weights_->set_codecs(std::move(codecs));

  const std::string place = path.string();
  layers::Record settings(resolved.settings, place);
  LAMINA_ASSIGN(model->context_, settings.size("context"));
  model->weights_->enter(-1, "embedding");
  LAMINA_ASSIGN(model->embedding_,
                layers::Embedding::make({resolved.embedding, place + ": embedding"}, *model->weights_));
  std::vector<kernels::RopeOptions> ropes;
  layers::BuildContext context{.weights = *model->weights_, .ropes = ropes};
  for (size_t i = 0; i < resolved.layers.size(); ++i) {
    LAMINA_ASSIGN(
        layers::Layer layer,
        layers::Layer::make(static_cast<int>(i), {resolved.layers[i], fmt::format("{}: layer {}", place, i)}, context));
    model->layers_.push_back(std::move(layer));
  }
  for (int64_t visit = 0; visit < resolved.repeat * static_cast<int64_t>(resolved.layers.size()); ++visit) {
    model->route_.push_back(static_cast<int>(visit / resolved.repeat));
  }
  model->weights_->enter(-1, "head");
  LAMINA_CHECK_OK(model->read_head(resolved.heads));
  for (const kernels::RopeOptions& rope : ropes) {
    auto frequencies = kernels::rope_frequencies(rope);
    if (!frequencies) {
      const bool impossible =
          frequencies.error().code == ErrorCode::kInvalid;  // numbers of the file, not of the caller
      return fail(impossible ? ErrorCode::kCorrupt : frequencies.error().code, place, "{}", frequencies.error().text());
    }
    model->ropes_.push_back(std::move(*frequencies));
  }
  LAMINA_CHECK_OK(model->check_unused(architecture->data.value("ignore", nlohmann::json::array())));
  return model;
}

/// Families whose classes differ in what reads the stream list their heads with the tensor that tells each.
core::Status Model::read_head(std::span<const nlohmann::json> records) {
  for (nlohmann::json record : records) {
    if (const auto present = record.find("present"); present != record.end()) {
      if (!present->is_string() || !weights_->has(present->get<std::string>()))
        continue;  // null: not in this container
      record.erase(present);
    }
    LAMINA_ASSIGN(head_, layers::Head::make({record, files_.path().string() + ": head"}, embedding_, *weights_));
    return {};
  }
  return {};
}

bool Model::reads_ahead() const {
  return std::ranges::any_of(layers_, [](const layers::Layer& layer) {
    return std::ranges::any_of(layer.parts,
                               [](const layers::Layer::Part& part) { return part.sublayer->reads_ahead(); });
  });
}

/// A tensor that no layer asked for would change the result silently, so it must be one that the architecture knows to
/// be idle.
core::Status Model::check_unused(const nlohmann::json& ignored) const {
  for (const format::NamedTensor& tensor : files_.tensors()) {
    const std::string name(tensor.name);
    if (weights_->used().contains(name)) continue;
    const std::string known = weights_->known_name(name);
    const bool idle = std::ranges::any_of(ignored, [&](const nlohmann::json& pattern) {
      return fnmatch(pattern.get_ref<const std::string&>().c_str(), known.c_str(), 0) == 0;
    });
    if (!idle)
      return fail(ErrorCode::kUnsupported, files_.path().string(), "tensor {} has no place in architecture {}", name,
                  architecture_);
  }
  return {};
}

core::Status Model::load(core::ThreadPool& pool, const layers::Progress& progress) {
  return weights_->pack(pool, progress);
}

int64_t Model::parameters() const {
  int64_t count = 0;
  for (const format::NamedTensor& tensor : files_.tensors()) count += tensor.view.elements();
  return count;
}

}  // namespace lamina::models
