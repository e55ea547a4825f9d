#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "compress/output_tensor.h"
#include "core/result.h"
#include "format/gguf_writer.h"
#include "models/model.h"
#include "models/translate.h"
#include "text/tokenizer.h"

namespace lamina::compress {

/// Keys that carry what was done to the weights.
inline constexpr std::string_view kRecipeKey = "lamina.recipe";

/// Sets the metadata of a GGUF file from a flat configuration: whole numbers as uint32 (int32 when negative), those of
/// `real_keys` and fractions as float32, lists of one kind. kUnsupported: a value of another kind.
core::Status set_config(format::GgufWriter& writer, const nlohmann::json& config,
                        const std::set<std::string>& real_keys);
/// Sets tokenizer.ggml.* and the chat template.
void set_tokenizer(format::GgufWriter& writer, const text::TokenizerData& data,
                   const std::optional<std::string>& chat_template);
/// Sets general.file_type (the format of most bytes) and general.quantization_version.
void set_file_type(format::GgufWriter& writer, std::span<const OutputTensor> tensors);

/// Completes a translated config.json: which tensors there are, ids of special tokens, the number format.
void finish_config(models::Translation& translation, std::span<const OutputTensor> tensors,
                   const text::TokenizerData& tokenizer);

/// The tokenizer of a folder in the words of GGUF, its ids completed by config.json.
core::Result<text::TokenizerData> tokenizer_of_folder(const format::ModelFiles& files, int64_t rows);

}  // namespace lamina::compress
