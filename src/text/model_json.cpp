#include "text/model_json.h"

#include <algorithm>

#include "text/bpe.h"
#include "text/json_fields.h"
#include "text/tokenizer_parts.h"
#include "text/unigram.h"
#include "text/wordpiece.h"

namespace lamina::text {
namespace {

using Made = core::Result<std::unique_ptr<TokenModel>>;

core::Status check_vocabulary(const ModelSpec& spec) {
  if (member(spec.model, "vocab").is_object()) return {};
  return core::fail(core::ErrorCode::kCorrupt, "model", "\"vocab\" must be an object");
}

core::Result<int32_t> unknown_token(const ModelSpec& spec) {
  LAMINA_ASSIGN(const std::string name, string_field(spec.model, "unk_token", "", "model"));
  if (member(spec.model, "unk_token").is_null()) return -1;
  for (const auto& [key, id] : spec.vocabulary) {
    if (key == name) return id;
  }
  return core::fail(core::ErrorCode::kCorrupt, "model", "unk_token \"{}\" is not in the vocabulary", name);
}

core::Result<std::vector<BpeMerge>> read_merges(const ModelSpec& spec, std::string_view prefix) {
  if (!spec.merges) return core::fail(core::ErrorCode::kCorrupt, "model", "\"merges\" must be a list");
  const std::vector<MergeText>& list = *spec.merges;
  StringMap ids;
  ids.reserve(spec.vocabulary.size(), 8 * spec.vocabulary.size());
  for (const auto& [key, id] : spec.vocabulary) ids.insert(key, id);
  std::vector<BpeMerge> merges;
  merges.reserve(list.size());
  for (size_t rank = 0; rank < list.size(); ++rank) {
    const auto& [left, right] = list[rank];
    const std::string_view tail = right.starts_with(prefix) ? std::string_view(right).substr(prefix.size()) : right;
    const std::string merged = left + std::string(tail);
    const BpeMerge merge{ids.find(left), ids.find(right), ids.find(merged)};
    for (const auto& [id, text] :
         {std::pair<int32_t, const std::string&>{merge.left, left}, {merge.right, right}, {merge.merged, merged}}) {
      if (id >= 0) continue;
      return core::fail(core::ErrorCode::kCorrupt, "model merges",
                        "merge {} needs \"{}\", which is not in the vocabulary", rank, text);
    }
    merges.push_back(merge);
  }
  return merges;
}

Made make_bpe(ModelSpec& spec) {
  LAMINA_CHECK_OK(check_vocabulary(spec));
  LAMINA_ASSIGN(spec.unknown, unknown_token(spec));
  BpeOptions options;
  options.raw_bytes = spec.raw_bytes;
  options.unknown = spec.unknown;
  options.control = spec.special;
  LAMINA_ASSIGN(options.byte_fallback, bool_field(spec.model, "byte_fallback", false, "model"));
  LAMINA_ASSIGN(options.fuse_unknown, bool_field(spec.model, "fuse_unk", false, "model"));
  LAMINA_ASSIGN(options.ignore_merges, bool_field(spec.model, "ignore_merges", false, "model"));
  LAMINA_ASSIGN(options.continuing_prefix, string_field(spec.model, "continuing_subword_prefix", "", "model"));
  LAMINA_ASSIGN(options.end_suffix, string_field(spec.model, "end_of_word_suffix", "", "model"));
  const json& dropout = member(spec.model, "dropout");
  if (dropout.is_number() && dropout.get<double>() != 0.0) {
    return core::fail(core::ErrorCode::kUnsupported, "model", "dropout {} makes ids random; 0 expected",
                      dropout.get<double>());
  }
  LAMINA_ASSIGN(const auto merges, read_merges(spec, options.continuing_prefix));
  return BpeModel::make(spec.vocabulary, merges, std::move(options));
}

Made make_word_piece(ModelSpec& spec) {
  LAMINA_CHECK_OK(check_vocabulary(spec));
  LAMINA_ASSIGN(spec.unknown, unknown_token(spec));
  WordPieceOptions options;
  options.unknown = spec.unknown;
  options.control = spec.special;
  LAMINA_ASSIGN(options.continuing_prefix, string_field(spec.model, "continuing_subword_prefix", "##", "model"));
  LAMINA_ASSIGN(options.max_characters, int_field(spec.model, "max_input_chars_per_word", 100, "model"));
  return WordPieceModel::make(spec.vocabulary, std::move(options));
}

Made make_word_level(ModelSpec& spec) {
  LAMINA_CHECK_OK(check_vocabulary(spec));
  LAMINA_ASSIGN(spec.unknown, unknown_token(spec));
  return WordLevelModel::make(spec.vocabulary, spec.unknown, spec.special);
}

Made make_unigram(ModelSpec& spec) {
  const size_t count = spec.pieces.size();
  if (count == 0 || count > static_cast<size_t>(kMaxVocabulary)) {
    return core::fail(core::ErrorCode::kCorrupt, "model", "\"vocab\" must be a list of 1 to {} pieces", kMaxVocabulary);
  }
  UnigramOptions options;
  LAMINA_ASSIGN(options.byte_fallback, bool_field(spec.model, "byte_fallback", false, "model"));
  LAMINA_ASSIGN(const int64_t unknown, int_field(spec.model, "unk_id", -1, "model"));
  if (unknown < -1 || unknown >= static_cast<int64_t>(count)) {
    return core::fail(core::ErrorCode::kCorrupt, "model", "unk_id {} for {} pieces", unknown, count);
  }
  options.unknown = spec.unknown = static_cast<int32_t>(unknown);
  std::vector<UnigramPiece> pieces;
  pieces.reserve(count);
  spec.vocabulary.reserve(count);
  for (const auto& [text, score] : spec.pieces) {
    const auto id = static_cast<int32_t>(pieces.size());
    spec.vocabulary.emplace_back(text, id);
    pieces.push_back({text, score, id, std::ranges::binary_search(spec.special, id)});
  }
  return UnigramModel::make(pieces, [](const UnigramPiece&) { return false; }, options);
}

struct Maker {
  std::string_view type;
  Made (*make)(ModelSpec& spec);
};

constexpr Maker kMakers[] = {
    {"BPE", make_bpe},
    {"Unigram", make_unigram},
    {"WordPiece", make_word_piece},
    {"WordLevel", make_word_level},
};

/// Old files may lack the type; the members tell it.
std::string guess_type(const json& model) {
  if (member(model, "merges").is_array()) return "BPE";
  if (member(model, "vocab").is_array()) return "Unigram";
  return member(model, "max_input_chars_per_word").is_null() ? "WordLevel" : "WordPiece";
}

}  // namespace

Made make_model(ModelSpec& spec) {
  if (!spec.model.is_object()) return core::fail(core::ErrorCode::kCorrupt, "tokenizer.json", "no \"model\"");
  LAMINA_ASSIGN(const std::string type, string_field(spec.model, "type", guess_type(spec.model), "model"));
  for (const Maker& maker : kMakers) {
    if (maker.type == type) return maker.make(spec);
  }
  return core::fail(core::ErrorCode::kUnsupported, "model", "unknown type \"{}\"", type);
}

}  // namespace lamina::text
