#include "serve/answer_form.h"

#include <algorithm>
#include <array>

namespace lamina::serve {

namespace {

constexpr ArgumentTags kFunctionTags{.name_begin = "<function=",
                                     .name_end = ">\n",
                                     .key_begin = "<parameter=",
                                     .key_end = ">\n",
                                     .value_begin = "",
                                     .value_end = "\n</parameter>\n",
                                     .close = "</function>"};
constexpr ArgumentTags kArgumentTags{.name_begin = "",
                                     .name_end = "\n",
                                     .key_begin = "<arg_key>",
                                     .key_end = "</arg_key>\n",
                                     .value_begin = "<arg_value>",
                                     .value_end = "</arg_value>\n",
                                     .close = "</tool_call>"};

/// The first whose marks are all in the template counts.
constexpr std::array kToolForms{
    ToolForm{.name = "harmony", .marks = {channel_marks::kChannel, channel_marks::kMessage}, .channels = true},
    ToolForm{.name = "xml-functions",
             .marks = {"<function=", "<parameter="},
             .begin = "<tool_call>\n",
             .end = "\n</tool_call>",
             .between = "\n",
             .tags = &kFunctionTags},
    ToolForm{.name = "xml-arguments",
             .marks = {"<arg_key>", "<arg_value>"},
             .begin = "<tool_call>",
             .between = "\n",
             .tags = &kArgumentTags},
    ToolForm{.name = "fenced",
             .marks = {"<｜tool▁call▁begin｜>", "```json"},
             .block_begin = "<｜tool▁calls▁begin｜>",
             .block_end = "<｜tool▁calls▁end｜>",
             .begin = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
             .end = "\n```<｜tool▁call▁end｜>",
             .between = "\n",
             .middle = "\n```json\n"},
    ToolForm{.name = "separated",
             .marks = {"<｜tool▁call▁begin｜>", "<｜tool▁sep｜>"},
             .block_begin = "<｜tool▁calls▁begin｜>",
             .block_end = "<｜tool▁calls▁end｜>",
             .begin = "<｜tool▁call▁begin｜>",
             .end = "<｜tool▁call▁end｜>",
             .middle = "<｜tool▁sep｜>"},
    ToolForm{.name = "bracket-named", .marks = {"[TOOL_CALLS]", "[ARGS]"}, .begin = "[TOOL_CALLS]", .middle = "[ARGS]"},
    ToolForm{.name = "bracket-list", .marks = {"[TOOL_CALLS]", ""}, .block_begin = "[TOOL_CALLS]", .list = true},
    ToolForm{.name = "bar-list", .marks = {"<|tool_call|>", ""}, .block_begin = "<|tool_call|>", .list = true},
    ToolForm{.name = "hermes",
             .marks = {"<tool_call>", ""},
             .begin = "<tool_call>\n",
             .end = "\n</tool_call>",
             .between = "\n"},
    ToolForm{.name = "bare-parameters",
             .marks = {"\"parameters\"", "ipython"},
             .begin = "<|python_tag|>",
             .arguments_key = "parameters",
             .bare = true},
    // What models without a form of their own are asked to write.
    ToolForm{.name = "generic",
             .marks = {"", ""},
             .begin = "<tool_call>\n",
             .end = "\n</tool_call>",
             .between = "\n",
             .bare = true},
};

constexpr std::array kThinkForms{ThinkForm{"<think>", "</think>"}, ThinkForm{"[THINK]", "[/THINK]"},
                                 ThinkForm{"<seed:think>", "</seed:think>"}};

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

}  // namespace

std::span<const ToolForm> tool_forms() {
  return kToolForms;
}

AnswerForm find_answer_form(std::string_view chat_template, const text::Tokenizer& tokenizer) {
  AnswerForm form;
  form.renders_tools = contains(chat_template, "tools") && contains(chat_template, "tool_calls");
  form.tools = &*std::ranges::find_if(kToolForms, [&](const ToolForm& one) {
    return std::ranges::all_of(one.marks, [&](std::string_view mark) { return contains(chat_template, mark); });
  });
  if (!form.renders_tools && !form.tools->channels) form.tools = &kToolForms.back();
  for (const ThinkForm& one : kThinkForms) {
    if (form.thinks == nullptr && contains(chat_template, one.close)) form.thinks = &one;
  }
  std::vector<std::string_view> tags{form.tools->block_begin, form.tools->block_end, form.tools->begin, form.tools->end,
                                     form.tools->middle};
  if (form.thinks != nullptr) tags.insert(tags.end(), {form.thinks->open, form.thinks->close});
  for (const std::string_view mark : {channel_marks::kStart, channel_marks::kChannel, channel_marks::kConstrain,
                                      channel_marks::kMessage, channel_marks::kEnd, channel_marks::kCall}) {
    if (form.tools->channels) tags.push_back(mark);
  }
  for (int32_t id = 0; id < tokenizer.vocabulary(); ++id) {
    if (tokenizer.type(id) != text::TokenType::kControl || tokenizer.is_end(id)) continue;
    const std::string token = tokenizer.piece(id);
    const auto holds = [&](std::string_view tag) { return !token.empty() && contains(tag, token); };
    if (std::ranges::any_of(tags, holds)) form.shown.push_back(id);
  }
  return form;
}

}  // namespace lamina::serve
