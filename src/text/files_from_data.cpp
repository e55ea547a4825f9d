#include <algorithm>
#include <array>
#include <utility>

#include "text/base64.h"
#include "text/json_fields.h"
#include "text/pre_table.h"
#include "text/score_merges.h"
#include "text/tokenizer_convert.h"
#include "text/tokenizer_probe.h"

namespace lamina::text {
namespace {

using ordered_json = nlohmann::ordered_json;

constexpr std::string_view kMetaspace = "\u2581";

ordered_json sequence(const char* list, ordered_json steps) {
  return {{"type", "Sequence"}, {list, std::move(steps)}};
}

std::string token_text(const TokenizerData& data, int32_t id) {
  return id < 0 ? std::string() : data.tokens[static_cast<size_t>(id)];
}

ordered_json vocabulary_object(const TokenizerData& data) {
  ordered_json vocabulary = ordered_json::object();
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    // Linear in an ordered object when looked up by key; the tokens are distinct, so pairs are appended.
    vocabulary.get_ref<ordered_json::object_t&>().push_back({data.tokens[id], ordered_json(id)});
  }
  return vocabulary;
}

ordered_json added_tokens(const TokenizerData& data) {
  ordered_json list = ordered_json::array();
  for (size_t id = 0; id < data.types.size(); ++id) {
    const TokenType type = data.types[id];
    const bool special = type == TokenType::kControl || type == TokenType::kUnknown;
    if (!special && type != TokenType::kUserDefined) continue;
    list.push_back({{"id", id},
                    {"content", data.tokens[id]},
                    {"single_word", false},
                    {"lstrip", false},
                    {"rstrip", false},
                    {"normalized", false},
                    {"special", special}});
  }
  return list;
}

/// The tokens around a text, as a template; `otherwise` where there are none.
ordered_json frame(const TokenizerData& data, int32_t first, int32_t last, ordered_json otherwise) {
  if (first < 0 && last < 0) return otherwise;
  ordered_json single = ordered_json::array();
  ordered_json pair = ordered_json::array();
  ordered_json names = ordered_json::object();
  const auto special = [&](int32_t id, int type) {
    const std::string text = token_text(data, id);
    names[text] = {{"id", text}, {"ids", {id}}, {"tokens", {text}}};
    return ordered_json{{"SpecialToken", {{"id", text}, {"type_id", type}}}};
  };
  const auto text = [](const char* name, int type) {
    return ordered_json{{"Sequence", {{"id", name}, {"type_id", type}}}};
  };
  if (first >= 0) single.push_back(special(first, 0));
  single.push_back(text("A", 0));
  if (last >= 0) single.push_back(special(last, 0));
  pair = single;
  pair.push_back(text("B", 1));
  if (last >= 0) pair.push_back(special(last, 1));
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", names}};
}

/// What differs between the kinds of tokenizers.
struct Parts {
  ordered_json normalizer;
  ordered_json pre_tokenizer;
  ordered_json decoder;
  ordered_json model;
  bool add_bos = false;  ///< unless the metadata say otherwise
  bool add_eos = false;
  ordered_json no_frame;  ///< post-processor of a text without tokens around it
};

ordered_json byte_level() {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", false}, {"use_regex", false}};
}

core::Result<Parts> byte_level_parts(const TokenizerData& data) {
  const auto settings = find_pre(data.pre.empty() ? "default" : data.pre);
  if (!settings) {
    return core::fail(core::ErrorCode::kUnsupported, "tokenizer.ggml.pre", "unknown pre-tokenizer \"{}\"", data.pre);
  }
  Parts parts;
  ordered_json steps = ordered_json::array();
  for (const std::string_view pattern : settings->patterns) {
    steps.push_back(
        {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}});
  }
  steps.push_back(byte_level());
  parts.pre_tokenizer = sequence("pretokenizers", std::move(steps));
  if (settings->nfc) parts.normalizer = {{"type", "NFC"}};
  parts.decoder = byte_level();
  parts.no_frame = byte_level();
  parts.add_bos = settings->add_bos;
  parts.model = {{"type", "BPE"},
                 {"dropout", nullptr},
                 {"unk_token", nullptr},
                 {"continuing_subword_prefix", nullptr},
                 {"end_of_word_suffix", nullptr},
                 {"fuse_unk", false},
                 {"byte_fallback", false},
                 {"ignore_merges", settings->ignore_merges},
                 {"vocab", vocabulary_object(data)}};
  ordered_json merges = ordered_json::array();
  for (const std::string& merge : data.merges) {
    const size_t space = merge.find(' ', 1);
    merges.push_back({merge.substr(0, space), space == std::string::npos ? "" : merge.substr(space + 1)});
  }
  parts.model["merges"] = std::move(merges);
  return parts;
}

void push_clean_up(ordered_json& steps) {
  steps.push_back({{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}});
  steps.push_back({{"type", "Replace"}, {"pattern", {{"Regex", " {2,}"}}}, {"content", " "}});
}

core::Result<Parts> sentence_piece_parts(const TokenizerData& data) {
  if (data.scores.size() != data.tokens.size())
    return core::fail(core::ErrorCode::kCorrupt, "tokenizer.ggml.scores", "one a token expected");
  Parts parts;
  const bool prefix = data.add_space_prefix.value_or(true);
  ordered_json normalizers = ordered_json::array();
  if (data.remove_extra_whitespaces.value_or(false)) push_clean_up(normalizers);
  if (prefix) normalizers.push_back({{"type", "Prepend"}, {"prepend", kMetaspace}});
  normalizers.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kMetaspace}});
  parts.normalizer = sequence("normalizers", std::move(normalizers));
  ordered_json decoders = ordered_json::array();
  decoders.push_back({{"type", "Replace"}, {"pattern", {{"String", kMetaspace}}}, {"content", " "}});
  decoders.push_back({{"type", "ByteFallback"}});
  decoders.push_back({{"type", "Fuse"}});
  if (prefix) decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  parts.decoder = sequence("decoders", std::move(decoders));
  parts.add_bos = true;
  LAMINA_ASSIGN(const std::vector<BpeMerge> merges, merges_from_scores(data));
  ordered_json list = ordered_json::array();
  for (const BpeMerge& merge : merges) list.push_back({token_text(data, merge.left), token_text(data, merge.right)});
  parts.model = {{"type", "BPE"},
                 {"dropout", nullptr},
                 {"unk_token", data.unknown < 0 ? ordered_json() : ordered_json(token_text(data, data.unknown))},
                 {"continuing_subword_prefix", nullptr},
                 {"end_of_word_suffix", nullptr},
                 {"fuse_unk", true},
                 {"byte_fallback", true},
                 {"ignore_merges", false},
                 {"vocab", vocabulary_object(data)},
                 {"merges", std::move(list)}};
  return parts;
}

core::Result<Parts> unigram_parts(const TokenizerData& data) {
  if (data.scores.size() != data.tokens.size())
    return core::fail(core::ErrorCode::kCorrupt, "tokenizer.ggml.scores", "one a token expected");
  Parts parts;
  ordered_json normalizers = ordered_json::array();
  if (!data.precompiled_charsmap.empty()) {
    const std::string bytes(data.precompiled_charsmap.begin(), data.precompiled_charsmap.end());
    normalizers.push_back({{"type", "Precompiled"}, {"precompiled_charsmap", encode_base64(bytes)}});
  }
  if (data.remove_extra_whitespaces.value_or(true)) push_clean_up(normalizers);
  if (!normalizers.empty()) parts.normalizer = sequence("normalizers", std::move(normalizers));
  const ordered_json metaspace = {{"type", "Metaspace"},
                                  {"replacement", kMetaspace},
                                  {"prepend_scheme", data.add_space_prefix.value_or(true) ? "always" : "never"}};
  parts.pre_tokenizer = metaspace;
  const bool bytes = std::ranges::find(data.types, TokenType::kByte) != data.types.end();
  ordered_json decoders = ordered_json::array();
  if (bytes) decoders.push_back({{"type", "ByteFallback"}});
  decoders.push_back(metaspace);
  parts.decoder = sequence("decoders", std::move(decoders));
  parts.add_eos = true;
  ordered_json vocabulary = ordered_json::array();
  for (size_t id = 0; id < data.tokens.size(); ++id)
    vocabulary.push_back({data.tokens[id], static_cast<double>(data.scores[id])});
  parts.model = {{"type", "Unigram"},
                 {"unk_id", data.unknown < 0 ? ordered_json() : ordered_json(data.unknown)},
                 {"vocab", std::move(vocabulary)},
                 {"byte_fallback", bytes}};
  return parts;
}

core::Result<Parts> word_piece_parts(const TokenizerData& data) {
  TokenizerData own = data;
  const auto begins = [](const std::string& token) { return token.starts_with(kMetaspace); };
  const bool marked = std::ranges::any_of(data.tokens, begins);
  bool cased = false;
  for (size_t id = 0; id < own.tokens.size(); ++id) {
    std::string& token = own.tokens[id];
    const TokenType type = own.types.empty() ? TokenType::kNormal : own.types[id];
    if (type == TokenType::kControl || type == TokenType::kUnknown) continue;
    cased = cased || std::ranges::any_of(token, [](char c) { return c >= 'A' && c <= 'Z'; });
    const bool bracketed = token.starts_with('[') && token.ends_with(']');
    if (marked && type == TokenType::kNormal && !bracketed)
      token = begins(token) ? token.substr(kMetaspace.size()) : "##" + token;
  }
  Parts parts;
  parts.normalizer = {{"type", "BertNormalizer"},
                      {"clean_text", true},
                      {"handle_chinese_chars", true},
                      {"strip_accents", nullptr},
                      {"lowercase", !cased}};
  parts.pre_tokenizer = {{"type", "BertPreTokenizer"}};
  parts.decoder = {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}};
  parts.add_bos = true;
  parts.add_eos = true;
  parts.model = {{"type", "WordPiece"},
                 {"unk_token", token_text(data, data.unknown)},
                 {"continuing_subword_prefix", "##"},
                 {"max_input_chars_per_word", 100},
                 {"vocab", vocabulary_object(own)}};
  return parts;
}

struct Kind {
  std::string_view model;
  core::Result<Parts> (*make)(const TokenizerData& data);
};

constexpr std::array kKinds{Kind{"gpt2", byte_level_parts}, Kind{"llama", sentence_piece_parts},
                            Kind{"t5", unigram_parts}, Kind{"bert", word_piece_parts}};

std::string config_text(const TokenizerData& data, const std::optional<std::string>& chat_template) {
  ordered_json config = ordered_json::object();
  const std::pair<const char*, int32_t> names[] = {
      {"bos_token", data.bos},       {"eos_token", data.eos},     {"eot_token", data.eot}, {"unk_token", data.unknown},
      {"sep_token", data.separator}, {"pad_token", data.padding}, {"cls_token", data.cls}, {"mask_token", data.mask},
  };
  for (const auto& [name, id] : names) {
    if (id >= 0) config[name] = token_text(data, id);
  }
  if (chat_template) config["chat_template"] = *chat_template;
  config["clean_up_tokenization_spaces"] = false;
  config["tokenizer_class"] = "PreTrainedTokenizerFast";
  return config.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace

core::Result<TokenizerFiles> files_from_data(const TokenizerData& data,
                                             const std::optional<std::string>& chat_template) {
  TokenizerData copy = data;
  LAMINA_ASSIGN(const Tokenizer tokenizer, Tokenizer::from_data(std::move(copy)));
  const auto kind = std::ranges::find(kKinds, data.model, &Kind::model);
  if (kind == kKinds.end()) {
    return core::fail(core::ErrorCode::kUnsupported, "tokenizer.ggml.model", "unknown tokenizer model \"{}\"",
                      data.model);
  }
  LAMINA_ASSIGN(Parts parts, kind->make(data));
  const bool word_piece = data.model == "bert";
  const bool ends =
      word_piece ? data.add_eos.value_or(data.add_sep.value_or(true)) : data.add_eos.value_or(parts.add_eos);
  const int32_t first = word_piece && data.cls >= 0 ? data.cls : data.bos;
  const int32_t last = word_piece && data.separator >= 0 ? data.separator : data.eos;
  ordered_json root = {{"version", "1.0"},
                       {"truncation", nullptr},
                       {"padding", nullptr},
                       {"added_tokens", added_tokens(data)},
                       {"normalizer", std::move(parts.normalizer)},
                       {"pre_tokenizer", std::move(parts.pre_tokenizer)},
                       {"post_processor", frame(data, data.add_bos.value_or(parts.add_bos) ? first : -1,
                                                ends ? last : -1, std::move(parts.no_frame))},
                       {"decoder", std::move(parts.decoder)},
                       {"model", std::move(parts.model)}};
  TokenizerFiles files;
  files.tokenizer = root.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
  files.config = config_text(data, chat_template);
  LAMINA_ASSIGN(const Tokenizer written, Tokenizer::from_json(files.tokenizer, files.config));
  LAMINA_CHECK_OK(check_alike(tokenizer, written));
  return files;
}

}  // namespace lamina::text
