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

  const std::string place = path.string();
  layers::Record settings(resolved.settings, place);
  LAMINA_ASSIGN(model->context_, settings.size("context"));
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
  LAMINA_ASSIGN(model->head_,
                layers::Head::make({resolved.head, place + ": head"}, model->embedding_, *model->weights_));
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

/// A tensor that no layer asked for would change the result silently, so it must be one that the architecture knows to
/// be idle.
core::Status Model::check_unused(const nlohmann::json& ignored) const {
  for (const format::NamedTensor& tensor : files_.tensors()) {
    const std::string name(tensor.name);
    if (weights_->used().contains(name)) continue;
    const bool idle = std::ranges::any_of(ignored, [&](const nlohmann::json& pattern) {
      return fnmatch(pattern.get_ref<const std::string&>().c_str(), name.c_str(), 0) == 0;
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
