#include "lamina/hub.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "lamina/progress.h"

namespace lamina::app {

namespace fs = std::filesystem;
using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;
using nlohmann::json;

namespace {

constexpr std::string_view kPublicHub = "https://huggingface.co";
constexpr std::string_view kFolderSet = "safetensors";

/// Small files beside safetensors weights that describe the model, its tokenizer, pooling and chat.
constexpr std::array<std::string_view, 21> kCompanions{"config.json",
                                                       "generation_config.json",
                                                       "model.safetensors.index.json",
                                                       "tokenizer.json",
                                                       "tokenizer_config.json",
                                                       "tokenizer.model",
                                                       "vocab.json",
                                                       "vocab.txt",
                                                       "merges.txt",
                                                       "added_tokens.json",
                                                       "special_tokens_map.json",
                                                       "chat_template.jinja",
                                                       "chat_template.json",
                                                       "preprocessor_config.json",
                                                       "modules.json",
                                                       "LICENSE",
                                                       "sentence_bert_config.json",
                                                       "config_sentence_transformers.json",
                                                       "LICENSE.txt",
                                                       "LICENSE.md",
                                                       "NOTICE"};

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool is_hex(std::string_view text, size_t size) {
  return text.size() == size && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

HubFile read_sibling(const json& from) {
  HubFile file;
  file.name = from.at("rfilename");
  file.bytes = from.contains("size") && from["size"].is_number_integer() ? from["size"].get<int64_t>() : -1;
  if (from.contains("lfs") && from["lfs"].is_object()) {
    const std::string digest = from["lfs"].value("sha256", "");
    if (is_hex(digest, 64)) file.sha256 = digest;
  } else if (const std::string id = from.value("blobId", ""); is_hex(id, 40)) {
    file.git_blob_id = id;
  }
  return file;
}

std::string read_licence(const json& all) {
  if (all.contains("cardData") && all["cardData"].is_object()) {
    const json& card = all["cardData"];
    if (card.contains("license") && card["license"].is_string()) {
      const std::string name = card.value("license_name", "");
      return name.empty() ? card["license"].get<std::string>() : name;
    }
  }
  return "none stated";
}

std::vector<HubFile> with_suffix(const HubModel& model, std::string_view suffix) {
  std::vector<HubFile> found;
  for (const HubFile& file : model.files) {
    if (file.name.ends_with(suffix)) found.push_back(file);
  }
  return found;
}

std::string listed(const std::vector<HubFile>& files) {
  constexpr size_t kMost = 40;
  std::string text;
  for (size_t i = 0; i < std::min(files.size(), kMost); ++i) {
    text += (i == 0 ? "" : ", ") + files[i].name;
    if (files[i].bytes >= 0) text += fmt::format(" ({})", size_text(files[i].bytes));
  }
  if (files.size() > kMost) text += fmt::format(" and {} more", files.size() - kMost);
  return text.empty() ? "no file" : text;
}

/// Configs and weights of one module of a sentence embedder: "1_Pooling/config.json", "2_Dense/model.safetensors".
bool belongs_to_module(std::string_view name) {
  const size_t slash = name.find('/');
  if (slash == std::string_view::npos || slash < 2 || name[0] < '0' || name[0] > '9') return false;
  const std::string_view file = name.substr(slash + 1);
  return name.find('_') < slash && (file == "config.json" || file == "model.safetensors");
}

/// The weights at the top: one file, or the shards of its index; a second, consolidated copy is left out.
std::vector<HubFile> top_weights(const HubModel& model) {
  std::vector<HubFile> all;
  std::vector<HubFile> shards;
  for (const HubFile& file : with_suffix(model, ".safetensors")) {
    if (file.name.find('/') != std::string::npos) continue;
    if (file.name == "model.safetensors") return {file};
    if (file.name.starts_with("model-") && file.name.find("-of-") != std::string::npos) shards.push_back(file);
    all.push_back(file);
  }
  return shards.empty() ? all : shards;
}

Result<std::vector<HubFile>> choose_folder_set(const HubModel& model, std::string_view name) {
  std::vector<HubFile> chosen = top_weights(model);
  if (chosen.empty()) {
    const bool pickled = !with_suffix(model, ".bin").empty() || !with_suffix(model, ".pt").empty();
    return fail(ErrorCode::kUnsupported, name, "has neither .gguf nor .safetensors{}; it has {}",
                pickled ? " (pickled weights can run code and are not loaded)" : "", listed(model.files));
  }
  for (const HubFile& file : model.files) {
    const bool companion = std::find(kCompanions.begin(), kCompanions.end(), file.name) != kCompanions.end();
    if (companion || belongs_to_module(file.name)) chosen.push_back(file);
  }
  return chosen;
}

Status fetch(const HubFile& file, const HubReference& reference, const HubSettings& settings, const Stage& stage) {
  std::string address = settings.endpoint + "/" + reference.model + "/resolve/main";
  for (size_t at = 0; at <= file.name.size();) {
    const size_t end = std::min(file.name.find('/', at), file.name.size());
    address += "/" + encode_segment(std::string_view(file.name).substr(at, end - at));
    at = end + 1;
  }
  DownloadRequest request;
  LAMINA_ASSIGN(request.url, parse_url(address));
  request.path = stage.folder() / file.name;
  request.label = file.name;
  request.bytes = file.bytes;
  request.sha256 = file.sha256;
  request.git_blob_id = file.git_blob_id;
  return download(request, settings.http);
}

/// Removes parts that belong to other content than what is wanted now; those of the same content are gone on with.
Status keep_matching_parts(const Stage& stage, const std::vector<HubFile>& files) {
  Manifest wanted;
  for (const HubFile& file : files) {
    wanted.files.push_back({file.name, file.bytes, file.sha256 + file.git_blob_id});
  }
  if (read_manifest(stage.folder()).files != wanted.files) {
    LAMINA_CHECK_OK(stage.clear());
    return write_manifest(stage.folder(), wanted);
  }
  return {};
}

}  // namespace

Result<HubSettings> hub_settings() {
  HubSettings settings;
  settings.endpoint = variable("HF_ENDPOINT");
  if (settings.endpoint.empty()) settings.endpoint = kPublicHub;
  while (settings.endpoint.ends_with('/')) settings.endpoint.pop_back();
  auto url = parse_url(settings.endpoint);
  if (!url) return fail(ErrorCode::kInvalid, "HF_ENDPOINT", "{}", url.error().text());
  settings.http.token = variable("HF_TOKEN");
  settings.http.token_origin = url->origin;
  return settings;
}

Result<HubReference> parse_hub_reference(std::string_view text) {
  std::string_view rest = text;
  if (rest.starts_with("hf:")) rest.remove_prefix(3);
  const size_t colon = rest.find(':');
  HubReference reference{std::string(rest.substr(0, colon)),
                         colon == std::string_view::npos ? "" : std::string(rest.substr(colon + 1))};
  const bool one_slash = std::count(reference.model.begin(), reference.model.end(), '/') == 1;
  const bool plain = std::all_of(reference.model.begin(), reference.model.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.' || c == '/';
  });
  if (!one_slash || !plain || !check_file_name(reference.model)) {
    return fail(ErrorCode::kInvalid, text, "hf:OWNER/NAME or hf:OWNER/NAME:FILE expected");
  }
  if (colon != std::string_view::npos) LAMINA_CHECK_OK(check_file_name(reference.file));
  return reference;
}

Result<HubModel> parse_hub_model(std::string_view text) {
  HubModel model;
  try {
    const json all = json::parse(text);
    model.licence = read_licence(all);
    for (const json& sibling : all.at("siblings")) {
      HubFile file = read_sibling(sibling);
      if (check_file_name(file.name)) model.files.push_back(std::move(file));
    }
  } catch (const json::exception& error) {
    return fail(ErrorCode::kCorrupt, "the hub's list of files", "{}", error.what());
  }
  return model;
}

Result<std::vector<HubFile>> choose_files(const HubModel& model, const HubReference& reference) {
  if (reference.file == kFolderSet) return choose_folder_set(model, reference.model);
  if (!reference.file.empty()) {
    for (const HubFile& file : model.files) {
      if (file.name == reference.file) return std::vector{file};
    }
    return fail(ErrorCode::kNotFound, reference.model, "has no file {}; it has {}", reference.file,
                listed(model.files));
  }
  std::vector<HubFile> ggufs = with_suffix(model, ".gguf");
  if (ggufs.size() == 1) return ggufs;
  if (ggufs.size() > 1) {
    return fail(ErrorCode::kInvalid, reference.model, "has several .gguf files; name one as hf:{}:FILE, out of {}",
                reference.model, listed(ggufs));
  }
  return choose_folder_set(model, reference.model);
}

Result<Manifest> pull_from_hub(const HubReference& reference, const HubSettings& settings, const fs::path& root) {
  LAMINA_ASSIGN(const Url api, parse_url(settings.endpoint + "/api/models/" + reference.model + "?blobs=true"));
  LAMINA_ASSIGN(const std::string answer, http_get(api, settings.http));
  LAMINA_ASSIGN(const HubModel model, parse_hub_model(answer));
  LAMINA_ASSIGN(const std::vector<HubFile> files, choose_files(model, reference));
  const auto waiting = [] { note("another process is pulling this model; waiting for it"); };
  LAMINA_ASSIGN(const Stage stage, Stage::open(root, reference.model, waiting));
  LAMINA_CHECK_OK(keep_matching_parts(stage, files));

  const fs::path target = model_folder(root, reference.model);
  const Manifest stored = read_manifest(target);
  Manifest manifest{"hf:" + reference.model, model.licence, {}};
  int64_t missing = 0;
  std::vector<HubFile> wanted;
  for (const HubFile& file : files) {
    manifest.files.push_back({file.name, file.bytes, file.sha256});
    if (has_file(target, stored, manifest.files.back())) continue;
    missing += std::max<int64_t>(file.bytes, 0);
    wanted.push_back(file);
  }
  LAMINA_CHECK_OK(check_space(stage.folder(), missing));
  for (size_t i = 0; i < wanted.size(); ++i) {
    std::error_code error;
    if (fs::exists(stage.folder() / wanted[i].name, error)) continue;
    LAMINA_CHECK_OK(fetch(wanted[i], reference, settings, stage));
  }
  for (StoredFile& file : manifest.files) {
    std::error_code error;
    const auto bytes = fs::file_size(stage.folder() / file.name, error);
    if (!error) file.bytes = static_cast<int64_t>(bytes);
  }
  LAMINA_CHECK_OK(stage.publish(manifest));
  return manifest;
}

}  // namespace lamina::app
