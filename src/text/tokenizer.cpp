#include "text/tokenizer.h"

#include <algorithm>
#include <utility>

#include "text/tokenizer_parts.h"
#include "text/utf8.h"
#include "text/word_cache.h"

namespace lamina::text {
namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 31;

/// Control tokens that end a turn or a text in published models, whatever the metadata call them.
constexpr std::string_view kEndTokens[] = {
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<EOT>",
    "_<EOT>",
    "<end_of_utterance>",
    "<|return|>",
    "<|call|>",
    "<eos>",
    "<|eos|>",
    "<\uFF5Cend\u2581of\u2581sentence\uFF5C>",
    "</s>",
    "<|END_OF_TURN_TOKEN|>",
};

core::Status encode_words(const TokenizerParts& parts, bool control, Words& words, std::vector<int32_t>& ids) {
  for (const auto& step : parts.pre.steps) LAMINA_CHECK_OK(step->apply(words));
  const WordCache::Lease cache;
  for (const Words::Word& word : words.words) {
    LAMINA_CHECK_OK(parts.model->encode(words.view(word), control, *cache, ids));
  }
  return {};
}

/// Normalizes one stretch without raw tokens, cuts out the tokens of normalized text and encodes the rest.
core::Status encode_section(const TokenizerParts& parts, std::string_view text, bool at_start, bool parse_special,
                            std::vector<int32_t>& ids) {
  NormalText normal{std::string(text), at_start};
  LAMINA_CHECK_OK(normalize(parts.normalizers, normal));
  std::vector<Section> sections;
  parts.normalized_tokens.split(normal.text, parse_special, sections);
  for (const Section& section : sections) {
    if (section.token >= 0) {
      ids.push_back(section.token);
      continue;
    }
    Words words;
    words.buffer =
        sections.size() == 1 ? std::move(normal.text) : normal.text.substr(section.begin, section.end - section.begin);
    words.words.push_back({0, words.buffer.size(), normal.at_start && section.begin == 0});
    LAMINA_CHECK_OK(encode_words(parts, parse_special, words, ids));
  }
  return {};
}

}  // namespace

core::Status TokenizerParts::add_tokens(const std::vector<AddedToken>& tokens) {
  for (const AddedToken& token : tokens) {
    if (!token.normalized) {
      LAMINA_CHECK_OK(raw_tokens.add(token, token.content));
      continue;
    }
    NormalText normal{token.content, true};
    LAMINA_CHECK_OK(normalize(normalizers, normal));
    LAMINA_CHECK_OK(normalized_tokens.add(token, normal.text));
  }
  return {};
}

core::Result<std::string> TokenizerParts::make_piece(int32_t id, bool first) const {
  const std::string& text = texts[static_cast<size_t>(id)];
  if (decode.byte_level && is_added(id)) return text;
  return decode.piece(text, first);
}

core::Status TokenizerParts::finish() {
  ends.assign(texts.size(), false);
  size_t bytes = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    bytes += texts[i].size();
    const bool control = types[i] == TokenType::kControl;
    if (control && std::ranges::find(kEndTokens, texts[i]) != std::end(kEndTokens)) ends[i] = true;
    if (decode.may_fail) LAMINA_CHECK_OK(make_piece(static_cast<int32_t>(i), false));
  }
  if (ids.size() == 0) {
    ids.reserve(texts.size(), bytes);
    for (size_t i = 0; i < texts.size(); ++i) {
      if (!texts[i].empty()) ids.insert(texts[i], static_cast<int32_t>(i));
    }
  }
  for (const int32_t id : {eos, eot}) {
    if (in_range(id)) ends[static_cast<size_t>(id)] = true;
  }
  // Models that speak in channels end each of an answer's messages so, and the answer otherwise.
  const int32_t message_end = ids.find("<|end|>");
  const bool channels = in_range(ids.find("<|channel|>")) && in_range(ids.find("<|return|>"));
  if (channels && in_range(message_end)) ends[static_cast<size_t>(message_end)] = false;
  return {};
}

Tokenizer::Tokenizer(std::unique_ptr<const TokenizerParts> parts) : parts_(std::move(parts)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

core::Result<std::vector<int32_t>> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  if (text.size() >= kMaxTextBytes) {
    return core::fail(core::ErrorCode::kLimit, "text", "{} bytes; less than {} expected", text.size(), kMaxTextBytes);
  }
  std::string repaired;
  if (valid_prefix(text) != text.size()) {
    append_valid(repaired, text);
    text = repaired;
  }
  std::vector<int32_t> body;
  body.reserve(text.size() / 3);
  std::vector<Section> sections;
  parts_->raw_tokens.split(text, options.parse_special, sections);
  for (const Section& section : sections) {
    if (section.token >= 0) {
      body.push_back(section.token);
      continue;
    }
    LAMINA_CHECK_OK(encode_section(*parts_, text.substr(section.begin, section.end - section.begin), section.begin == 0,
                                   options.parse_special, body));
  }
  if (parts_->frame.size() == 1 && parts_->frame[0] == kTextSlot) return body;
  std::vector<int32_t> ids;
  ids.reserve(body.size() + parts_->frame.size());
  for (const int32_t id : parts_->frame) {
    if (id == kTextSlot) {
      ids.insert(ids.end(), body.begin(), body.end());
    } else if (options.add_special) {
      ids.push_back(id);
    }
  }
  return ids;
}

std::string Tokenizer::piece(int32_t id) const {
  if (!parts_->in_range(id)) return {};
  if (is_special(id)) return parts_->texts[static_cast<size_t>(id)];
  return parts_->make_piece(id, false).value_or("");
}

std::string Tokenizer::first_piece(int32_t id) const {
  if (!parts_->in_range(id)) return {};
  if (is_special(id)) return parts_->texts[static_cast<size_t>(id)];
  std::string piece = parts_->make_piece(id, true).value_or("");
  const std::string& strip = parts_->decode.strip_character;
  for (int64_t i = 0; i < parts_->decode.strip_count && piece.starts_with(strip); ++i) piece.erase(0, strip.size());
  return piece;
}

bool Tokenizer::decodes_by_token() const {
  return !parts_->decode.joins_equal && !parts_->decode.hold_trailing_space;
}

std::string Tokenizer::token(int32_t id) const {
  return parts_->in_range(id) ? parts_->texts[static_cast<size_t>(id)] : std::string();
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  StreamDecoder decoder(*this, skip_special);
  std::string out;
  for (const int32_t id : ids) out += decoder.push(id);
  return out + decoder.finish();
}

std::optional<int32_t> Tokenizer::find(std::string_view token) const {
  const int32_t id = parts_->ids.find(token);
  return id < 0 ? std::nullopt : std::optional(id);
}

int32_t Tokenizer::vocabulary() const {
  return static_cast<int32_t>(parts_->texts.size());
}
int32_t Tokenizer::bos() const {
  return parts_->bos;
}
int32_t Tokenizer::eos() const {
  return parts_->eos;
}
int32_t Tokenizer::eot() const {
  return parts_->eot;
}
int32_t Tokenizer::unknown() const {
  return parts_->unknown;
}
int32_t Tokenizer::separator() const {
  return parts_->separator;
}
int32_t Tokenizer::padding() const {
  return parts_->padding;
}
int32_t Tokenizer::cls() const {
  return parts_->cls;
}
int32_t Tokenizer::mask() const {
  return parts_->mask;
}
const LengthSettings& Tokenizer::lengths() const {
  return parts_->lengths;
}

bool Tokenizer::pairs_by_names() const {
  return parts_->pairs_by_names;
}

bool Tokenizer::is_end(int32_t id) const {
  return parts_->in_range(id) && parts_->ends[static_cast<size_t>(id)];
}

bool Tokenizer::is_special(int32_t id) const {
  const TokenType kind = type(id);
  return kind == TokenType::kControl || kind == TokenType::kUnknown;
}

TokenType Tokenizer::type(int32_t id) const {
  return parts_->in_range(id) ? parts_->types[static_cast<size_t>(id)] : TokenType::kUnused;
}

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special)
    : parts_(tokenizer.parts_.get()), skip_special_(skip_special), strip_left_(parts_->decode.strip_count) {}

std::string StreamDecoder::push(int32_t id) {
  if (!parts_->in_range(id)) return {};
  const auto index = static_cast<size_t>(id);
  const TokenType type = parts_->types[index];
  const bool special = type == TokenType::kControl || type == TokenType::kUnknown;
  if (skip_special_ && special && std::ranges::find(shown_, id) == shown_.end()) return {};
  if (parts_->decode.joins_equal && id == std::exchange(previous_, id)) return {};
  // The pattern of a decoder gave up on no token at load, so it gives up on none now.
  pending_ += parts_->make_piece(id, std::exchange(first_, false)).value_or("");
  const std::string& strip = parts_->decode.strip_character;
  while (strip_left_ > 0 && pending_.size() >= strip.size()) {
    if (!pending_.starts_with(strip)) {
      strip_left_ = 0;
    } else {
      pending_.erase(0, strip.size());
      --strip_left_;
    }
  }
  return take(false);
}

std::string StreamDecoder::finish() {
  if (parts_->decode.hold_trailing_space && pending_.ends_with(' ')) pending_.pop_back();
  std::string out = take(true);
  first_ = true;
  previous_ = -1;
  strip_left_ = parts_->decode.strip_count;
  return out;
}

/// Emits what is certain: all but an unfinished character and a held space.
std::string StreamDecoder::take(bool all) {
  size_t end = pending_.size();
  if (!all) {
    if (strip_left_ > 0 && pending_.size() < parts_->decode.strip_character.size()) return {};
    if (parts_->decode.hold_trailing_space && pending_.ends_with(' ')) --end;
    for (size_t back = 1; back <= 3 && back <= end; ++back) {
      const Utf8Step step = decode_any(std::string_view(pending_).substr(end - back, back));
      if ((static_cast<unsigned char>(pending_[end - back]) & 0xC0) != 0x80) {
        if (step.cut) end -= back;
        break;
      }
    }
  }
  std::string out;
  append_valid(out, std::string_view(pending_).substr(0, end));
  pending_.erase(0, end);
  return out;
}

}  // namespace lamina::text
