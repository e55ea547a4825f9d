#include <algorithm>
#include <span>
#include <utility>

#include "text/json_fields.h"
#include "text/model_json.h"
#include "text/post_processors.h"
#include "text/tokenizer_parts.h"

namespace lamina::text {
namespace {

core::Result<std::vector<AddedToken>> read_added_tokens(const json& root) {
  std::vector<AddedToken> out;
  const json& list = member(root, "added_tokens");
  if (list.is_null()) return out;
  if (!list.is_array()) return core::fail(core::ErrorCode::kCorrupt, "added_tokens", "must be a list");
  for (const json& item : list) {
    const std::string place = "added_tokens[" + std::to_string(out.size()) + "]";
    AddedToken token;
    LAMINA_ASSIGN(const int64_t id, int_field(item, "id", -1, place));
    if (id < 0 || id >= kMaxVocabulary) {
      return core::fail(core::ErrorCode::kCorrupt, place, "id {}; 0 to {} expected", id, kMaxVocabulary - 1);
    }
    token.id = static_cast<int32_t>(id);
    LAMINA_ASSIGN(token.content, string_field(item, "content", "", place));
    LAMINA_ASSIGN(token.special, bool_field(item, "special", false, place));
    LAMINA_ASSIGN(token.normalized, bool_field(item, "normalized", !token.special, place));
    LAMINA_ASSIGN(token.single_word, bool_field(item, "single_word", false, place));
    LAMINA_ASSIGN(token.lstrip, bool_field(item, "lstrip", false, place));
    LAMINA_ASSIGN(token.rstrip, bool_field(item, "rstrip", false, place));
    out.push_back(std::move(token));
  }
  return out;
}

core::Status put_text(TokenizerParts& parts, int32_t id, const std::string& text) {
  const auto index = static_cast<size_t>(id);
  if (index >= parts.texts.size()) {
    parts.texts.resize(index + 1);
    parts.types.resize(index + 1, TokenType::kUnused);
  }
  if (parts.types[index] != TokenType::kUnused && parts.texts[index] != text) {
    return core::fail(core::ErrorCode::kCorrupt, "tokenizer.json", "id {} is both \"{}\" and \"{}\"", id,
                      parts.texts[index], text);
  }
  parts.texts[index] = text;
  parts.types[index] = TokenType::kNormal;
  return {};
}

/// Ids may leave gaps, but a small file must not ask for a huge table.
core::Status check_gaps(const ModelSpec& spec, const std::vector<AddedToken>& added) {
  int64_t largest = 0;
  for (const auto& entry : spec.vocabulary) largest = std::max<int64_t>(largest, entry.second);
  for (const AddedToken& token : added) largest = std::max<int64_t>(largest, token.id);
  const auto limit = static_cast<int64_t>(4 * (spec.vocabulary.size() + added.size()) + 65536);
  if (largest < limit) return {};
  return core::fail(core::ErrorCode::kCorrupt, "tokenizer.json",
                    "id {} in a vocabulary of {} tokens; below {} expected", largest,
                    spec.vocabulary.size() + added.size(), limit);
}

core::Status fill_texts(TokenizerParts& parts, const ModelSpec& spec, const std::vector<AddedToken>& added) {
  LAMINA_CHECK_OK(check_gaps(spec, added));
  for (const auto& [text, id] : spec.vocabulary) LAMINA_CHECK_OK(put_text(parts, id, text));
  for (const AddedToken& token : added) {
    LAMINA_CHECK_OK(put_text(parts, token.id, token.content));
    parts.types[static_cast<size_t>(token.id)] = token.special ? TokenType::kControl : TokenType::kUserDefined;
  }
  for (const int32_t id : parts.frame) {
    if (id == kTextSlot || parts.in_range(id)) continue;
    return core::fail(core::ErrorCode::kCorrupt, "post_processor", "id {} is past the vocabulary of {}", id,
                      parts.texts.size());
  }
  return {};
}

core::Result<bool> left_side(const json& settings, std::string_view place) {
  const json& side = member(settings, "direction");
  if (side.is_null() || side == "Right") return false;
  if (side == "Left") return true;
  return core::fail(core::ErrorCode::kCorrupt, place, "\"direction\" must be \"Left\" or \"Right\"");
}

/// Refuses what is no object, and a "strategy" that is none of `known`.
core::Status check_settings(const json& settings, std::string_view place, std::span<const std::string_view> known) {
  if (!settings.is_object()) return core::fail(core::ErrorCode::kCorrupt, place, "must be an object");
  const json& strategy = member(settings, "strategy");
  if (strategy.is_object() || strategy.is_null()) return {};
  if (strategy.is_string() && std::ranges::find(known, strategy.get_ref<const std::string&>()) != known.end())
    return {};
  return core::fail(core::ErrorCode::kUnsupported, place, "unknown strategy {}",
                    strategy.dump(-1, ' ', true, json::error_handler_t::replace));
}

core::Status read_truncation(const json& settings, LengthSettings& out) {
  constexpr std::string_view kKnown[] = {"LongestFirst", "OnlyFirst", "OnlySecond"};
  LAMINA_CHECK_OK(check_settings(settings, "truncation", kKnown));
  LAMINA_ASSIGN(const int64_t length, int_field(settings, "max_length", 0, "truncation"));
  if (length < 0) return core::fail(core::ErrorCode::kCorrupt, "truncation", "\"max_length\" is {}", length);
  out.truncate_to = length;
  LAMINA_ASSIGN(out.truncate_left, left_side(settings, "truncation"));
  return {};
}

core::Status read_padding(const json& settings, LengthSettings& out) {
  constexpr std::string_view kKnown[] = {"BatchLongest"};
  LAMINA_CHECK_OK(check_settings(settings, "padding", kKnown));
  out.pads = true;
  if (const json& strategy = member(settings, "strategy"); strategy.is_object()) {
    const json& fixed = member(strategy, "Fixed");
    if (!fixed.is_number_unsigned()) {
      return core::fail(core::ErrorCode::kCorrupt, "padding", "\"strategy\" must be BatchLongest or a Fixed number");
    }
    LAMINA_ASSIGN(out.pad_to, int_field(strategy, "Fixed", 0, "padding"));
  }
  LAMINA_ASSIGN(const int64_t id, int_field(settings, "pad_id", 0, "padding"));
  if (id < 0 || id >= kMaxVocabulary) return core::fail(core::ErrorCode::kCorrupt, "padding", "pad_id {}", id);
  LAMINA_ASSIGN(out.pad_left, left_side(settings, "padding"));
  out.pad_id = static_cast<int32_t>(id);
  return {};
}

core::Result<LengthSettings> read_lengths(const json& root) {
  LengthSettings out;
  if (const json& settings = member(root, "truncation"); !settings.is_null()) {
    LAMINA_CHECK_OK(read_truncation(settings, out));
  }
  if (const json& settings = member(root, "padding"); !settings.is_null()) {
    LAMINA_CHECK_OK(read_padding(settings, out));
  }
  return out;
}

/// tokenizer_config.json names a token by its text or by an object with "content".
core::Status read_named_tokens(const json& config, TokenizerParts& parts) {
  const std::pair<const char*, int32_t*> names[] = {
      {"bos_token", &parts.bos},     {"eos_token", &parts.eos},       {"eot_token", &parts.eot},
      {"unk_token", &parts.unknown}, {"sep_token", &parts.separator}, {"pad_token", &parts.padding},
      {"cls_token", &parts.cls},     {"mask_token", &parts.mask},
  };
  for (const auto& [name, id] : names) {
    const json* value = &member(config, name);
    if (value->is_object()) value = &member(*value, "content");
    if (value->is_null()) continue;
    if (!value->is_string()) return wrong_type("tokenizer_config.json", name, "a token", *value);
    const auto& text = value->get_ref<const std::string&>();
    // A named token that the vocabulary lacks is one that this model does not have.
    const auto found = std::ranges::find(parts.texts, text);
    if (found != parts.texts.end() && !text.empty()) *id = static_cast<int32_t>(found - parts.texts.begin());
  }
  return {};
}

}  // namespace

core::Result<Tokenizer> Tokenizer::from_json(std::string_view tokenizer_json, std::string_view tokenizer_config_json) {
  LAMINA_ASSIGN(TokenizerDocument document, read_tokenizer_document(tokenizer_json, "tokenizer.json"));
  const json& root = document.root;
  auto parts = std::make_unique<TokenizerParts>();
  LAMINA_ASSIGN(const std::vector<AddedToken> added, read_added_tokens(root));
  LAMINA_ASSIGN(parts->normalizers, make_normalizers(member(root, "normalizer")));
  LAMINA_ASSIGN(parts->pre, make_pre_tokenizers(member(root, "pre_tokenizer")));
  LAMINA_ASSIGN(parts->frame, make_frame(member(root, "post_processor")));
  LAMINA_ASSIGN(parts->decode, make_decoders(member(root, "decoder")));
  LAMINA_ASSIGN(parts->lengths, read_lengths(root));
  ModelSpec spec{.model = member(root, "model"),
                 .merges = document.merges,
                 .pieces = document.pieces,
                 .raw_bytes = parts->pre.raw_bytes,
                 .special = {},
                 .vocabulary = std::move(document.vocabulary)};
  for (const AddedToken& token : added) {
    if (token.special) spec.special.push_back(token.id);
  }
  std::ranges::sort(spec.special);
  LAMINA_ASSIGN(parts->model, make_model(spec));
  LAMINA_CHECK_OK(fill_texts(*parts, spec, added));
  LAMINA_CHECK_OK(parts->add_tokens(added));
  parts->unknown = spec.unknown;
  if (!tokenizer_config_json.empty()) {
    LAMINA_ASSIGN(const TokenizerDocument config,
                  read_tokenizer_document(tokenizer_config_json, "tokenizer_config.json"));
    LAMINA_CHECK_OK(read_named_tokens(config.root, *parts));
  }
  LAMINA_CHECK_OK(parts->finish());
  return Tokenizer(std::move(parts));
}

}  // namespace lamina::text
