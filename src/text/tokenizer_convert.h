#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/result.h"
#include "text/tokenizer.h"

namespace lamina::text {

/// The GGUF metadata that make the same tokenizer as tokenizer.json and tokenizer_config.json (which may be empty).
/// `rows` of the embedding without a token become unused ones. kUnsupported names the part that GGUF has no words for,
/// or a text of a small set that the two tokenizers would not cut alike.
core::Result<TokenizerData> data_from_json(std::string_view tokenizer_json, std::string_view config_json, int64_t rows);

/// Contents of tokenizer.json and tokenizer_config.json.
struct TokenizerFiles {
  std::string tokenizer;
  std::string config;
};

/// The files that make the same tokenizer as the metadata. Errors as data_from_json().
core::Result<TokenizerFiles> files_from_data(const TokenizerData& data,
                                             const std::optional<std::string>& chat_template);

}  // namespace lamina::text
