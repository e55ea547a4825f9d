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

constexpr std::array<std::pair<std::string_view, Pooling>, 6> kModes{{{"cls", Pooling::kCls},
                                                                      {"mean", Pooling::kMean},
                                                                      {"max", Pooling::kMax},
                                                                      {"mean_sqrt_len_tokens", Pooling::kMeanSqrt},
                                                                      {"weightedmean", Pooling::kWeightedMean},
                                                                      {"lasttoken", Pooling::kLast}}};

/// The modes that are on: under "pooling_mode", or as older files have it, a flag for each.
Result<std::vector<std::string>> read_modes(const json& config, const std::filesystem::path& path) {
  constexpr std::array<std::pair<const char*, const char*>, 6> kFlags{
      {{"pooling_mode_cls_token", "cls"},
       {"pooling_mode_mean_tokens", "mean"},
       {"pooling_mode_max_tokens", "max"},
       {"pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens"},
       {"pooling_mode_weightedmean_tokens", "weightedmean"},
       {"pooling_mode_lasttoken", "lasttoken"}}};
  std::vector<std::string> modes;
  if (const auto named = config.find("pooling_mode"); named != config.end()) {
    for (const json& mode : named->is_array() ? *named : json::array({*named})) {
      if (!mode.is_string()) return fail(ErrorCode::kCorrupt, path.string(), "\"pooling_mode\" is {}", named->dump());
      modes.push_back(mode.get<std::string>());
    }
    return modes;
  }
  for (const auto& [flag, mode] : kFlags) {
    LAMINA_ASSIGN(const bool on, field<bool>(config, path, flag, false));
    if (on) modes.emplace_back(mode);
  }
  if (modes.empty()) modes.emplace_back("mean");
  return modes;
}

core::Status read_pooling(const std::filesystem::path& path, Settings& settings) {
  LAMINA_ASSIGN(const json config, read_object(path));
  LAMINA_ASSIGN(const std::vector<std::string> modes, read_modes(config, path));
  if (modes.size() != 1)
    return fail(ErrorCode::kUnsupported, path.string(), "{} pooling modes are on; one expected", modes.size());
  const auto known = std::ranges::find(kModes, modes[0], &std::pair<std::string_view, Pooling>::first);
  if (known == kModes.end())
    return fail(ErrorCode::kUnsupported, path.string(), "pooling mode \"{}\" is unknown", modes[0]);
  settings.pooling = known->second;
  LAMINA_ASSIGN(settings.pools_prompt, field<bool>(config, path, "include_prompt", true));
  return {};
}

/// A module after the pooling works on the sentence's vector; some models apply one to each row instead.
core::Status check_input(const json& config, const std::filesystem::path& path) {
  for (const char* key : {"module_input_name", "module_output_name"}) {
    LAMINA_ASSIGN(const std::string name, field<std::string>(config, path, key, "sentence_embedding"));
    if (name != "sentence_embedding") {
      return fail(ErrorCode::kUnsupported, path.string(), "{} \"{}\"; sentence_embedding expected", key, name);
    }
  }
  return {};
}

/// The activation that a class of PyTorch stands for.
Result<kernels::Activation> find_class(std::string name, const std::filesystem::path& path) {
  using kernels::Activation;
  constexpr std::array<std::pair<std::string_view, Activation>, 6> kClasses{{{"Identity", Activation::kIdentity},
                                                                             {"Tanh", Activation::kTanh},
                                                                             {"ReLU", Activation::kRelu},
                                                                             {"GELU", Activation::kGeluErf},
                                                                             {"SiLU", Activation::kSilu},
                                                                             {"Sigmoid", Activation::kSigmoid}}};
  name.erase(0, name.rfind('.') + 1);
  std::string names;
  for (const auto& [known, activation] : kClasses) {
    if (known == name) return activation;
    names += (names.empty() ? "" : ", ") + std::string(known);
  }
  return fail(ErrorCode::kUnsupported, path.string(), "activation \"{}\" is unknown; one of {} expected", name, names);
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
  LAMINA_ASSIGN(const std::string activation,
                field<std::string>(config, path, "activation_function", "torch.nn.modules.activation.Tanh"));
  LAMINA_ASSIGN(dense.activation, find_class(activation, path));
  LAMINA_CHECK_OK(check_input(config, path));
  LAMINA_ASSIGN(const bool residual, field<bool>(config, path, "use_residual", false));
  if (residual || settings.normalize) {
    return fail(ErrorCode::kUnsupported, path.string(), "a dense layer {}; one that is neither expected",
                residual ? "with a residual" : "after a normalization");
  }
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
      LAMINA_ASSIGN(const json config, read_object(folder / path / "config.json"));
      LAMINA_CHECK_OK(check_input(config, folder / path / "config.json"));
      settings.normalize = true;
    } else if (type != "Transformer" && type != "Dropout") {
      return fail(ErrorCode::kUnsupported, (folder / "modules.json").string(),
                  "module \"{}\" is unknown; Transformer, Pooling, Dense, Dropout or Normalize expected", type);
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
  LAMINA_ASSIGN(settings.own_dimensions, field<int64_t>(config, path, "truncate_dim", 0));
  if (settings.own_dimensions < 0) {
    return fail(ErrorCode::kCorrupt, path.string(), "\"truncate_dim\" is {}", settings.own_dimensions);
  }
  if (settings.own_dimensions > 0) settings.dimensions.push_back(settings.own_dimensions);
  return {};
}

/// The limit is the smallest of the model's positions and what these files say.
core::Status read_tokenizer_files(const std::filesystem::path& folder, Settings& settings) {
  const std::filesystem::path own = folder / "sentence_bert_config.json";
  LAMINA_ASSIGN(const json tokenizer, read_object(folder / "tokenizer_config.json"));
  if (const auto inputs = tokenizer.find("model_input_names"); inputs != tokenizer.end() && inputs->is_array())
    settings.types = std::ranges::find(*inputs, json("token_type_ids")) != inputs->end();
  LAMINA_ASSIGN(const json sentence, read_object(own));
  LAMINA_ASSIGN(settings.lower_case, field<bool>(sentence, own, "do_lower_case", false));
  LAMINA_ASSIGN(int64_t limit, field<int64_t>(sentence, own, "max_seq_length", 0));
  if (limit == 0) {
    // Tokenizers without a limit state a huge number, often not as an integer.
    const auto found = tokenizer.find("model_max_length");
    if (found != tokenizer.end() && found->is_number_integer()) limit = found->get<int64_t>();
  }
  if (limit > 0) settings.limit = std::min(settings.limit, limit);
  return {};
}

core::Status read_gguf_pooling(const models::Model& model, Settings& settings) {
  // The format's numbers: 0 none, 1 mean, 2 CLS, 3 last, 4 rank (a reranker's, which has a head instead).
  constexpr std::array kPoolings{Pooling::kMean, Pooling::kCls, Pooling::kLast};
  constexpr int64_t kRank = 4;
  const json& config = model.files().config();
  const std::string key = config.value("general.architecture", "") + ".pooling_type";
  LAMINA_ASSIGN(const int64_t type, field<int64_t>(config, model.files().path(), key.c_str(), 0));
  if (type < 0 || type > kRank)
    return fail(ErrorCode::kUnsupported, model.files().path().string(), "{} is {}; 0 to {} expected", key, type, kRank);
  if (type >= 1 && type < kRank) settings.pooling = kPoolings[static_cast<size_t>(type - 1)];
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
  LAMINA_CHECK_OK(read_tokenizer_files(folder, settings));
  const json& config = model.files().config();
  LAMINA_ASSIGN(settings.any_dimensions, field<bool>(config, folder / "config.json", "is_matryoshka", false));
  if (const auto listed = config.find("matryoshka_dimensions"); listed != config.end() && listed->is_array()) {
    for (const json& value : *listed) {
      if (value.is_number_integer()) settings.dimensions.push_back(value.get<int64_t>());
    }
  }
  return settings;
}

Result<std::string> find_prompt(const Settings& settings, const std::string& name) {
  const std::string& wanted = name.empty() ? settings.default_prompt : name;
  if (wanted.empty()) return std::string();
  if (const auto found = settings.prompts.find(wanted); found != settings.prompts.end()) return found->second;
  std::string names;
  for (const auto& [known, prompt] : settings.prompts) names += (names.empty() ? "" : ", ") + known;
  return fail(ErrorCode::kInvalid, "prompt", "\"{}\" is unknown; {} expected", wanted, names.empty() ? "none" : names);
}

core::Status check_dimensions(const Settings& settings, int64_t size, int64_t wanted, bool force) {
  if (wanted == 0 || wanted == size) return {};
  if (wanted < 0 || wanted > size) {
    return fail(ErrorCode::kInvalid, "dimensions", "{}; the vectors have {}", wanted, size);
  }
  const bool trained =
      settings.any_dimensions || std::ranges::find(settings.dimensions, wanted) != settings.dimensions.end();
  if (trained || force) return {};
  return fail(ErrorCode::kInvalid, "dimensions",
              "{}; the model does not say that the first {} of {} numbers stand alone, --force cuts anyway", wanted,
              wanted, size);
}

}  // namespace lamina::embed
