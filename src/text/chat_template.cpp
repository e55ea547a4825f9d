#include "text/chat_template.h"

#include <new>
#include <utility>
#include <vector>

#include "text/chat_template_edit.h"
#include "text/jinja_eval.h"
#include "text/jinja_lexer.h"
#include "text/jinja_parser.h"
#include "text/jinja_unicode.h"

namespace lamina::text {
namespace {

constexpr std::string_view kPlace = "chat template";
using Arguments = std::vector<std::pair<std::string, jinja::Value>>;

std::unexpected<core::Error> to_error(const jinja::Failure& failure, int line) {
  if (failure.line > 0) line = failure.line;
  return std::unexpected(core::Error{failure.code, fmt::format("{}, line {}", kPlace, line), failure.message});
}

std::unexpected<core::Error> out_of_memory() {
  return core::fail(core::ErrorCode::kLimit, kPlace, "not enough memory to render it");
}

jinja::Value checked_text(const std::string& text, std::string_view name) {
  if (!jinja::is_utf8(text)) jinja::raise("{} is not UTF-8", name);
  return jinja::Value::text(text);
}

Arguments make_arguments(const ChatTemplateInput& input, const nlohmann::ordered_json& messages) {
  Arguments arguments;
  arguments.emplace_back("messages", jinja::from_json(messages));
  arguments.emplace_back("tools", jinja::from_json(input.tools));
  arguments.emplace_back("documents", jinja::Value());
  arguments.emplace_back("add_generation_prompt", jinja::Value(input.add_generation_prompt));
  arguments.emplace_back("bos_token", checked_text(input.bos_token, "bos_token"));
  arguments.emplace_back("eos_token", checked_text(input.eos_token, "eos_token"));
  if (input.extra.is_null()) return arguments;
  if (!input.extra.is_object()) jinja::raise("the extra arguments must be an object");
  for (const auto& [name, value] : input.extra.items()) arguments.emplace_back(name, jinja::from_json(value));
  return arguments;
}

}  // namespace

struct ChatTemplate::Program {
  jinja::Body body;
};

ChatTemplate::ChatTemplate(std::string source, std::unique_ptr<const Program> program)
    : source_(std::move(source)), program_(std::move(program)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

core::Result<ChatTemplate> ChatTemplate::compile(std::string source) {
  try {
    auto program = std::make_unique<Program>();
    program->body = jinja::Parser(jinja::tokenize(source)).parse();
    return ChatTemplate(std::move(source), std::move(program));
  } catch (const jinja::Failure& failure) {
    return to_error(failure, 1);
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  }
}

core::Result<std::string> ChatTemplate::render(const ChatTemplateInput& input, const TemplateLimits& limits) const {
  Arguments arguments;
  std::string partial;
  try {
    LAMINA_ASSIGN(const EditedMessages edited, edit_messages(input, source_));
    arguments = make_arguments(input, edited.messages ? *edited.messages : input.messages);
    partial = edited.partial;
  } catch (const jinja::Failure& failure) {
    return core::fail(failure.code, "chat template arguments", "{}", failure.message);
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  }
  jinja::Evaluator evaluator(limits, input.now_unix);
  try {
    std::string text = evaluator.render(program_->body, arguments);
    if (input.continue_field.empty()) return text;
    return cut_behind(std::move(text), partial);
  } catch (const jinja::Failure& failure) {
    return to_error(failure, evaluator.line());
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  }
}

}  // namespace lamina::text
