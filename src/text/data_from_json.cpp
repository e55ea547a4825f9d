#include <algorithm>
#include <array>
#include <utility>

#include "text/base64.h"
#include "text/json_fields.h"
#include "text/pre_table.h"
#include "text/pre_tokenizers.h"
#include "text/tokenizer_convert.h"
#include "text/tokenizer_probe.h"

namespace lamina::text {
namespace {

constexpr std::string_view kMetaspace = "\u2581";

template <typename... Args>
std::unexpected<core::Error> unsupported(std::string_view place, fmt::format_string<Args...> format, Args&&... args) {
  return core::fail(core::ErrorCode::kUnsupported, place, format, std::forward<Args>(args)...);
}

/// A component, or the members of a sequence of them.
std::vector<const json*> steps_of(const json& component, const char* list) {
  std::vector<const json*> steps;
  if (component.is_null()) return steps;
  if (member(component, "type") != "Sequence") return {&component};
  for (const json& step : member(component, list)) {
    for (const json* inner : steps_of(step, list)) steps.push_back(inner);
  }
  return steps;
}

const json* find_step(const json& component, const char* list, std::string_view type) {
  for (const json* step : steps_of(component, list)) {
    if (member(*step, "type") == type) return step;
  }
  return nullptr;
}

/// All tokens of tokenizer.json by id, with their types.
core::Result<TokenizerData> read_tokens(const json& root, const Tokenizer& tokenizer, int64_t rows) {
  TokenizerData data;
  if (tokenizer.vocabulary() > rows) {
    return core::fail(core::ErrorCode::kCorrupt, "tokenizer.json", "has {} tokens, the embedding only {} rows",
                      tokenizer.vocabulary(), rows);
  }
  for (int32_t id = 0; id < rows; ++id) {
    const bool known = id < tokenizer.vocabulary() && tokenizer.type(id) != TokenType::kUnused;
    data.tokens.push_back(known ? tokenizer.token(id) : fmt::format("[PAD{}]", id));
    data.types.push_back(known ? tokenizer.type(id) : TokenType::kUnused);
  }
  const json& model = member(root, "model");
  if (const json& unknown = member(model, "unk_id"); unknown.is_number_integer()) data.unknown = unknown.get<int32_t>();
  data.bos = tokenizer.bos();
  data.eos = tokenizer.eos();
  data.eot = tokenizer.eot();
  data.unknown = tokenizer.unknown();
  data.separator = tokenizer.separator();
  data.padding = tokenizer.padding();
  data.cls = tokenizer.cls();
  data.mask = tokenizer.mask();
  return data;
}

/// The tokens that are put before and after a text, which must be one each at most.
core::Status read_frame(const Tokenizer& tokenizer, TokenizerData& data) {
  LAMINA_ASSIGN(const std::vector<int32_t> framed, tokenizer.encode("a", {.add_special = true}));
  LAMINA_ASSIGN(const std::vector<int32_t> plain, tokenizer.encode("a", {.add_special = false}));
  const auto found = std::ranges::search(framed, plain);
  const auto before = found.begin() - framed.begin();
  const auto after = framed.end() - found.end();
  if (before > 1 || after > 1 || (plain.empty() && !framed.empty())) {
    return unsupported("post_processor", "puts {} tokens before and {} after a text; one each at most can be said",
                       before, after);
  }
  data.add_bos = before == 1;
  data.add_eos = after == 1;
  const bool word_piece = data.model == "bert";
  int32_t& first = word_piece ? data.cls : data.bos;
  int32_t& last = word_piece ? data.separator : data.eos;
  if (before == 1) first = framed.front();
  if (after == 1) last = framed.back();
  if (word_piece && data.bos < 0) data.bos = data.cls;
  if (word_piece && data.eos < 0) data.eos = data.separator;
  return {};
}

core::Status read_merges(const json& model, TokenizerData& data) {
  for (const json& merge : member(model, "merges")) {
    data.merges.push_back(merge.is_string() ? merge.get<std::string>()
                                            : merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  }
  return {};
}

// Byte-level BPE ---------------------------------------------------------------------------------------------------

/// The patterns that cut text into words, in order.
core::Result<std::vector<std::string>> read_patterns(const json& pre) {
  std::vector<std::string> patterns;
  for (const json* step : steps_of(pre, "pretokenizers")) {
    const json& type = member(*step, "type");
    if (type == "ByteLevel") {
      LAMINA_ASSIGN(const bool prefix, bool_field(*step, "add_prefix_space", true, "pre_tokenizer"));
      LAMINA_ASSIGN(const bool regex, bool_field(*step, "use_regex", true, "pre_tokenizer"));
      if (prefix) return unsupported("pre_tokenizer", "add_prefix_space cannot be said of byte-level BPE in GGUF");
      if (regex) patterns.emplace_back(kGpt2Pattern);
    } else if (type == "Digits") {
      LAMINA_ASSIGN(const bool single, bool_field(*step, "individual_digits", false, "pre_tokenizer"));
      patterns.emplace_back(single ? R"(\p{N})" : R"(\p{N}+)");
    } else if (type == "Split" && member(*step, "behavior") == "Isolated" && member(*step, "invert") != true &&
               member(member(*step, "pattern"), "Regex").is_string()) {
      patterns.push_back((*step)["pattern"]["Regex"].get<std::string>());
    } else {
      return unsupported("pre_tokenizer", "a step of type {} cannot be said in GGUF", type.dump());
    }
  }
  return patterns;
}

core::Status fill_byte_level(const json& root, TokenizerData& data) {
  const json& model = member(root, "model");
  LAMINA_ASSIGN(const std::vector<std::string> patterns, read_patterns(member(root, "pre_tokenizer")));
  LAMINA_ASSIGN(const bool ignore_merges, bool_field(model, "ignore_merges", false, "model"));
  const auto normalizers = steps_of(member(root, "normalizer"), "normalizers");
  const bool nfc = normalizers.size() == 1 && member(*normalizers[0], "type") == "NFC";
  if (!normalizers.empty() && !nfc) {
    return unsupported("normalizer", "{} cannot be said of byte-level BPE in GGUF; NFC or none expected",
                       member(*normalizers[0], "type").dump());
  }
  const auto pre = find_pre(patterns, nfc, ignore_merges);
  if (!pre) {
    return unsupported("pre_tokenizer",
                       "the pattern {} (NFC: {}, ignore_merges: {}) is none that tokenizer.ggml.pre has a name for",
                       json(patterns).dump(), nfc, ignore_merges);
  }
  data.pre = pre->name;
  return read_merges(model, data);
}

// SentencePiece BPE ------------------------------------------------------------------------------------------------

/// Scores in the order of the merges: the earlier a token is first made, the higher.
void score_by_merges(TokenizerData& data) {
  std::vector<std::pair<std::string_view, size_t>> ids;
  for (size_t id = 0; id < data.tokens.size(); ++id) ids.emplace_back(data.tokens[id], id);
  std::ranges::sort(ids);
  data.scores.assign(data.tokens.size(), -1e6F);
  for (size_t rank = data.merges.size(); rank-- > 0;) {
    std::string merged = data.merges[rank];
    merged.erase(merged.find(' ', 1), 1);
    const auto found = std::ranges::lower_bound(ids, std::pair<std::string_view, size_t>(merged, 0));
    if (found != ids.end() && found->first == merged) data.scores[found->second] = -static_cast<float>(rank);
  }
}

bool is_byte_token(std::string_view token) {
  return token.size() == 6 && token.starts_with("<0x") && token.ends_with(">");
}

void mark_bytes(TokenizerData& data) {
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    if (is_byte_token(data.tokens[id])) data.types[id] = TokenType::kByte;
  }
  if (data.unknown >= 0) data.types[static_cast<size_t>(data.unknown)] = TokenType::kUnknown;
}

/// Whether a text is put behind a blank first.
bool prefixes_space(const json& root) {
  if (find_step(member(root, "normalizer"), "normalizers", "Prepend") != nullptr) return true;
  const json* metaspace = find_step(member(root, "pre_tokenizer"), "pretokenizers", "Metaspace");
  if (metaspace == nullptr) return false;
  const json& scheme = member(*metaspace, "prepend_scheme");
  return scheme.is_string() ? scheme != "never" : member(*metaspace, "add_prefix_space") != false;
}

core::Status fill_sentence_piece(const json& root, TokenizerData& data) {
  data.pre = "default";
  LAMINA_CHECK_OK(read_merges(member(root, "model"), data));
  mark_bytes(data);
  score_by_merges(data);
  data.merges.clear();
  data.add_space_prefix = prefixes_space(root);
  return {};
}

// Unigram and WordPiece --------------------------------------------------------------------------------------------

core::Status fill_unigram(const json& root, TokenizerData& data) {
  data.pre = "default";
  data.scores.assign(data.tokens.size(), 0.0F);
  const json& vocabulary = member(member(root, "model"), "vocab");
  for (size_t id = 0; id < std::min(vocabulary.size(), data.scores.size()); ++id) {
    data.scores[id] = vocabulary[id][1].get<float>();
  }
  LAMINA_ASSIGN(const int64_t unknown, int_field(member(root, "model"), "unk_id", -1, "model"));
  data.unknown = static_cast<int32_t>(unknown);
  mark_bytes(data);
  data.add_space_prefix = prefixes_space(root);
  const json* charsmap = find_step(member(root, "normalizer"), "normalizers", "Precompiled");
  if (charsmap != nullptr) {
    const json& text = member(*charsmap, "precompiled_charsmap");
    const auto bytes = text.is_string() ? decode_base64(text.get_ref<const std::string&>()) : std::nullopt;
    if (!bytes) return core::fail(core::ErrorCode::kCorrupt, "normalizer", "\"precompiled_charsmap\" is not base64");
    data.precompiled_charsmap.assign(bytes->begin(), bytes->end());
  }
  const bool squeezes = find_step(member(root, "normalizer"), "normalizers", "Replace") != nullptr ||
                        find_step(member(root, "pre_tokenizer"), "pretokenizers", "WhitespaceSplit") != nullptr;
  data.remove_extra_whitespaces = squeezes;
  return {};
}

core::Status fill_word_piece(const json& /*root*/, TokenizerData& data) {
  data.pre = "default";
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    std::string& token = data.tokens[id];
    if (data.types[id] != TokenType::kNormal || (token.starts_with('[') && token.ends_with(']'))) continue;
    token = token.starts_with("##") ? token.substr(2) : std::string(kMetaspace) + token;
  }
  return {};
}

struct Kind {
  std::string_view type;
  bool byte_fallback;
  std::string_view model;
  core::Status (*fill)(const json& root, TokenizerData& data);
};

constexpr std::array kKinds{
    Kind{"BPE", false, "gpt2", fill_byte_level},       Kind{"BPE", true, "llama", fill_sentence_piece},
    Kind{"Unigram", false, "t5", fill_unigram},        Kind{"Unigram", true, "t5", fill_unigram},
    Kind{"WordPiece", false, "bert", fill_word_piece},
};

}  // namespace

core::Result<TokenizerData> data_from_json(std::string_view tokenizer_json, std::string_view config_json,
                                           int64_t rows) {
  LAMINA_ASSIGN(const Tokenizer tokenizer, Tokenizer::from_json(tokenizer_json, config_json));
  const json root = json::parse(tokenizer_json, nullptr, false);
  const json& model = member(root, "model");
  LAMINA_ASSIGN(TokenizerData data, read_tokens(root, tokenizer, rows));
  LAMINA_ASSIGN(const std::string type, string_field(model, "type", "BPE", "model"));
  LAMINA_ASSIGN(const bool fallback, bool_field(model, "byte_fallback", false, "model"));
  const auto kind = std::ranges::find_if(
      kKinds, [&](const Kind& known) { return known.type == type && known.byte_fallback == fallback; });
  if (kind == kKinds.end()) return unsupported("model", "type {} cannot be said in GGUF", type);
  data.model = kind->model;
  LAMINA_CHECK_OK(kind->fill(root, data));
  LAMINA_CHECK_OK(read_frame(tokenizer, data));
  LAMINA_ASSIGN(const Tokenizer written, Tokenizer::from_data(data));
  LAMINA_CHECK_OK(check_alike(tokenizer, written));
  return data;
}

}  // namespace lamina::text
