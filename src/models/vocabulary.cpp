#include "models/vocabulary.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <utility>

#include "format/json.h"
#include "models/model.h"

namespace lamina::models {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;
using nlohmann::json;

namespace {

constexpr uintmax_t kMaxTextBytes = uintmax_t{256} << 20;
constexpr const char* kTokenizerFile = "tokenizer.json";
constexpr const char* kTokenizerConfig = "tokenizer_config.json";
constexpr const char* kTemplateFile = "chat_template.jinja";

/// Reads the optional key into `out` when the file has it.
template <typename T, typename Out>
Status read(const format::Gguf& gguf, std::string_view key, Out& out) {
  if (gguf.find(key) == nullptr) return {};
  LAMINA_ASSIGN(out, gguf.get<T>(key));
  return {};
}

Status read_types(const format::Gguf& gguf, text::TokenizerData& data) {
  constexpr const char* kKey = "tokenizer.ggml.token_type";
  if (gguf.find(kKey) == nullptr) return {};
  LAMINA_ASSIGN(const std::vector<int32_t> types, gguf.get<std::vector<int32_t>>(kKey));
  data.types.reserve(types.size());
  for (size_t i = 0; i < types.size(); ++i) {
    if (types[i] < 1 || types[i] > 6)
      return fail(ErrorCode::kCorrupt, gguf.place(), "{}[{}] is {}; 1 to 6 expected", kKey, i, types[i]);
    data.types.push_back(static_cast<text::TokenType>(types[i] - 1));
  }
  return {};
}

Status read_ids(const format::Gguf& gguf, text::TokenizerData& data) {
  const std::pair<const char*, int32_t*> ids[] = {{"bos", &data.bos},
                                                  {"eos", &data.eos},
                                                  {"eot", &data.eot},
                                                  {"eom", &data.eom},
                                                  {"unknown", &data.unknown},
                                                  {"seperator", &data.separator},
                                                  {"separator", &data.separator},
                                                  {"padding", &data.padding},
                                                  {"cls", &data.cls},
                                                  {"mask", &data.mask}};
  for (const auto& [name, id] : ids)
    LAMINA_CHECK_OK(read<int32_t>(gguf, fmt::format("tokenizer.ggml.{}_token_id", name), *id));
  return {};
}

}  // namespace

Result<text::TokenizerData> read_tokenizer_data(const format::Gguf& gguf) {
  text::TokenizerData data;
  LAMINA_ASSIGN(data.model, gguf.get<std::string>("tokenizer.ggml.model"));
  LAMINA_ASSIGN(data.tokens, gguf.get<std::vector<std::string>>("tokenizer.ggml.tokens"));
  LAMINA_CHECK_OK(read<std::string>(gguf, "tokenizer.ggml.pre", data.pre));
  LAMINA_CHECK_OK(read<std::vector<float>>(gguf, "tokenizer.ggml.scores", data.scores));
  LAMINA_CHECK_OK(read<std::vector<std::string>>(gguf, "tokenizer.ggml.merges", data.merges));
  LAMINA_CHECK_OK(read<std::vector<uint8_t>>(gguf, "tokenizer.ggml.precompiled_charsmap", data.precompiled_charsmap));
  LAMINA_CHECK_OK(read<bool>(gguf, "tokenizer.ggml.add_bos_token", data.add_bos));
  LAMINA_CHECK_OK(read<bool>(gguf, "tokenizer.ggml.add_eos_token", data.add_eos));
  LAMINA_CHECK_OK(read<bool>(gguf, "tokenizer.ggml.add_sep_token", data.add_sep));
  LAMINA_CHECK_OK(read<bool>(gguf, "tokenizer.ggml.add_space_prefix", data.add_space_prefix));
  LAMINA_CHECK_OK(read<bool>(gguf, "tokenizer.ggml.remove_extra_whitespaces", data.remove_extra_whitespaces));
  LAMINA_CHECK_OK(read_types(gguf, data));
  LAMINA_CHECK_OK(read_ids(gguf, data));
  return data;
}

namespace {

/// Text files of a folder, whether it has weights or not.
class Folder {
 public:
  explicit Folder(std::filesystem::path path) : path_(std::move(path)) {}
  Result<std::optional<std::string>> read_text(const char* name) const {
    const std::filesystem::path file = path_ / name;
    std::error_code code;
    const uintmax_t bytes = std::filesystem::file_size(file, code);
    if (code) return std::nullopt;
    if (bytes > kMaxTextBytes)
      return fail(ErrorCode::kLimit, file.string(), "has {} bytes; at most {} are read", bytes, kMaxTextBytes);
    std::ifstream stream(file, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(stream), {});
  }
  std::string place() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

/// The same door for the text files of a model with weights.
struct Members {
  const format::ModelFiles& files;
  Result<std::optional<std::string>> read_text(const char* name) const { return files.read_text(name); }
  std::string place() const { return files.path().string(); }
};

template <typename Source>
Result<text::Tokenizer> tokenizer_from_json(const Source& source) {
  LAMINA_ASSIGN(const std::optional<std::string> tokenizer, source.read_text(kTokenizerFile));
  if (!tokenizer) return fail(ErrorCode::kNotFound, source.place(), "has no {}", kTokenizerFile);
  LAMINA_ASSIGN(const std::optional<std::string> config, source.read_text(kTokenizerConfig));
  return text::Tokenizer::from_json(*tokenizer, config ? *config : std::string_view());
}

/// chat_template.jinja, else "chat_template" in tokenizer_config.json: a text, or a list of named ones.
template <typename Source>
Result<std::optional<std::string>> template_from_files(const Source& source) {
  LAMINA_ASSIGN(std::optional<std::string> own, source.read_text(kTemplateFile));
  if (own) return own;
  LAMINA_ASSIGN(const std::optional<std::string> text, source.read_text(kTokenizerConfig));
  if (!text) return std::nullopt;
  LAMINA_ASSIGN(const json config, format::parse_json(*text, source.place() + "/" + kTokenizerConfig));
  const json entry = config.is_object() ? config.value("chat_template", json()) : json();
  if (entry.is_string()) return entry.get<std::string>();
  if (!entry.is_array()) return std::nullopt;
  for (const json& named : entry) {
    if (named.is_object() && named.value("name", "") == "default" && named.contains("template"))
      return named.value("template", "");
  }
  return std::nullopt;
}

bool has_weights(const std::filesystem::path& path) {
  return !std::filesystem::is_directory(path) || !std::filesystem::exists(path / kTokenizerFile);
}

}  // namespace

Result<text::Tokenizer> load_tokenizer(const format::ModelFiles& files) {
  if (files.gguf() == nullptr) return tokenizer_from_json(Members{files});
  LAMINA_ASSIGN(text::TokenizerData data, read_tokenizer_data(*files.gguf()));
  auto tokenizer = text::Tokenizer::from_data(std::move(data));
  if (!tokenizer) return fail(tokenizer.error().code, files.path().string(), "{}", tokenizer.error().text());
  return tokenizer;
}

Result<text::Tokenizer> load_tokenizer(const std::filesystem::path& path) {
  if (!has_weights(path)) return tokenizer_from_json(Folder(path));
  LAMINA_ASSIGN(const format::ModelFiles files, format::ModelFiles::open(path));
  return load_tokenizer(files);
}

Status check_vocabulary(const text::Tokenizer& tokenizer, const Model& model) {
  if (tokenizer.vocabulary() <= model.vocabulary()) return {};
  return fail(ErrorCode::kCorrupt, model.files().path().string(),
              "the tokenizer has {} tokens, the embedding only {} rows", tokenizer.vocabulary(), model.vocabulary());
}

Status check_same_tokens(const text::Tokenizer& tokenizer, const text::Tokenizer& draft) {
  const auto spelled = [](const text::Tokenizer& one, int32_t id) {
    const bool used = id < one.vocabulary() && one.type(id) != text::TokenType::kUnused;
    return used ? one.token(id) : std::string();
  };
  for (int32_t id = 0; id < std::max(tokenizer.vocabulary(), draft.vocabulary()); ++id) {
    const std::string ours = spelled(tokenizer, id);
    const std::string theirs = spelled(draft, id);
    if (ours == theirs) continue;
    return fail(ErrorCode::kUnsupported, "draft",
                "token {} is \"{}\" in the draft's vocabulary and \"{}\" in the "
                "model's; a draft with the same tokens expected",
                id, theirs, ours);
  }
  return {};
}

Result<std::optional<std::string>> chat_template_source(const format::ModelFiles& files) {
  if (files.gguf() == nullptr) return template_from_files(Members{files});
  constexpr const char* kKey = "tokenizer.chat_template";
  if (files.gguf()->find(kKey) == nullptr) return std::nullopt;
  LAMINA_ASSIGN(std::string source, files.gguf()->get<std::string>(kKey));
  return source;
}

Result<std::optional<std::string>> chat_template_source(const std::filesystem::path& path) {
  if (!has_weights(path)) return template_from_files(Folder(path));
  LAMINA_ASSIGN(const format::ModelFiles files, format::ModelFiles::open(path));
  return chat_template_source(files);
}

}  // namespace lamina::models
