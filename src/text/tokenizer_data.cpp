#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <ranges>
#include <utility>

#include "text/bpe.h"
#include "text/model_json.h"
#include "text/pre_table.h"
#include "text/tokenizer_parts.h"
#include "text/unigram.h"
#include "text/utf8.h"
#include "text/wordpiece.h"

namespace lamina::text {
namespace {

using nlohmann::json;

constexpr std::string_view kMetaspace = "\u2581";

TokenType type_of(const TokenizerData& data, size_t id) {
  return data.types.empty() ? TokenType::kNormal : data.types[id];
}

bool is_special_type(TokenType type) {
  return type == TokenType::kControl || type == TokenType::kUnknown;
}

core::Status check_lists(const TokenizerData& data) {
  const size_t count = data.tokens.size();
  if (count == 0 || count > static_cast<size_t>(kMaxVocabulary)) {
    return core::fail(core::ErrorCode::kCorrupt, "tokenizer.ggml.tokens", "{} tokens; 1 to {} expected", count,
                      kMaxVocabulary);
  }
  if (!data.types.empty() && data.types.size() != count) {
    return core::fail(core::ErrorCode::kCorrupt, "tokenizer.ggml.token_type", "{} entries for {} tokens",
                      data.types.size(), count);
  }
  if (!data.scores.empty() && data.scores.size() != count) {
    return core::fail(core::ErrorCode::kCorrupt, "tokenizer.ggml.scores", "{} entries for {} tokens",
                      data.scores.size(), count);
  }
  for (size_t id = 0; id < count; ++id) {
    if (valid_prefix(data.tokens[id]) == data.tokens[id].size()) continue;
    return core::fail(core::ErrorCode::kCorrupt, "tokenizer.ggml.tokens", "token {} is not valid UTF-8", id);
  }
  return {};
}

core::Status check_ids(const TokenizerData& data) {
  const std::pair<std::string_view, int32_t> ids[] = {
      {"bos", data.bos}, {"eos", data.eos},         {"eot", data.eot},
      {"eom", data.eom}, {"unknown", data.unknown}, {"separator", data.separator},
      {"cls", data.cls}, {"mask", data.mask},       {"padding", data.padding},
  };
  for (const auto& [name, id] : ids) {
    if (id >= -1 && id < static_cast<int64_t>(data.tokens.size())) continue;
    return core::fail(core::ErrorCode::kCorrupt, "tokenizer.ggml", "{} token id {}; below {} expected", name, id,
                      data.tokens.size());
  }
  return {};
}

/// All tokens by their text; twice the same text is an error.
core::Result<StringMap> index_tokens(const TokenizerData& data) {
  StringMap ids;
  size_t bytes = 0;
  for (const std::string& token : data.tokens) bytes += token.size();
  ids.reserve(data.tokens.size(), bytes);
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    if (ids.insert(data.tokens[id], static_cast<int32_t>(id))) continue;
    return core::fail(core::ErrorCode::kCorrupt, "tokenizer.ggml.tokens", "\"{}\" is both token {} and token {}",
                      data.tokens[id], ids.find(data.tokens[id]), id);
  }
  return ids;
}

VocabularyList all_entries(const TokenizerData& data) {
  VocabularyList out;
  out.reserve(data.tokens.size());
  for (size_t id = 0; id < data.tokens.size(); ++id) out.emplace_back(data.tokens[id], static_cast<int32_t>(id));
  return out;
}

std::vector<int32_t> control_ids(const TokenizerData& data) {
  std::vector<int32_t> out;
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    if (is_special_type(type_of(data, id))) out.push_back(static_cast<int32_t>(id));
  }
  return out;
}

std::vector<AddedToken> added_tokens(const TokenizerData& data) {
  std::vector<AddedToken> out;
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    const TokenType type = type_of(data, id);
    if (!is_special_type(type) && type != TokenType::kUserDefined) continue;
    AddedToken token;
    token.id = static_cast<int32_t>(id);
    token.content = data.tokens[id];
    token.special = is_special_type(type);
    out.push_back(std::move(token));
  }
  return out;
}

/// Puts the tokens that the file or the model kind asks for around the text.
core::Status set_frame(TokenizerParts& parts, bool add_bos, int32_t first, bool add_eos, int32_t last) {
  parts.frame.clear();
  if (add_bos && first < 0) {
    return core::fail(core::ErrorCode::kCorrupt, "tokenizer.ggml.bos_token_id",
                      "missing, but to be added to each text");
  }
  if (add_eos && last < 0) {
    return core::fail(core::ErrorCode::kCorrupt, "tokenizer.ggml.eos_token_id",
                      "missing, but to be added to each text");
  }
  if (add_bos) parts.frame.push_back(first);
  parts.frame.push_back(kTextSlot);
  if (add_eos) parts.frame.push_back(last);
  return {};
}

/// SentencePiece's remove_extra_whitespaces: none at the ends, single ones inside.
void add_space_clean_up(json& normalizers) {
  normalizers.push_back({{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}});
  normalizers.push_back({{"type", "Replace"}, {"pattern", {{"Regex", " {2,}"}}}, {"content", " "}});
}

core::Status set_decoder(TokenizerParts& parts, const json& spec) {
  LAMINA_ASSIGN(parts.decode, make_decoders(spec));
  return {};
}

// Byte-level BPE ("gpt2") ------------------------------------------------------------------------------------------

core::Result<std::vector<BpeMerge>> read_merges(const TokenizerData& data, const StringMap& ids) {
  std::vector<BpeMerge> merges;
  merges.reserve(data.merges.size());
  for (size_t rank = 0; rank < data.merges.size(); ++rank) {
    const std::string& text = data.merges[rank];
    // The blank is always written as another character in this alphabet, but a merge may begin with one in damaged
    // files.
    const size_t space = text.find(' ', 1);
    if (space == std::string::npos || space + 1 == text.size()) {
      return core::fail(core::ErrorCode::kCorrupt, "tokenizer.ggml.merges", "merge {} is \"{}\"; two tokens expected",
                        rank, text);
    }
    const std::string left = text.substr(0, space);
    const std::string right = text.substr(space + 1);
    const BpeMerge merge{ids.find(left), ids.find(right), ids.find(left + right)};
    if (merge.left < 0 || merge.right < 0 || merge.merged < 0) {
      return core::fail(core::ErrorCode::kCorrupt, "tokenizer.ggml.merges",
                        "merge {} is \"{}\"; one of its parts or their union is not a token", rank, text);
    }
    merges.push_back(merge);
  }
  return merges;
}

core::Status build_byte_level(const TokenizerData& data, const StringMap& ids, TokenizerParts& parts) {
  const auto settings = find_pre(data.pre.empty() ? "default" : data.pre);
  if (!settings) {
    return core::fail(core::ErrorCode::kUnsupported, "tokenizer.ggml.pre", "unknown pre-tokenizer \"{}\"", data.pre);
  }
  for (const std::string_view pattern : settings->patterns) {
    LAMINA_ASSIGN(auto split, make_split(pattern, SplitBehavior::kIsolated, false));
    parts.pre.steps.push_back(std::move(split));
  }
  parts.pre.raw_bytes = true;
  if (settings->nfc) {
    LAMINA_ASSIGN(parts.normalizers, make_normalizers(json{{"type", "NFC"}}));
  }
  LAMINA_CHECK_OK(set_decoder(parts, json{{"type", "ByteLevel"}}));
  LAMINA_CHECK_OK(
      set_frame(parts, data.add_bos.value_or(settings->add_bos), data.bos, data.add_eos.value_or(false), data.eos));
  BpeOptions options;
  options.raw_bytes = true;
  options.ignore_merges = settings->ignore_merges;
  options.control = control_ids(data);
  LAMINA_ASSIGN(const auto merges, read_merges(data, ids));
  LAMINA_ASSIGN(parts.model, BpeModel::make(all_entries(data), merges, std::move(options)));
  return {};
}

// SentencePiece BPE ("llama") --------------------------------------------------------------------------------------

core::Status build_sentence_piece(const TokenizerData& data, const StringMap& /*ids*/, TokenizerParts& parts) {
  if (data.scores.empty()) {
    return core::fail(core::ErrorCode::kCorrupt, "tokenizer.ggml.scores", "missing; model \"llama\" needs them");
  }
  const bool prefix = data.add_space_prefix.value_or(true);
  json normalizer = json::array();
  if (data.remove_extra_whitespaces.value_or(false)) add_space_clean_up(normalizer);
  if (prefix) normalizer.push_back({{"type", "Prepend"}, {"prepend", kMetaspace}});
  normalizer.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kMetaspace}});
  LAMINA_ASSIGN(parts.normalizers, make_normalizers({{"type", "Sequence"}, {"normalizers", normalizer}}));
  json decoder = {{{"type", "Replace"}, {"pattern", {{"String", kMetaspace}}}, {"content", " "}},
                  {{"type", "ByteFallback"}},
                  {{"type", "Fuse"}}};
  if (prefix) decoder.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  LAMINA_CHECK_OK(set_decoder(parts, {{"type", "Sequence"}, {"decoders", decoder}}));
  LAMINA_CHECK_OK(set_frame(parts, data.add_bos.value_or(true), data.bos, data.add_eos.value_or(false), data.eos));
  BpeOptions options;
  options.byte_fallback = true;
  options.fuse_unknown = true;
  options.unknown = data.unknown;
  options.control = control_ids(data);
  std::vector<bool> joins(data.tokens.size());
  for (size_t id = 0; id < joins.size(); ++id) {
    if (std::isnan(data.scores[id])) {
      return core::fail(core::ErrorCode::kCorrupt, "tokenizer.ggml.scores", "the score of token {} is not a number",
                        id);
    }
    const TokenType type = type_of(data, id);
    joins[id] = !is_special_type(type) && type != TokenType::kByte;
  }
  LAMINA_ASSIGN(parts.model,
                BpeModel::make_scored(all_entries(data), data.scores, std::move(joins), std::move(options)));
  return {};
}

// Unigram ("t5") ---------------------------------------------------------------------------------------------------

core::Status build_unigram(const TokenizerData& data, const StringMap& /*ids*/, TokenizerParts& parts) {
  if (data.scores.empty()) {
    return core::fail(core::ErrorCode::kCorrupt, "tokenizer.ggml.scores", "missing; model \"t5\" needs them");
  }
  if (!data.precompiled_charsmap.empty()) {
    const std::string blob(data.precompiled_charsmap.begin(), data.precompiled_charsmap.end());
    LAMINA_ASSIGN(auto step, make_charsmap(blob));
    parts.normalizers.push_back(std::move(step));
  }
  if (data.remove_extra_whitespaces.value_or(true)) {
    json list = json::array();
    add_space_clean_up(list);
    LAMINA_ASSIGN(auto steps, make_normalizers({{"type", "Sequence"}, {"normalizers", list}}));
    for (auto& step : steps) parts.normalizers.push_back(std::move(step));
  }
  const json metaspace = {{"type", "Metaspace"},
                          {"replacement", kMetaspace},
                          {"prepend_scheme", data.add_space_prefix.value_or(true) ? "always" : "never"}};
  LAMINA_ASSIGN(parts.pre, make_pre_tokenizers(metaspace));
  UnigramOptions options;
  options.unknown = data.unknown;
  std::vector<UnigramPiece> pieces;
  pieces.reserve(data.tokens.size());
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    pieces.push_back({data.tokens[id], data.scores[id], static_cast<int32_t>(id), is_special_type(type_of(data, id))});
    options.byte_fallback |= type_of(data, id) == TokenType::kByte;
  }
  const auto forbidden = [&](const UnigramPiece& piece) {
    return type_of(data, static_cast<size_t>(piece.id)) == TokenType::kByte;
  };
  LAMINA_ASSIGN(parts.model, UnigramModel::make(pieces, forbidden, options));
  json decoder = json::array();
  if (options.byte_fallback) decoder.push_back(json::object({{"type", "ByteFallback"}}));
  decoder.push_back(metaspace);
  LAMINA_CHECK_OK(set_decoder(parts, {{"type", "Sequence"}, {"decoders", decoder}}));
  return set_frame(parts, data.add_bos.value_or(false), data.bos, data.add_eos.value_or(true), data.eos);
}

// WordPiece ("bert") -----------------------------------------------------------------------------------------------

bool has_capital(std::string_view text) {
  return std::ranges::any_of(text, [](char c) { return c >= 'A' && c <= 'Z'; });
}

core::Status build_word_piece(const TokenizerData& data, const StringMap& /*ids*/, TokenizerParts& parts) {
  VocabularyList entries = all_entries(data);
  const auto is_text = [&](const auto& entry) {
    return !is_special_type(type_of(data, static_cast<size_t>(entry.second)));
  };
  const bool cased =
      std::ranges::any_of(entries, [&](const auto& entry) { return is_text(entry) && has_capital(entry.first); });
  // Converted files mark the starts of words with U+2581 and leave continuations bare; BERT's own mark these with "##".
  const bool marked = std::ranges::any_of(
      entries, [&](const auto& entry) { return is_text(entry) && entry.first.starts_with(kMetaspace); });
  if (marked) {
    for (auto& entry : entries | std::views::filter(is_text)) {
      std::string& text = entry.first;
      if (text.starts_with(kMetaspace)) {
        text.erase(0, kMetaspace.size());
      } else {
        text.insert(0, "##");
      }
    }
  }
  LAMINA_ASSIGN(parts.normalizers, make_normalizers({{"type", "BertNormalizer"}, {"lowercase", !cased}}));
  LAMINA_ASSIGN(parts.pre, make_pre_tokenizers({{"type", "BertPreTokenizer"}}));
  LAMINA_CHECK_OK(set_decoder(parts, {{"type", marked ? "Metaspace" : "WordPiece"}}));
  WordPieceOptions options;
  options.unknown = data.unknown;
  options.control = control_ids(data);
  LAMINA_ASSIGN(parts.model, WordPieceModel::make(entries, std::move(options)));
  parts.pairs_by_names = true;
  return set_frame(parts, data.add_bos.value_or(true), data.cls >= 0 ? data.cls : data.bos,
                   data.add_eos.value_or(data.add_sep.value_or(true)), data.separator >= 0 ? data.separator : data.eos);
}

struct Builder {
  std::string_view model;
  core::Status (*build)(const TokenizerData& data, const StringMap& ids, TokenizerParts& parts);
};

constexpr Builder kBuilders[] = {
    {"gpt2", build_byte_level},
    {"llama", build_sentence_piece},
    {"t5", build_unigram},
    {"bert", build_word_piece},
};

core::Status build(const TokenizerData& data, const StringMap& ids, TokenizerParts& parts) {
  for (const Builder& builder : kBuilders) {
    if (builder.model == data.model) return builder.build(data, ids, parts);
  }
  return core::fail(core::ErrorCode::kUnsupported, "tokenizer.ggml.model", "unknown tokenizer model \"{}\"",
                    data.model);
}

void copy_ids(const TokenizerData& data, TokenizerParts& parts) {
  parts.bos = data.bos;
  parts.eos = data.eos;
  parts.eot = data.eot;
  parts.unknown = data.unknown;
  parts.separator = data.separator;
  parts.padding = data.padding;
  parts.cls = data.cls;
  parts.mask = data.mask;
}

}  // namespace

core::Result<Tokenizer> Tokenizer::from_data(TokenizerData data) {
  LAMINA_CHECK_OK(check_lists(data));
  LAMINA_CHECK_OK(check_ids(data));
  auto parts = std::make_unique<TokenizerParts>();
  LAMINA_ASSIGN(parts->ids, index_tokens(data));
  LAMINA_CHECK_OK(build(data, parts->ids, *parts));
  LAMINA_CHECK_OK(parts->add_tokens(added_tokens(data)));
  copy_ids(data, *parts);
  parts->types = data.types.empty() ? std::vector<TokenType>(data.tokens.size(), TokenType::kNormal) : data.types;
  parts->texts = std::move(data.tokens);
  LAMINA_CHECK_OK(parts->finish());
  if (data.eom >= 0) parts->ends[static_cast<size_t>(data.eom)] = true;
  return Tokenizer(std::move(parts));
}

}  // namespace lamina::text
