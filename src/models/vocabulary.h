#pragma once

#include <optional>
#include <string>

#include "core/result.h"
#include "format/model_files.h"
#include "text/tokenizer.h"

namespace lamina::models {

class Model;

/// The tokenizer of a model: from GGUF metadata, or from tokenizer.json and tokenizer_config.json beside the weights.
core::Result<text::Tokenizer> load_tokenizer(const format::ModelFiles& files);

/// The same for a file or folder, which may hold tokenizer files only.
core::Result<text::Tokenizer> load_tokenizer(const std::filesystem::path& path);

/// What the metadata of a GGUF file say about its tokenizer, as they stand.
core::Result<text::TokenizerData> read_tokenizer_data(const format::Gguf& gguf);

/// An error with both sizes when the tokenizer makes tokens that the model has no row for.
core::Status check_vocabulary(const text::Tokenizer& tokenizer, const Model& model);

/// An error that names the first token in which the tokenizer of a draft differs from that of the model that it drafts
/// for. Places that no text can use, which files fill up with, may differ.
core::Status check_same_tokens(const text::Tokenizer& tokenizer, const text::Tokenizer& draft);

/// The chat template's source, or nothing when the model has none (a base model).
core::Result<std::optional<std::string>> chat_template_source(const format::ModelFiles& files);
core::Result<std::optional<std::string>> chat_template_source(const std::filesystem::path& path);

}  // namespace lamina::models
