#include "text/pair_template.h"

#include <algorithm>

#include "text/json_fields.h"
#include "text/tokenizer_parts.h"

namespace lamina::text {

using core::ErrorCode;
using core::fail;
using core::Result;

namespace {

constexpr const char* kPlace = "post_processor";

Result<int32_t> read_number(const json& value, int64_t bound) {
  if (!value.is_number_integer() || value.get<int64_t>() < 0 || value.get<int64_t>() >= bound) {
    return fail(ErrorCode::kCorrupt, kPlace, "{} where a number below {} is expected",
                value.dump(-1, ' ', true, json::error_handler_t::replace), bound);
  }
  return value.get<int32_t>();
}

/// The processor that frames texts: itself, or one of a Sequence; null when there is none.
const json* framing_part(const json* processor) {
  if (member(*processor, "type") != "Sequence") return processor;
  const json& list = member(*processor, "processors");
  if (!list.is_array()) return nullptr;
  const auto found = std::ranges::find_if(list, [](const json& part) { return member(part, "type") != "ByteLevel"; });
  return found == list.end() ? nullptr : &*found;
}

}  // namespace

core::Status PairTemplate::check() const {
  const auto count = [&](int32_t id) { return std::ranges::count(items_, id, &Item::id); };
  if (count(kFirst) == 1 && count(kSecond) == 1) return {};
  return fail(ErrorCode::kCorrupt, kPlace, "the template of pairs must hold each text once");
}

Result<PairTemplate> PairTemplate::from_json(std::string_view tokenizer_json) {
  const json root = json::parse(tokenizer_json, nullptr, false);
  const json* framing = framing_part(&member(root, "post_processor"));
  const json& part = framing == nullptr ? member(root, "") : *framing;
  PairTemplate out;
  const json& type = member(part, "type");
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    const json& cls = member(part, "cls");
    const json& sep = member(part, "sep");
    if (!cls.is_array() || cls.size() != 2 || !sep.is_array() || sep.size() != 2) {
      return fail(ErrorCode::kCorrupt, kPlace, "\"cls\" and \"sep\" must be [text, id]");
    }
    LAMINA_ASSIGN(const int32_t first, read_number(cls[1], kMaxVocabulary));
    LAMINA_ASSIGN(const int32_t last, read_number(sep[1], kMaxVocabulary));
    const bool doubled = type == "RobertaProcessing";
    out.items_ = {{first, 0}, {kFirst, 0}, {last, 0}};
    if (doubled) out.items_.push_back({last, 0});
    out.items_.insert(out.items_.end(), {{kSecond, doubled ? 0 : 1}, {last, doubled ? 0 : 1}});
    return out;
  }
  const json& pair = member(part, "pair");
  if (type != "TemplateProcessing" || !pair.is_array()) {
    return fail(ErrorCode::kUnsupported, kPlace, "the tokenizer has no template for pairs of texts");
  }
  for (const json& item : pair) {
    const json& special = member(item, "SpecialToken");
    const json& sequence = member(item, "Sequence");
    LAMINA_ASSIGN(const int32_t type_id,
                  read_number(member(special.is_null() ? sequence : special, "type_id"), 1 << 16));
    if (special.is_null()) {
      out.items_.push_back({member(sequence, "id") == "A" ? kFirst : kSecond, type_id});
      continue;
    }
    const json& name = member(special, "id");
    const json& ids =
        name.is_string()
            ? member(member(member(part, "special_tokens"), name.get_ref<const std::string&>().c_str()), "ids")
            : name;
    if (!ids.is_array()) return fail(ErrorCode::kCorrupt, kPlace, "a token of the template of pairs has no ids");
    for (const json& id : ids) {
      LAMINA_ASSIGN(const int32_t token, read_number(id, kMaxVocabulary));
      out.items_.push_back({token, type_id});
    }
  }
  LAMINA_CHECK_OK(out.check());
  return out;
}

Result<PairTemplate> PairTemplate::from_names(const Tokenizer& tokenizer) {
  if (!tokenizer.pairs_by_names()) {
    return fail(ErrorCode::kUnsupported, "tokenizer",
                "the file does not say which tokens go around a pair of texts; a WordPiece tokenizer, or a folder with "
                "tokenizer.json, expected");
  }
  const int32_t first = tokenizer.cls() >= 0 ? tokenizer.cls() : tokenizer.bos();
  const int32_t last = tokenizer.separator() >= 0 ? tokenizer.separator() : tokenizer.eos();
  if (first < 0 || last < 0) {
    return fail(ErrorCode::kUnsupported, "tokenizer", "it names no CLS and SEP tokens to put around a pair of texts");
  }
  PairTemplate out;
  out.items_ = {{first, 0}, {kFirst, 0}, {last, 0}, {kSecond, 1}, {last, 1}};
  return out;
}

PairTokens PairTemplate::fill(std::span<const int32_t> first, std::span<const int32_t> second) const {
  PairTokens out;
  for (const Item& item : items_) {
    if (item.id >= 0) {
      out.ids.push_back(item.id);
    } else {
      const auto text = item.id == kFirst ? first : second;
      out.ids.insert(out.ids.end(), text.begin(), text.end());
    }
    out.types.resize(out.ids.size(), item.type);
  }
  return out;
}

}  // namespace lamina::text
