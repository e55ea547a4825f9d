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
inline constexpr std::string_view kStatisticsKey = "lamina.statistics";  ///< checksums of the calibration texts
/// The object of config.json in which a folder keeps what a GGUF file said of itself, by key.
inline constexpr const char* kGeneralKey = "gguf_metadata";

/// Sets the metadata of a GGUF file from a flat configuration: whole numbers as uint32 (int32 when negative), those of
/// `real_keys` and fractions as float32, lists of one kind. kUnsupported: a value of another kind.
core::Status set_config(format::GgufWriter& writer, const nlohmann::json& config,
                        const std::set<std::string>& real_keys);
/// Sets tokenizer.ggml.* and the chat template.
void set_tokenizer(format::GgufWriter& writer, const text::TokenizerData& data,
                   const std::optional<std::string>& chat_template);
/// Sets general.file_type (the format of most bytes) and general.quantization_version.
void set_file_type(format::GgufWriter& writer, std::span<const OutputTensor> tensors);

/// What a GGUF file says of itself (general.name, licence, languages, authors, ...) as an object; an array of arrays is
/// left out. Not what every file has of its own: architecture, alignment, file type.
nlohmann::json general_metadata(const format::Gguf& gguf);
/// Sets what general_metadata() once gave, as config.json keeps it.
core::Status set_general(format::GgufWriter& writer, const nlohmann::json& config);
/// The names of a head's labels: those of config.json's id2label, or LABEL_0 and so on.
std::vector<std::string> label_names(const nlohmann::json& config, int64_t count);
/// Sets id2label and label2id.
void set_labels(nlohmann::json& config, const std::vector<std::string>& names);

/// Completes a translated config.json: which tensors there are, ids of special tokens, the number format.
void finish_config(models::Translation& translation, std::span<const OutputTensor> tensors,
                   const text::TokenizerData& tokenizer);

/// The tokenizer of a folder in the words of GGUF, its ids completed by config.json.
core::Result<text::TokenizerData> tokenizer_of_folder(const format::ModelFiles& files, int64_t rows);

}  // namespace lamina::compress
