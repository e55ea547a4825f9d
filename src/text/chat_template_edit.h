#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "core/result.h"
#include "text/chat_template.h"

namespace lamina::text {

/// Messages as the template sees them; absent: as they came.
struct EditedMessages {
  std::optional<nlohmann::ordered_json> messages;
  std::string partial;  ///< the text that the model goes on writing
};

/// Gives reasoning its two names, and marks the end of the text to be continued.
core::Result<EditedMessages> edit_messages(const ChatTemplateInput& input, std::string_view source);

/// The rendered text up to the mark. An error if the template left out `partial`.
core::Result<std::string> cut_behind(std::string rendered, std::string_view partial);

}  // namespace lamina::text
