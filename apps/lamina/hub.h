#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "lamina/download.h"
#include "lamina/store.h"

namespace lamina::app {

/// The public model hub's API, or $HF_ENDPOINT's; with $HF_TOKEN for that origin alone.
struct HubSettings {
  std::string endpoint;
  HttpSettings http;
};
core::Result<HubSettings> hub_settings();

/// "hf:OWNER/NAME" with ":FILE", ":safetensors" or nothing after it.
struct HubReference {
  std::string model;  ///< "OWNER/NAME"
  std::string file;
};
core::Result<HubReference> parse_hub_reference(std::string_view text);

struct HubFile {
  std::string name;
  int64_t bytes = -1;       ///< -1: not told
  std::string sha256;       ///< of large files
  std::string git_blob_id;  ///< of small files
};

/// What the hub tells of a model.
struct HubModel {
  std::string licence;
  std::vector<HubFile> files;
};

/// Reads the hub's answer to /api/models/OWNER/NAME?blobs=true. Files with unsafe names are left out.
core::Result<HubModel> parse_hub_model(std::string_view text);

/// The files to fetch: the one named; else the only .gguf; else configs, tokenizer and safetensors weights. Pickled
/// weights are never chosen. Errors list what there is.
core::Result<std::vector<HubFile>> choose_files(const HubModel& model, const HubReference& reference);

/// Brings the model into the store and returns its manifest.
core::Result<Manifest> pull_from_hub(const HubReference& reference, const HubSettings& settings,
                                     const std::filesystem::path& root);

}  // namespace lamina::app
