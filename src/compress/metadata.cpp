#include "compress/metadata.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "format/checked.h"
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

namespace {

/// A number, text or truth value; null for others.
json plain_value(const format::GgufValue& value) {
  if (const auto text = value.as<std::string_view>()) return format::repaired_utf8(*text);
  if (const auto flag = value.as<bool>()) return *flag;
  if (value.type() == format::GgufType::kFloat32) {
    // The digits of a float32, not those of the double that it becomes.
    const auto number = static_cast<float>(*value.as<double>());
    return std::isfinite(number) ? json(std::stod(fmt::format("{}", number))) : json();
  }
  if (value.type() == format::GgufType::kFloat64) return *value.as<double>();
  if (const auto number = value.as<uint64_t>()) return *number;
  if (const auto number = value.as<int64_t>()) return *number;
  return {};
}

template <typename T>
json list_of(const format::GgufValue& value) {
  const auto items = value.as<std::vector<T>>();
  return items ? json(*items) : json();
}

json list_value(const format::GgufValue& value) {
  if (const auto texts = value.as<std::vector<std::string_view>>()) {
    json list = json::array();
    for (const std::string_view text : *texts) list.push_back(format::repaired_utf8(text));
    return list;
  }
  for (json list : {list_of<bool>(value), list_of<int64_t>(value), list_of<double>(value)}) {
    if (!list.is_null()) return list;
  }
  return {};
}

constexpr std::array<std::string_view, 4> kOwn{"general.architecture", "general.alignment", "general.file_type",
                                               "general.quantization_version"};

}  // namespace

json general_metadata(const format::Gguf& gguf) {
  json all = json::object();
  for (const format::GgufEntry& entry : gguf.metadata()) {
    if (!entry.key.starts_with("general.") || std::ranges::find(kOwn, entry.key) != kOwn.end()) continue;
    json value = entry.value.is_array() ? list_value(entry.value) : plain_value(entry.value);
    if (!value.is_null()) all[std::string(entry.key)] = std::move(value);
  }
  return all;
}

Status set_general(format::GgufWriter& writer, const json& config) {
  const json kept = config.value(kGeneralKey, json());
  if (!kept.is_object()) return {};
  std::set<std::string> real_keys;
  json known = json::object();
  for (const auto& [key, value] : kept.items()) {
    if (!key.starts_with("general.") || std::ranges::find(kOwn, key) != kOwn.end()) continue;
    if (value.is_number_float()) real_keys.insert(key);
    known[key] = value;
  }
  return set_config(writer, known, real_keys);
}

std::vector<std::string> label_names(const json& config, int64_t count) {
  const json names = config.value("id2label", json());
  std::vector<std::string> labels;
  for (int64_t i = 0; i < count; ++i) {
    const json name = names.is_object() ? names.value(std::to_string(i), json()) : json();
    labels.push_back(name.is_string() ? name.get<std::string>() : fmt::format("LABEL_{}", i));
  }
  return labels;
}

void set_labels(json& config, const std::vector<std::string>& names) {
  for (size_t i = 0; i < names.size(); ++i) {
    config["id2label"][std::to_string(i)] = names[i];
    config["label2id"][names[i]] = i;
  }
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
