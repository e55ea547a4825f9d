#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/result.h"

namespace lamina::text {

/// What a token is for; the values are GGUF's tokenizer.ggml.token_type less one.
enum class TokenType : uint8_t { kNormal, kUnknown, kControl, kUserDefined, kUnused, kByte };

/// What GGUF metadata say about a tokenizer. Absent numbers are -1, absent lists empty.
struct TokenizerData {
  std::string model;  ///< tokenizer.ggml.model: gpt2, llama, bert or t5
  std::string pre;    ///< tokenizer.ggml.pre: how byte-level text is cut into words
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<TokenType> types;
  std::vector<std::string> merges;  ///< "left right", lowest rank first
  int32_t bos = -1;
  int32_t eos = -1;
  int32_t eot = -1;
  int32_t eom = -1;
  int32_t unknown = -1;
  int32_t separator = -1;
  int32_t padding = -1;
  int32_t cls = -1;
  int32_t mask = -1;
  std::optional<bool> add_bos;
  std::optional<bool> add_eos;
  std::optional<bool> add_sep;
  std::optional<bool> add_space_prefix;
  std::optional<bool> remove_extra_whitespaces;
  std::vector<uint8_t> precompiled_charsmap;
};

struct EncodeOptions {
  bool add_special = true;  ///< put the tokens around the text that the model was trained with (BOS, CLS, ...)
  /// Control tokens written in the text, or arising in it by normalization, become those tokens; never do so with user
  /// text.
  bool parse_special = false;
};

/// The "truncation" and "padding" blocks of a tokenizer.json. They are told, never applied.
struct LengthSettings {
  std::optional<int64_t> truncate_to;
  bool truncate_left = false;
  bool pads = false;
  std::optional<int64_t> pad_to;  ///< absent with `pads`: the longest of a batch
  bool pad_left = false;
  int32_t pad_id = 0;
};

struct TokenizerParts;

/// Text to token ids and back. Immutable: any number of threads may use one at once.
class Tokenizer {
 public:
  /// From the metadata of a GGUF file. Errors (kCorrupt, kUnsupported) name the field, token or merge at fault.
  static core::Result<Tokenizer> from_data(TokenizerData data);
  /// From the contents of tokenizer.json and, if there is one, tokenizer_config.json (names of BOS, EOS, ...). Errors
  /// (kCorrupt, kUnsupported) name the component at fault.
  static core::Result<Tokenizer> from_json(std::string_view tokenizer_json,
                                           std::string_view tokenizer_config_json = {});

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Token ids of `text`. In broken UTF-8 each maximal invalid part counts as one U+FFFD, as errors="replace" in
  /// Python. Unless `parse_special`, no control token comes out of the text itself. Errors: kInvalid (a character has
  /// no token and there is no unknown token), kLimit (a pattern of the tokenizer gives up, or 2 GiB of text).
  core::Result<std::vector<int32_t>> encode(std::string_view text, const EncodeOptions& options = {}) const;

  /// The bytes that a token stands for inside a text (a part of a UTF-8 character, perhaps); special tokens give their
  /// text, ids out of range nothing.
  std::string piece(int32_t id) const;
  /// The same at the begin of a text, where some tokenizers leave a space out.
  std::string first_piece(int32_t id) const;
  /// Whether the pieces of a text's tokens, one after the other, are the text.
  bool decodes_by_token() const;
  /// The token as the vocabulary spells it; nothing for ids out of range.
  std::string token(int32_t id) const;
  /// The text of `ids`: what StreamDecoder gives for them, all at once.
  std::string decode(std::span<const int32_t> ids, bool skip_special = true) const;
  /// The id of a token, spelled as the vocabulary spells it.
  std::optional<int32_t> find(std::string_view token) const;

  int32_t vocabulary() const;  ///< 1 + the largest id
  int32_t bos() const;         ///< -1 if there is none; so are all below
  int32_t eos() const;
  int32_t eot() const;
  int32_t unknown() const;
  int32_t separator() const;
  int32_t padding() const;
  int32_t cls() const;
  int32_t mask() const;
  bool is_end(int32_t id) const;      ///< EOS, EOT, or a well-known end-of-turn token: generation stops here
  bool is_special(int32_t id) const;  ///< a control or unknown token
  TokenType type(int32_t id) const;
  const LengthSettings& lengths() const;
  /// Whether a pair of texts is CLS A SEP B SEP: known of WordPiece tokenizers in GGUF files, which have no template.
  bool pairs_by_names() const;

 private:
  friend class StreamDecoder;
  explicit Tokenizer(std::unique_ptr<const TokenizerParts> parts);

  std::unique_ptr<const TokenizerParts> parts_;
};

/// Decodes tokens one by one and never emits half a UTF-8 character. The concatenation of all that it returns is valid
/// UTF-8 and equals `Tokenizer::decode`.
class StreamDecoder {
 public:
  /// `tokenizer` must outlive the decoder. Special tokens give nothing if `skip_special`.
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = true);
  /// Special tokens that give their text in any case.
  void show(std::vector<int32_t> shown) { shown_ = std::move(shown); }
  /// What has become certain with token `id`; ids out of range count as nothing.
  std::string push(int32_t id);
  /// The rest; broken bytes become U+FFFD. The decoder starts anew.
  std::string finish();

 private:
  std::string take(bool all);

  const TokenizerParts* parts_;
  bool skip_special_;
  std::vector<int32_t> shown_;
  bool first_ = true;
  int32_t previous_ = -1;
  int64_t strip_left_;
  std::string pending_;
};

}  // namespace lamina::text
