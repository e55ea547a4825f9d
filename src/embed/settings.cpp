#include "embed/settings.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>

#include "codec/codec.h"
#include "format/json.h"
#include "format/safetensors.h"

namespace lamina::embed {

using core::ErrorCode;
using core::fail;
using core::Result;
using nlohmann::json;

namespace {

constexpr int64_t kMaxDense = 1 << 16;

/// The object in a JSON file, or an empty one when there is no such file.
Result<json> read_object(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return json::object();
  const std::string text(std::istreambuf_iterator<char>(file), {});
  LAMINA_ASSIGN(json value, format::parse_json(text, path.string()));
  return value;
}

/// A member of an object, or the fallback when it is absent; another type is an error.
template <typename T>
Result<T> field(const json& object, const std::filesystem::path& path, const char* name, T fallback) {
  const auto found = object.is_object() ? object.find(name) : object.end();
  if (!object.is_object() || found == object.end() || found->is_null()) return fallback;
  const bool fits = std::is_same_v<T, bool>          ? found->is_boolean()
                    : std::is_same_v<T, std::string> ? found->is_string()
                                                     : found->is_number_integer();
  if (!fits) return fail(ErrorCode::kCorrupt, path.string(), "\"{}\" is {}", name, found->dump());
  return found->get<T>();
}

core::Status read_pooling(const std::filesystem::path& path, Settings& settings) {
  constexpr std::array<std::pair<const char*, Pooling>, 6> kModes{
      {{"pooling_mode_cls_token", Pooling::kCls},
       {"pooling_mode_mean_tokens", Pooling::kMean},
       {"pooling_mode_max_tokens", Pooling::kMax},
       {"pooling_mode_mean_sqrt_len_tokens", Pooling::kMeanSqrt},
       {"pooling_mode_weightedmean_tokens", Pooling::kWeightedMean},
       {"pooling_mode_lasttoken", Pooling::kLast}}};
  LAMINA_ASSIGN(const json config, read_object(path));
  int chosen = 0;
  for (const auto& [name, pooling] : kModes) {
    LAMINA_ASSIGN(const bool on, field<bool>(config, path, name, false));
    if (!on) continue;
    ++chosen;
    settings.pooling = pooling;
  }
  if (chosen != 1) return fail(ErrorCode::kUnsupported, path.string(), "{} pooling modes are on; one expected", chosen);
  LAMINA_ASSIGN(settings.pools_prompt, field<bool>(config, path, "include_prompt", true));
  return {};
}

Result<std::vector<float>> read_tensor(const format::Safetensors& file, const std::string& place, const char* name,
                                       int64_t count) {
  const core::TensorView* tensor = file.find_tensor(name);
  const codec::Codec* codec = tensor == nullptr ? nullptr : codec::codec_of(*tensor->format);
  if (codec == nullptr || tensor->elements() != count) {
    return fail(ErrorCode::kCorrupt, place, "no tensor {} of {} numbers", name, count);
  }
  std::vector<float> values(static_cast<size_t>(count));
  codec->decode(tensor->data, count, values.data());
  return values;
}

core::Status read_dense(const std::filesystem::path& folder, Settings& settings) {
  const std::filesystem::path path = folder / "config.json";
  LAMINA_ASSIGN(const json config, read_object(path));
  Dense dense;
  LAMINA_ASSIGN(dense.inputs, field<int64_t>(config, path, "in_features", 0));
  LAMINA_ASSIGN(dense.outputs, field<int64_t>(config, path, "out_features", 0));
  if (std::min(dense.inputs, dense.outputs) < 1 || std::max(dense.inputs, dense.outputs) > kMaxDense) {
    return fail(ErrorCode::kCorrupt, path.string(), "{} to {} features; 1 to {} expected", dense.inputs, dense.outputs,
                kMaxDense);
  }
  LAMINA_ASSIGN(const bool has_bias, field<bool>(config, path, "bias", true));
  LAMINA_ASSIGN(std::string activation,
                field<std::string>(config, path, "activation_function", "torch.nn.modules.activation.Tanh"));
  activation.erase(0, activation.rfind('.') + 1);
  if (activation != "Tanh" && activation != "Identity") {
    return fail(ErrorCode::kUnsupported, path.string(), "activation \"{}\" is unknown; Tanh or Identity expected",
                activation);
  }
  dense.activation = activation == "Tanh" ? kernels::Activation::kTanh : kernels::Activation::kIdentity;
  const std::filesystem::path weights = folder / "model.safetensors";
  LAMINA_ASSIGN(const format::Safetensors file, format::Safetensors::open(weights));
  LAMINA_ASSIGN(dense.weight, read_tensor(file, weights.string(), "linear.weight", dense.inputs * dense.outputs));
  if (has_bias) {
    LAMINA_ASSIGN(dense.bias, read_tensor(file, weights.string(), "linear.bias", dense.outputs));
  }
  settings.dense.push_back(std::move(dense));
  return {};
}

/// modules.json lists what follows the transformer, each in a folder of its own.
core::Status read_modules(const std::filesystem::path& folder, const json& modules, Settings& settings) {
  settings.normalize = false;
  for (const json& module : modules) {
    LAMINA_ASSIGN(std::string type, field<std::string>(module, folder / "modules.json", "type", ""));
    LAMINA_ASSIGN(const std::string path, field<std::string>(module, folder / "modules.json", "path", ""));
    type.erase(0, type.rfind('.') + 1);
    if (path.find_first_of("/\\") != std::string::npos || path == "..") {
      return fail(ErrorCode::kCorrupt, (folder / "modules.json").string(), "path \"{}\"; the name of a folder expected",
                  path);
    }
    if (type == "Pooling") {
      LAMINA_CHECK_OK(read_pooling(folder / path / "config.json", settings));
    } else if (type == "Dense") {
      LAMINA_CHECK_OK(read_dense(folder / path, settings));
    } else if (type == "Normalize") {
      settings.normalize = true;
    } else if (type != "Transformer") {
      return fail(ErrorCode::kUnsupported, (folder / "modules.json").string(),
                  "module \"{}\" is unknown; Transformer, Pooling, Dense or Normalize expected", type);
    }
  }
  return {};
}

core::Status read_prompts(const std::filesystem::path& path, Settings& settings) {
  LAMINA_ASSIGN(const json config, read_object(path));
  if (const auto prompts = config.find("prompts"); prompts != config.end() && prompts->is_object()) {
    for (const auto& [name, prompt] : prompts->items()) {
      if (!prompt.is_string()) return fail(ErrorCode::kCorrupt, path.string(), "prompt \"{}\" is no text", name);
      settings.prompts[name] = prompt.get<std::string>();
    }
  }
  LAMINA_ASSIGN(settings.default_prompt, field<std::string>(config, path, "default_prompt_name", ""));
  LAMINA_ASSIGN(const int64_t cut, field<int64_t>(config, path, "truncate_dim", 0));
  if (cut > 0) settings.dimensions.push_back(cut);
  return {};
}

/// The smallest of the model's positions and what the files of its tokenizer say.
core::Status read_limit(const std::filesystem::path& folder, Settings& settings) {
  const std::filesystem::path own = folder / "sentence_bert_config.json";
  LAMINA_ASSIGN(const json sentence, read_object(own));
  LAMINA_ASSIGN(int64_t limit, field<int64_t>(sentence, own, "max_seq_length", 0));
  if (limit == 0) {
    LAMINA_ASSIGN(const json tokenizer, read_object(folder / "tokenizer_config.json"));
    // Tokenizers without a limit state a huge number, often not as an integer.
    const auto found = tokenizer.find("model_max_length");
    if (found != tokenizer.end() && found->is_number_integer()) limit = found->get<int64_t>();
  }
  if (limit > 0) settings.limit = std::min(settings.limit, limit);
  return {};
}

core::Status read_gguf_pooling(const models::Model& model, Settings& settings) {
  constexpr std::array kPoolings{Pooling::kMean, Pooling::kCls, Pooling::kLast};
  const json& config = model.files().config();
  const std::string key = config.value("general.architecture", "") + ".pooling_type";
  LAMINA_ASSIGN(const int64_t type, field<int64_t>(config, model.files().path(), key.c_str(), 0));
  if (type >= 1 && type <= std::ssize(kPoolings)) settings.pooling = kPoolings[static_cast<size_t>(type - 1)];
  return {};
}

}  // namespace

Result<Settings> read_settings(const models::Model& model) {
  Settings settings;
  settings.limit = model.context();
  settings.pooling = model.reads_ahead() ? Pooling::kMean : Pooling::kLast;
  if (model.files().gguf() != nullptr) {
    LAMINA_CHECK_OK(read_gguf_pooling(model, settings));
    return settings;
  }
  const std::filesystem::path& folder = model.files().path();
  LAMINA_ASSIGN(const json modules, read_object(folder / "modules.json"));
  if (modules.is_array()) LAMINA_CHECK_OK(read_modules(folder, modules, settings));
  LAMINA_CHECK_OK(read_prompts(folder / "config_sentence_transformers.json", settings));
  LAMINA_CHECK_OK(read_limit(folder, settings));
  const json& config = model.files().config();
  LAMINA_ASSIGN(settings.any_dimensions, field<bool>(config, folder / "config.json", "is_matryoshka", false));
  if (const auto listed = config.find("matryoshka_dimensions"); listed != config.end() && listed->is_array()) {
    for (const json& value : *listed) {
      if (value.is_number_integer()) settings.dimensions.push_back(value.get<int64_t>());
    }
  }
  return settings;
}

}  // namespace lamina::embed
