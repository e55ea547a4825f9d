#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "models/architecture.h"

namespace lamina::compress {

/// A setting's new value, null to remove it, and the key that it had.
struct Reworded {
  nlohmann::json value{};
  std::string before{};
};

/// GGUF settings that say of a model some of whose layers lack their attention what lamina.without.attn says, in the
/// words of the family that `write` names for it (attention_free): lists of heads with zeros, which llama.cpp reads.
/// Empty where there is no such layer or family, or where those words do not suffice: the first layer without
/// attention, other parts that are missing, experts.
std::map<std::string, Reworded> attention_free_words(const models::Architecture& architecture,
                                                     const nlohmann::json& config);

}  // namespace lamina::compress
