#include "compress/metadata.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "models/vocabulary.h"
#include "text/tokenizer_convert.h"

namespace lamina::compress {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;
using nlohmann::json;

namespace {

bool is_whole(const json& value) {
  return value.is_number() && value.get<double>() == std::floor(value.get<double>()) &&
         std::fabs(value.get<double>()) < 2147483648.0;
}

/// Sets one number; whole ones are integers unless `real`.
void set_number(format::GgufWriter& writer, const std::string& key, const json& value, bool real) {
  if (real || !is_whole(value)) {
    writer.set(key, value.get<float>());
  } else if (value.get<double>() < 0) {
    writer.set(key, static_cast<int32_t>(value.get<double>()));
  } else {
    writer.set(key, static_cast<uint32_t>(value.get<double>()));
  }
}

Status set_list(format::GgufWriter& writer, const std::string& key, const json& value, bool real) {
  const auto all = [&](auto test) { return std::ranges::all_of(value, test); };
  if (all([](const json& item) { return item.is_boolean(); })) {
    std::vector<bool> flags;
    for (const json& item : value) flags.push_back(item.get<bool>());
    writer.set(key, flags);
  } else if (!real && all(is_whole)) {
    std::vector<int32_t> numbers;
    for (const json& item : value) numbers.push_back(static_cast<int32_t>(item.get<double>()));
    writer.set(key, numbers);
  } else if (all([](const json& item) { return item.is_number(); })) {
    std::vector<float> numbers;
    for (const json& item : value) numbers.push_back(item.get<float>());
    writer.set(key, numbers);
  } else if (all([](const json& item) { return item.is_string(); })) {
    writer.set(key, value.get<std::vector<std::string>>());
  } else {
    return fail(ErrorCode::kUnsupported, key, "a list of mixed kinds, {}, cannot be written", value.dump());
  }
  return {};
}

struct FileType {
  std::string_view codec;
  uint32_t number;
};

/// general.file_type of files made mostly of one codec.
constexpr std::array kFileTypes{
    FileType{"f32", 0},     FileType{"f16", 1},     FileType{"q4_0", 2},  FileType{"q4_1", 3},
    FileType{"q8_0", 7},    FileType{"q5_0", 8},    FileType{"q5_1", 9},  FileType{"q2_k", 10},
    FileType{"q3_k", 12},   FileType{"q4_k", 15},   FileType{"q5_k", 17}, FileType{"q6_k", 18},
    FileType{"iq4_nl", 25}, FileType{"iq4_xs", 30}, FileType{"bf16", 32}, FileType{"mxfp4", 38},
};

/// The format of most bytes.
std::string main_format(std::span<const OutputTensor> tensors) {
  std::map<std::string, int64_t> bytes;
  for (const OutputTensor& tensor : tensors) bytes[std::string(tensor.shape.format->name)] += tensor.shape.elements();
  const auto most = std::ranges::max_element(bytes, {}, [](const auto& entry) { return entry.second; });
  return most == bytes.end() ? "f32" : most->first;
}

}  // namespace

Status set_config(format::GgufWriter& writer, const json& config, const std::set<std::string>& real_keys) {
  for (const auto& [key, value] : config.items()) {
    const bool real = real_keys.contains(key);
    if (value.is_string()) {
      writer.set(key, value.get<std::string>());
    } else if (value.is_boolean()) {
      writer.set(key, value.get<bool>());
    } else if (value.is_number()) {
      set_number(writer, key, value, real);
    } else if (value.is_array() && !value.empty()) {
      LAMINA_CHECK_OK(set_list(writer, key, value, real));
    }
  }
  return {};
}

void set_tokenizer(format::GgufWriter& writer, const text::TokenizerData& data,
                   const std::optional<std::string>& chat_template) {
  const auto key = [](std::string_view name) { return fmt::format("tokenizer.ggml.{}", name); };
  writer.set(key("model"), data.model);
  if (!data.pre.empty()) writer.set(key("pre"), data.pre);
  writer.set(key("tokens"), data.tokens);
  if (!data.scores.empty()) writer.set(key("scores"), data.scores);
  std::vector<int32_t> types;
  for (const text::TokenType type : data.types) types.push_back(static_cast<int32_t>(type) + 1);
  if (!types.empty()) writer.set(key("token_type"), types);
  if (!data.merges.empty()) writer.set(key("merges"), data.merges);
  const std::pair<const char*, int32_t> ids[] = {
      {"bos", data.bos},         {"eos", data.eos},         {"eot", data.eot},
      {"eom", data.eom},         {"unknown", data.unknown}, {"seperator", data.separator},
      {"padding", data.padding}, {"cls", data.cls},         {"mask", data.mask},
  };
  for (const auto& [name, id] : ids) {
    if (id >= 0) writer.set(key(std::string(name) + "_token_id"), static_cast<uint32_t>(id));
  }
  const std::pair<const char*, std::optional<bool>> flags[] = {
      {"add_bos_token", data.add_bos},
      {"add_eos_token", data.add_eos},
      {"add_sep_token", data.add_sep},
      {"add_space_prefix", data.add_space_prefix},
      {"remove_extra_whitespaces", data.remove_extra_whitespaces},
  };
  for (const auto& [name, flag] : flags) {
    if (flag) writer.set(key(name), *flag);
  }
  if (!data.precompiled_charsmap.empty()) writer.set(key("precompiled_charsmap"), data.precompiled_charsmap);
  if (chat_template) writer.set("tokenizer.chat_template", *chat_template);
}

void set_file_type(format::GgufWriter& writer, std::span<const OutputTensor> tensors) {
  const auto known = std::ranges::find(kFileTypes, main_format(tensors), &FileType::codec);
  if (known != kFileTypes.end()) {
    writer.set("general.file_type", known->number);
  } else {
    writer.erase("general.file_type");
  }
  writer.set("general.quantization_version", uint32_t{2});
}

void finish_config(models::Translation& translation, std::span<const OutputTensor> tensors,
                   const text::TokenizerData& tokenizer) {
  json& config = translation.config;
  for (auto& [key, value] : config.items()) {
    if (!value.is_object() || value.size() != 1 || !value.contains("tensor")) continue;
    value = std::ranges::find(tensors, value["tensor"].get<std::string>(), &OutputTensor::name) != tensors.end();
  }
  const std::pair<const char*, int32_t> ids[] = {
      {"bos_token_id", tokenizer.bos}, {"eos_token_id", tokenizer.eos}, {"pad_token_id", tokenizer.padding}};
  for (const auto& [name, id] : ids) config[name] = id < 0 ? json() : json(id);
  static const std::map<std::string, std::string> kTypes{{"f16", "float16"}, {"bf16", "bfloat16"}};
  const auto type = kTypes.find(main_format(tensors));
  config["torch_dtype"] = type == kTypes.end() ? "float32" : type->second;
}

Result<text::TokenizerData> tokenizer_of_folder(const format::ModelFiles& files, int64_t rows) {
  LAMINA_ASSIGN(const std::optional<std::string> tokenizer, files.read_text("tokenizer.json"));
  if (!tokenizer) return fail(ErrorCode::kNotFound, files.path().string(), "has no tokenizer.json");
  LAMINA_ASSIGN(const std::optional<std::string> config, files.read_text("tokenizer_config.json"));
  LAMINA_ASSIGN(text::TokenizerData data,
                text::data_from_json(*tokenizer, config ? *config : std::string_view(), rows));
  const std::pair<const char*, int32_t*> ids[] = {
      {"bos_token_id", &data.bos}, {"eos_token_id", &data.eos}, {"pad_token_id", &data.padding}};
  for (const auto& [name, id] : ids) {
    const json value = files.config().value(name, json());
    const bool fits = value.is_number_integer() && value.get<int64_t>() >= 0 && value.get<int64_t>() < rows;
    if (*id < 0 && fits) *id = value.get<int32_t>();
  }
  return data;
}

}  // namespace lamina::compress
