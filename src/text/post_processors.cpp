#include "text/post_processors.h"

#include "text/components.h"
#include "text/tokenizer_parts.h"

namespace lamina::text {
namespace {

constexpr size_t kMaxFrame = 4096;
using Frame = std::vector<int32_t>;

core::Result<int32_t> read_id(const json& value, std::string_view place) {
  if (!value.is_number_integer() || value.get<int64_t>() < 0 || value.get<int64_t>() >= kMaxVocabulary) {
    return core::fail(core::ErrorCode::kCorrupt, place, "a token id expected, not {}",
                      value.dump(-1, ' ', true, json::error_handler_t::replace));
  }
  return value.get<int32_t>();
}

core::Status add_template_token(const json& spec, const json& item, std::string_view place, Frame& out) {
  LAMINA_ASSIGN(const std::string name, string_field(item, "id", "", place));
  const json& token = member(member(spec, "special_tokens"), name.c_str());
  const json& ids = member(token, "ids");
  if (!ids.is_array()) {
    return core::fail(core::ErrorCode::kCorrupt, place, "\"{}\" is not among the \"special_tokens\"", name);
  }
  for (const json& value : ids) {
    LAMINA_ASSIGN(const int32_t id, read_id(value, place));
    out.push_back(id);
  }
  return {};
}

/// "single" of TemplateProcessing: special tokens and, once or more, the text.
core::Result<Frame> read_template(const json& spec, std::string_view place) {
  const json& single = member(spec, "single");
  if (!single.is_array()) return core::fail(core::ErrorCode::kCorrupt, place, "\"single\" must be a list");
  Frame out;
  for (const json& item : single) {
    if (!member(item, "SpecialToken").is_null()) {
      LAMINA_CHECK_OK(add_template_token(spec, member(item, "SpecialToken"), place, out));
    } else if (member(member(item, "Sequence"), "id") == "A") {
      out.push_back(kTextSlot);
    } else {
      return core::fail(core::ErrorCode::kCorrupt, place, "\"single\" may hold special tokens and sequence A only");
    }
  }
  return out;
}

/// BertProcessing and RobertaProcessing: "cls" and "sep" are [text, id].
core::Result<Frame> read_cls_sep(const json& spec, std::string_view place) {
  const json& cls = member(spec, "cls");
  const json& sep = member(spec, "sep");
  if (!cls.is_array() || cls.size() != 2 || !sep.is_array() || sep.size() != 2) {
    return core::fail(core::ErrorCode::kCorrupt, place, "\"cls\" and \"sep\" must be [text, id]");
  }
  LAMINA_ASSIGN(const int32_t first, read_id(cls[1], place));
  LAMINA_ASSIGN(const int32_t last, read_id(sep[1], place));
  return Frame{first, kTextSlot, last};
}

/// Byte-level processing only moves offsets.
core::Result<Frame> read_nothing(const json& /*spec*/, std::string_view /*place*/) {
  return Frame{kTextSlot};
}

struct Maker {
  std::string_view type;
  core::Result<Frame> (*read)(const json& spec, std::string_view place);
};

constexpr Maker kMakers[] = {
    {"TemplateProcessing", read_template},
    {"BertProcessing", read_cls_sep},
    {"RobertaProcessing", read_cls_sep},
    {"ByteLevel", read_nothing},
};

/// Puts `frame`, the outcome of earlier processors, where the later one has the text.
core::Status wrap(const Frame& outer, Frame& frame) {
  Frame out;
  for (const int32_t id : outer) {
    if (id == kTextSlot) {
      out.insert(out.end(), frame.begin(), frame.end());
    } else {
      out.push_back(id);
    }
    if (out.size() > kMaxFrame) {
      return core::fail(core::ErrorCode::kLimit, "post_processor", "more than {} tokens", kMaxFrame);
    }
  }
  frame = std::move(out);
  return {};
}

}  // namespace

core::Result<std::vector<int32_t>> make_frame(const nlohmann::json& spec) {
  Frame frame{kTextSlot};
  if (spec.is_null()) return frame;
  constexpr ComponentKind kKind{"post_processor", "processors"};
  const auto apply = [&](const Maker& maker, const json& part, const std::string& place) -> core::Status {
    LAMINA_ASSIGN(const Frame outer, maker.read(part, place));
    return wrap(outer, frame);
  };
  LAMINA_CHECK_OK(visit_components<Maker>(spec, kKind, kMakers, apply));
  return frame;
}

}  // namespace lamina::text
