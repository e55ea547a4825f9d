#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "format/safetensors.h"
#include "format/safetensors_writer.h"
#include "stats/statistics.h"

/// What layers did with a text, beside squares and Gram matrices, in a file of statistics.
namespace lamina::stats {

/// Entries of the head, and tensors; the statistics must live until the file is written.
core::Status write_sums(const Statistics& statistics, format::SafetensorsWriter& writer, nlohmann::ordered_json& head);
/// kCorrupt where they are not what write_sums() wrote. Files without them are fine.
core::Status read_sums(const nlohmann::json& head, const format::Safetensors& file, const std::string& place,
                       Statistics& out);
/// Adds those of another part of the text. kInvalid: of other layers, or only one of them has them; nothing has changed
/// then.
core::Status merge_sums(const Statistics& other, Statistics& own);

}  // namespace lamina::stats
