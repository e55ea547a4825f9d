#include <fnmatch.h>

#include <algorithm>

#include "models/architecture.h"
#include "models/model.h"

namespace lamina::models {

using core::ErrorCode;
using core::fail;
using core::Result;

namespace {

/// A GGUF file lists its tokens beside the weights, so this needs no tokenizer. Rows without a token are padding.
core::Status check_tokens(const format::ModelFiles& files, int64_t rows) {
  const format::GgufValue* tokens = files.gguf() == nullptr ? nullptr : files.gguf()->find("tokenizer.ggml.tokens");
  if (tokens == nullptr || tokens->size() <= static_cast<uint64_t>(rows)) return {};
  return fail(ErrorCode::kCorrupt, files.path().string(), "the tokenizer has {} tokens, the embedding only {} rows",
              tokens->size(), rows);
}

}  // namespace

Result<std::unique_ptr<Model>> Model::build(const std::filesystem::path& path, const BuildOptions& options) {
  LAMINA_ASSIGN(format::ModelFiles files, format::ModelFiles::open(path));
  return build(std::move(files), options);
}

Result<std::unique_ptr<Model>> Model::build(format::ModelFiles files, const BuildOptions& options) {
  std::unique_ptr<Model> model(new Model(std::make_shared<Source>(std::move(files), options.exact)));
  const std::string place = model->files().path().string();
  LAMINA_ASSIGN(const Architecture* architecture, find_architecture(model->files()));
  LAMINA_CHECK_OK(model->source_->weights.rename(
      architecture->data.value("rename", std::vector<std::pair<std::string, std::string>>())));
  LAMINA_CHECK_OK(model->read_encoder(*architecture, place));
  model->source_->recipe = options.recipe;  // recipes have no names for the layers of an encoder
  LAMINA_CHECK_OK(model->read(*architecture, place));
  LAMINA_CHECK_OK(check_tokens(model->files(), model->vocabulary()));
  LAMINA_CHECK_OK(model->check_unused(architecture->data.value("ignore", nlohmann::json::array())));
  return model;
}

/// Reads one stack: embedding, layers, route and head.
core::Status Model::read(const Architecture& architecture, const std::string& place) {
  LAMINA_ASSIGN(const ResolvedModel resolved, resolve(architecture, files()));
  architecture_ = architecture.name;
  layers::Weights& weights = source_->weights;
  LAMINA_ASSIGN(layers::WeightCodecs codecs,
                layers::WeightCodecs::make(source_->recipe, static_cast<int>(resolved.layers.size())));
  weights.set_codecs(std::move(codecs));
  weights.set_shares(layers::InputShares::of(source_->recipe, static_cast<int>(resolved.layers.size())));
  layers::Record settings(resolved.settings, place);
  LAMINA_ASSIGN(context_, settings.size("context"));
  weights.enter(-1, "embedding");
  LAMINA_ASSIGN(embedding_, layers::Embedding::make({resolved.embedding, place + ": embedding"}, weights));
  if (settings.has("vocabulary")) {
    LAMINA_ASSIGN(const int64_t tokens, settings.size("vocabulary"));
    if (tokens != vocabulary()) {
      return fail(ErrorCode::kCorrupt, place,
                  "the configuration has {} tokens, the embedding {} rows; equal ones expected", tokens, vocabulary());
    }
  }
  LAMINA_CHECK_OK(read_layers(resolved.layers, place));
  LAMINA_CHECK_OK(weights.shares().check_taken());
  for (int64_t visit = 0; visit < resolved.repeat * static_cast<int64_t>(resolved.layers.size()); ++visit) {
    route_.push_back(static_cast<int>(visit / resolved.repeat));
  }
  weights.enter(-1, "head");
  LAMINA_CHECK_OK(read_head(resolved.heads, place));
  if (!encoder_) return {};
  LAMINA_ASSIGN(const int64_t start_token, settings.size_or_zero("start_token"));
  if (start_token >= vocabulary()) {
    return fail(ErrorCode::kCorrupt, place, "start token {}; one below the vocabulary of {} expected", start_token,
                vocabulary());
  }
  start_token_ = static_cast<int32_t>(start_token);
  return {};
}

core::Status Model::read_layers(std::span<const nlohmann::json> records, const std::string& place) {
  std::vector<kernels::RopeOptions> ropes;
  layers::BuildContext context{
      .weights = source_->weights, .ropes = ropes, .encoded = encoder_ ? encoder_->hidden() : 0};
  for (size_t i = 0; i < records.size(); ++i) {
    LAMINA_ASSIGN(
        layers::Layer layer,
        layers::Layer::make(static_cast<int>(i), {records[i], fmt::format("{}: layer {}", place, i)}, context));
    layers_.push_back(std::move(layer));
  }
  for (const kernels::RopeOptions& rope : ropes) {
    auto frequencies = kernels::rope_frequencies(rope);
    if (!frequencies) {
      const bool impossible =
          frequencies.error().code == ErrorCode::kInvalid;  // numbers of the file, not of the caller
      return fail(impossible ? ErrorCode::kCorrupt : frequencies.error().code, place, "{}", frequencies.error().text());
    }
    ropes_.push_back(std::move(*frequencies));
  }
  return {};
}

/// Families whose classes differ in what reads the stream list their heads with the tensor that tells each.
core::Status Model::read_head(std::span<const nlohmann::json> records, const std::string& place) {
  for (nlohmann::json record : records) {
    if (const auto present = record.find("present"); present != record.end()) {
      if (!present->is_string() || !source_->weights.has(present->get<std::string>()))
        continue;  // null: not in this container
      record.erase(present);
    }
    LAMINA_ASSIGN(head_, layers::Head::make({record, place + ": head"}, embedding_, source_->weights));
    return {};
  }
  return {};
}

/// The encoder is described by an architecture of its own, which the decoder's names.
core::Status Model::read_encoder(const Architecture& architecture, const std::string& place) {
  const auto name = architecture.data.find("encoder");
  if (name == architecture.data.end()) return {};
  const auto all = architectures();
  const auto found = std::ranges::find(all, name->get<std::string>(), &Architecture::name);
  if (found == all.end()) return fail(ErrorCode::kInvalid, place, "no architecture is named {}", name->dump());
  encoder_.reset(new Model(source_));
  LAMINA_CHECK_OK(encoder_->read(*found, place + ": encoder"));
  if (!encoder_->reads_ahead() || encoder_->head().outputs() != 0)
    return fail(ErrorCode::kInvalid, place, "architecture {} is no encoder", name->dump());
  return {};
}

bool Model::reads_ahead() const {
  return std::ranges::any_of(layers_, [](const layers::Layer& layer) {
    return std::ranges::any_of(layer.parts,
                               [](const layers::Layer::Part& part) { return part.sublayer->reads_ahead(); });
  });
}

bool Model::keeps_keys() const {
  return !reads_ahead() && std::ranges::any_of(layers_, [](const layers::Layer& layer) {
    return std::ranges::any_of(
        layer.parts, [](const layers::Layer::Part& part) { return part.sublayer->cache_shape().keeps_keys(); });
  });
}

/// A tensor that no layer asked for would change the result silently, so it must be one that the architecture knows to
/// be idle. {layers} in its patterns is the number of layers: the index of a layer beyond the last.
core::Status Model::check_unused(const nlohmann::json& ignored) const {
  for (const format::NamedTensor& tensor : files().tensors()) {
    const std::string name(tensor.name);
    if (source_->weights.used().contains(name)) continue;
    const std::string known = source_->weights.known_name(name);
    const bool idle = std::ranges::any_of(ignored, [&](const nlohmann::json& entry) {
      constexpr std::string_view kLayers = "{layers}";
      std::string pattern = entry.get<std::string>();
      const size_t at = pattern.find(kLayers);
      if (at != std::string::npos) pattern.replace(at, kLayers.size(), std::to_string(layers_.size()));
      return fnmatch(pattern.c_str(), known.c_str(), 0) == 0;
    });
    if (!idle)
      return fail(ErrorCode::kUnsupported, files().path().string(), "tensor {} has no place in architecture {}", name,
                  architecture_);
  }
  return {};
}

core::Status Model::load(core::ThreadPool& pool, const layers::Progress& progress) {
  return source_->weights.pack(pool, progress);
}

core::Status Model::load_packed(format::PackedFile packed) {
  return source_->weights.adopt(std::move(packed));
}

core::Status Model::save_packed(const std::filesystem::path& path, core::ThreadPool& pool,
                                const layers::Progress& progress) {
  return source_->weights.save(path, pool, progress);
}

int64_t Model::parameters() const {
  int64_t count = 0;
  for (const format::NamedTensor& tensor : files().tensors()) count += listed(tensor).elements();
  return count;
}

}  // namespace lamina::models
