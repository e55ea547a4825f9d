#include "lamina/catalog.h"

#include <algorithm>
#include <cassert>
#include <nlohmann/json.hpp>

#include "lamina/store.h"

namespace lamina::app {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;
using nlohmann::json;

namespace {

void read_file(const json& from, CatalogFile& file) {
  from.at("name").get_to(file.name);
  from.at("bytes").get_to(file.bytes);
  from.at("sha256").get_to(file.sha256);
  for (const json& part : from.value("parts", json::array())) {
    file.parts.push_back({part.at("package"), part.at("version"), part.at("member")});
  }
}

void read_model(const json& from, CatalogModel& model) {
  from.at("name").get_to(model.name);
  from.at("about").get_to(model.about);
  from.at("licence").get_to(model.licence);
  model.note = from.value("note", "");
  for (const json& file : from.at("files")) read_file(file, model.files.emplace_back());
  for (const json& file : from.value("sources", json::array())) read_file(file, model.sources.emplace_back());
  model.convert = from.value("convert", std::vector<std::string>{});
}

Status check_file(const CatalogModel& model, const CatalogFile& file, bool needs_parts) {
  LAMINA_CHECK_OK(check_file_name(file.name));
  const bool hex = file.sha256.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (file.bytes < 1 || (needs_parts && file.parts.empty()) || file.sha256.size() != 64 || !hex) {
    return fail(ErrorCode::kCorrupt, model.name + "/" + file.name, "needs bytes, parts and a SHA-256 in small letters");
  }
  return {};
}

Status check_model(const CatalogModel& model) {
  LAMINA_CHECK_OK(check_file_name(model.name));
  if (model.files.empty()) return fail(ErrorCode::kCorrupt, model.name, "the catalogue lists no file for it");
  for (const CatalogFile& file : model.files) {
    LAMINA_CHECK_OK(check_file(model, file, model.convert.empty()));
  }
  for (const CatalogFile& file : model.sources) {
    LAMINA_CHECK_OK(check_file(model, file, true));
  }
  const std::vector<ConverterFile> known = converter_files();
  const auto named = [&](const ConverterFile& file) { return file.name == model.convert.front(); };
  if (!model.convert.empty() && std::none_of(known.begin(), known.end(), named)) {
    return fail(ErrorCode::kCorrupt, model.name, "no converter is named {}", model.convert.front());
  }
  return {};
}

}  // namespace

int64_t CatalogModel::bytes() const {
  int64_t sum = 0;
  for (const CatalogFile& file : files) sum += file.bytes;
  return sum;
}

int64_t CatalogModel::bytes_on_disk() const {
  // Archives are about as large as what comes out of them.
  int64_t sum = bytes();
  for (const CatalogFile& file : sources) sum += 2 * file.bytes;
  for (const CatalogFile& file : files) sum += file.parts.empty() ? 0 : file.bytes;
  return sum;
}

Result<std::vector<CatalogModel>> parse_catalog(std::string_view text) {
  std::vector<CatalogModel> models;
  try {
    const json all = json::parse(text);
    for (const json& entry : all.at("models")) {
      CatalogModel model;
      read_model(entry, model);
      const auto same = [&](const CatalogModel& other) { return other.name == model.name; };
      if (std::any_of(models.begin(), models.end(), same)) {
        return fail(ErrorCode::kCorrupt, "catalogue", "{} is listed twice", model.name);
      }
      LAMINA_CHECK_OK(check_model(model));
      models.push_back(std::move(model));
    }
  } catch (const json::exception& error) {
    return fail(ErrorCode::kCorrupt, "catalogue", "{}", error.what());
  }
  return models;
}

const std::vector<CatalogModel>& catalog() {
  static const std::vector<CatalogModel> models = [] {
    auto parsed = parse_catalog(catalog_text());
    assert(parsed.has_value());
    return parsed ? std::move(*parsed) : std::vector<CatalogModel>{};
  }();
  return models;
}

const CatalogModel* find_in_catalog(std::string_view name) {
  const auto& models = catalog();
  const auto found = std::find_if(models.begin(), models.end(), [&](const auto& model) { return model.name == name; });
  return found == models.end() ? nullptr : &*found;
}

}  // namespace lamina::app
