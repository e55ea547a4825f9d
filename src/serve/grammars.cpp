#include "serve/grammars.h"

#include <algorithm>
#include <array>

#include "serve/fields.h"
#include "serve/served_model.h"
#include "serve/tag_text.h"
#include "text/json_schema.h"
#include "text/regex.h"

namespace lamina::serve {

namespace {

using core::Result;
using text::Grammar;
using text::Spelling;
using Part = Grammar::Part;

constexpr double kPrepareMilliseconds = 50;

constexpr std::array kFormatFields{
    Field{"type", FieldType::kText, "what the answer must be", true, 0, 0, "text|json_object|json_schema"},
    Field{"json_schema", FieldType::kObject, "{name, schema, strict, description}"}};
constexpr std::array kSchemaFields{Field{"name", FieldType::kText, "taken and not used", true, 0, 256},
                                   Field{"description", FieldType::kText, "taken and not used"},
                                   Field{"schema", FieldType::kObject, "a JSON schema", true},
                                   Field{"strict", FieldType::kFlag, "the answer keeps to the schema in any case"}};
constexpr std::array kStructuredFields{
    Field{"json", FieldType::kAny, "a JSON schema, as an object or its text"},
    Field{"regex", FieldType::kText, "a regular expression for the whole answer", false, 0, 1 << 16},
    Field{"choice", FieldType::kTexts, "texts of which the answer is one", false, 1, 4096},
    Field{"grammar", FieldType::kText, "a grammar in GBNF", false, 0, 1 << 20}};

Answer<AnswerRule> read_format(const Json& body) {
  Json format = body["response_format"];
  LAMINA_CHECK_OK(check_fields(format, kFormatFields, "response_format"));
  AnswerRule rule{.place = "response_format"};
  const auto& type = format["type"].get_ref<const std::string&>();
  if (type == "json_object") rule.kind = AnswerRule::Kind::kJsonObject;
  if (type != "json_schema") {
    if (format.contains("json_schema"))
      return refuse(400, "response_format.json_schema", "response_format.json_schema: only with type: json_schema");
    return rule;
  }
  if (!format.contains("json_schema"))
    return refuse(400, "response_format.json_schema", "response_format.json_schema: it is missing; an object expected");
  LAMINA_CHECK_OK(check_fields(format["json_schema"], kSchemaFields, "response_format.json_schema"));
  rule.kind = AnswerRule::Kind::kSchema;
  rule.schema = format["json_schema"]["schema"];
  rule.place = "response_format.json_schema.schema";
  return rule;
}

Answer<AnswerRule> read_structured(const Json& body) {
  Json fields = body["structured_outputs"];
  LAMINA_CHECK_OK(check_fields(fields, kStructuredFields, "structured_outputs"));
  if (fields.size() != 1)
    return refuse(400, "structured_outputs", "structured_outputs: one of json, regex, choice and grammar expected");
  const std::string kind = fields.begin().key();
  AnswerRule rule{.place = "structured_outputs." + kind};
  if (kind == "json") {
    rule.kind = AnswerRule::Kind::kSchema;
    rule.schema = fields["json"];
    if (rule.schema.is_string()) rule.schema = Json::parse(rule.schema.get<std::string>(), nullptr, false);
    if (!rule.schema.is_object() && !rule.schema.is_boolean())
      return refuse(400, rule.place, "{}: a JSON schema expected", rule.place);
  } else if (kind == "choice") {
    rule.kind = AnswerRule::Kind::kChoice;
    rule.schema = Json(texts_of(fields, "choice"));
  } else {
    rule.kind = kind == "regex" ? AnswerRule::Kind::kRegex : AnswerRule::Kind::kGrammar;
    rule.text = fields[kind].get<std::string>();
  }
  return rule;
}

/// Puts a grammar for an answer together.
class Maker {
 public:
  explicit Maker(const GrammarRequest& request) : request_(request), json_(grammar_) {}

  Result<Grammar> run() {
    if (request_.rule.kind == AnswerRule::Kind::kGrammar) {
      LAMINA_ASSIGN(grammar_, text::parse_grammar(request_.rule.text));
    }
    const Grammar::Rule root = grammar_.declare("answer");
    const bool channels = request_.form != nullptr && request_.form->tools->channels && !request_.continues;
    LAMINA_ASSIGN(Part part, channels ? messages() : body());
    if (request_.may_think) {
      LAMINA_ASSIGN(part, behind_thoughts(part));
    }
    LAMINA_CHECK_OK(json_.finish());
    grammar_.define(root, part);
    grammar_.root = root;
    return std::move(grammar_);
  }

 private:
  Result<Part> body() {
    const ToolUse& tools = request_.tools;
    if (tools.forced()) return calls();
    LAMINA_ASSIGN(const Part said, said_part());
    if (tools.choice != ToolChoice::kAuto) return said;
    // The model is free to call: what is said has no tag in it, and what follows the tag is a call.
    LAMINA_ASSIGN(const Part called, calls());
    if (request_.rule.kind != AnswerRule::Kind::kFree) return grammar_.choice({said, called});
    LAMINA_ASSIGN(const Part before, text_without(first_tag()));
    return grammar_.sequence({before, grammar_.choice({grammar_.sequence({}), called})});
  }

  Result<Part> said_part() {
    const AnswerRule& rule = request_.rule;
    switch (rule.kind) {
      case AnswerRule::Kind::kFree:
        return grammar_.characters(text::any_text(), Spelling::kPlain);
      case AnswerRule::Kind::kJsonObject:
        return json_.any_object();
      case AnswerRule::Kind::kSchema:
        return json_.add_schema(rule.schema, rule.place);
      case AnswerRule::Kind::kRegex: {
        LAMINA_ASSIGN(text::Automaton automaton, text::compile_regex(rule.text, text::RegexUse::kWhole));
        return grammar_.characters(std::move(automaton), Spelling::kPlain);
      }
      case AnswerRule::Kind::kChoice: {
        std::vector<Part> parts;
        for (const Json& one : rule.schema) parts.push_back(grammar_.bytes(one.get<std::string>()));
        return grammar_.choice(std::move(parts));
      }
      case AnswerRule::Kind::kGrammar:
        return grammar_.rule(grammar_.root);
    }
    return grammar_.sequence({});
  }

  std::string_view first_tag() const {
    const ToolForm& form = *request_.form->tools;
    return form.block_begin.empty() ? form.begin : form.block_begin;
  }

  /// A text in which the tag does not stand.
  Result<Part> text_without(std::string_view tag) {
    std::string pattern;
    for (const char c : tag)
      pattern += std::string_view("\\.*+?()[]{}|^$/-").find(c) != std::string_view::npos ? fmt::format("\\{}", c)
                                                                                         : std::string(1, c);
    LAMINA_ASSIGN(const text::Automaton with, text::compile_regex(pattern, text::RegexUse::kSearch));
    LAMINA_ASSIGN(text::Automaton without, text::subtract(text::any_text(), with));
    return grammar_.characters(std::move(without), Spelling::kPlain);
  }

  Result<Part> behind_thoughts(Part part) {
    const ThinkForm& thinks = *request_.form->thinks;
    LAMINA_ASSIGN(const Part thoughts, text_without(thinks.close));
    text::Automaton line{.states = {{.edges = {{'\n', '\n', 1}}}, {.accepts = true}}};
    const Part lines = grammar_.repeat(grammar_.characters(std::move(line), Spelling::kPlain), 0, 2);
    const Part rest = grammar_.sequence({thoughts, grammar_.bytes(std::string(thinks.close)), lines, part});
    if (request_.begins_inside) return rest;
    const Part opened = grammar_.sequence({grammar_.bytes(std::string(thinks.open)), rest});
    return grammar_.choice({opened, part});
  }

  /// An answer in channels: thoughts, or none, then what is said or a call.
  Result<Part> messages() {
    namespace marks = channel_marks;
    const ToolUse& tools = request_.tools;
    LAMINA_ASSIGN(const Part thoughts, text_without(marks::kEnd));
    const Part analysis =
        grammar_.sequence({grammar_.bytes(fmt::format("{}analysis{}", marks::kChannel, marks::kMessage)), thoughts,
                           grammar_.bytes(fmt::format("{}{}assistant", marks::kEnd, marks::kStart))});
    std::vector<Part> rest;
    for (const Tool& tool : tools.tools) {
      if (tools.choice == ToolChoice::kNone || (tools.choice == ToolChoice::kNamed && tool.name != tools.named))
        continue;
      LAMINA_ASSIGN(const Part arguments, json_.add_schema(tool.parameters, tool.place));
      rest.push_back(
          grammar_.sequence({grammar_.bytes(fmt::format("{}commentary to=functions.{} {}json{}", marks::kChannel,
                                                        tool.name, marks::kConstrain, marks::kMessage)),
                             arguments}));
    }
    if (!tools.forced()) {
      LAMINA_ASSIGN(const Part said, said_part());
      rest.push_back(
          grammar_.sequence({grammar_.bytes(fmt::format("{}final{}", marks::kChannel, marks::kMessage)), said}));
    }
    return grammar_.sequence({grammar_.choice({grammar_.sequence({}), analysis}), grammar_.choice(std::move(rest))});
  }

  /// The value of an argument that stands between tags: a text as it is, anything else as JSON.
  Result<Part> tagged_value(const Json& schema, const std::string& place, const ArgumentTags& tags) {
    if (!schema.is_object() || schema.value("type", Json()) != "string") return json_.add_schema(schema, place);
    if (schema.contains("enum")) {
      std::vector<Part> parts;
      for (const Json& one : schema["enum"]) {
        if (one.is_string()) parts.push_back(grammar_.bytes(one.get<std::string>()));
      }
      if (!parts.empty()) return grammar_.choice(std::move(parts));
    }
    for (const auto& [key, value] : schema.items()) {
      if (key == "type" || key == "description" || key == "title" || key == "default" || key == "examples") continue;
      return core::fail(core::ErrorCode::kUnsupported, fmt::format("{}/{}", place, key),
                        "this model writes texts between tags, where only enum can be kept to");
    }
    return text_without(core_of(tags.value_end));
  }

  /// A call with its arguments between tags.
  Result<Part> tagged_call(const Tool& tool, const ArgumentTags& tags) {
    const auto bytes = [&](std::string_view text) { return grammar_.bytes(std::string(text)); };
    const Json& schema = tool.parameters;
    std::vector<Part> parts{bytes(fmt::format("{}{}{}", tags.name_begin, tool.name, tags.name_end))};
    for (const auto& [key, value] : schema.items()) {
      static constexpr std::array<std::string_view, 7> kKnown{
          "type", "properties", "required", "additionalProperties", "description", "title", "$schema"};
      if (std::ranges::find(kKnown, key) != kKnown.end()) continue;
      return core::fail(core::ErrorCode::kUnsupported, fmt::format("{}#/{}", tool.place, key),
                        "this model writes arguments between tags: properties and required alone can be kept to");
    }
    const Json required = schema.value("required", Json::array());
    // The schemas must outlive the grammar's making: no copies.
    static const Json kNone = Json::object();
    const auto found = schema.find("properties");
    const Json& properties = found == schema.end() ? kNone : *found;
    for (const Json& key : required) {
      if (key.is_string() && properties.contains(key.get<std::string>())) continue;
      return core::fail(core::ErrorCode::kUnsupported, tool.place + "#/required",
                        "{} is required and stands in no properties", to_text(key));
    }
    for (const auto& [key, value] : properties.items()) {
      LAMINA_ASSIGN(const Part text, tagged_value(value, fmt::format("{}#/properties/{}", tool.place, key), tags));
      const Part whole =
          grammar_.sequence({bytes(fmt::format("{}{}{}{}", tags.key_begin, key, tags.key_end, tags.value_begin)), text,
                             bytes(tags.value_end)});
      const bool must = std::ranges::find(required, Json(key)) != required.end();
      parts.push_back(must ? whole : grammar_.choice({whole, grammar_.sequence({})}));
    }
    parts.push_back(bytes(tags.close));
    return grammar_.sequence(std::move(parts));
  }

  Result<Part> call(const Tool& tool) {
    const ToolForm& form = *request_.form->tools;
    if (form.tags != nullptr) return tagged_call(tool, *form.tags);
    LAMINA_ASSIGN(const Part arguments, json_.add_schema(tool.parameters, tool.place));
    if (!form.middle.empty())
      return grammar_.sequence({grammar_.bytes(tool.name + std::string(form.middle)), arguments});
    const std::string begin =
        fmt::format("{{\"{}\": {}, \"{}\": ", form.name_key, text::json_text(tool.name), form.arguments_key);
    return grammar_.sequence({grammar_.bytes(begin), arguments, grammar_.bytes("}")});
  }

  /// One call or several, with all tags around them.
  Result<Part> calls() {
    const ToolForm& form = *request_.form->tools;
    const ToolUse& use = request_.tools;
    std::vector<Part> parts;
    for (const Tool& tool : use.tools) {
      if (use.choice == ToolChoice::kNamed && tool.name != use.named) continue;
      LAMINA_ASSIGN(const Part one, call(tool));
      parts.push_back(one);
    }
    const Part any = grammar_.choice(std::move(parts));
    const auto bytes = [&](std::string_view text) { return grammar_.bytes(std::string(text)); };
    // A bare call has no tags; nothing could stand between two.
    const bool bare = form.bare && !form.middle.empty();
    const bool closed = form.end.size() + form.middle.size() > 0 || form.tags != nullptr;
    const bool tagged = !form.begin.empty() && !bare && closed;
    const Part tagged_call = tagged ? grammar_.sequence({bytes(form.begin), any, bytes(form.end)}) : any;
    const bool several = use.parallel && use.choice != ToolChoice::kNamed && (tagged || form.list);
    const Part next = grammar_.sequence({bytes(form.list ? ", " : form.between), tagged_call});
    const Part all = several ? grammar_.sequence({tagged_call, grammar_.repeat(next, 0, kMostCalls - 1)}) : tagged_call;
    return grammar_.sequence({bytes(form.block_begin), bytes(form.list ? "[" : ""), all, bytes(form.list ? "]" : ""),
                              bytes(form.block_end)});
  }

  static constexpr int kMostCalls = 16;

  const GrammarRequest& request_;
  Grammar grammar_;
  text::JsonGrammar json_;
};

/// Whether anything is asked of the answer at all.
bool is_free(const GrammarRequest& request) {
  if (request.rule.kind != AnswerRule::Kind::kFree || request.tools.forced()) return false;
  if (!request.tools.active() || std::ranges::none_of(request.tools.tools, &Tool::strict)) return true;
  const ToolForm& form = *request.form->tools;
  return !form.channels && form.begin.size() + form.block_begin.size() == 0;
}

std::string key_of(const GrammarRequest& request) {
  Json tools = Json::array();
  for (const Tool& tool : request.tools.tools) tools.push_back({tool.name, tool.parameters, tool.place});
  return to_text(Json::array({request.rule.kind, request.rule.schema, request.rule.text, request.rule.place, tools,
                              request.tools.choice, request.tools.named, request.tools.parallel,
                              request.form != nullptr, request.may_think, request.begins_inside, request.continues}));
}

}  // namespace

std::shared_ptr<Grammars> make_grammars() {
  return std::make_shared<Grammars>();
}

Answer<AnswerRule> read_rule(const Json& body) {
  const bool structured = body.contains("structured_outputs");
  if (!body.contains("response_format")) return structured ? read_structured(body) : AnswerRule{};
  LAMINA_ASSIGN(AnswerRule rule, read_format(body));
  if (structured && rule.kind != AnswerRule::Kind::kFree)
    return refuse(400, "structured_outputs",
                  "structured_outputs: response_format asks for something, too; one of them expected");
  return structured ? read_structured(body) : rule;
}

Answer<std::shared_ptr<const text::TokenBytes>> Grammars::bytes(const text::Tokenizer& tokenizer) {
  const std::lock_guard lock(bytes_mutex_);
  if (!bytes_) {
    LAMINA_ASSIGN(text::TokenBytes made, text::TokenBytes::create(tokenizer));
    bytes_ = std::make_shared<const text::TokenBytes>(std::move(made));
  }
  return bytes_;
}

const AnswerForm& Grammars::form(std::string_view chat_template, const text::Tokenizer& tokenizer) {
  const std::lock_guard lock(mutex_);
  if (!form_) form_ = std::make_unique<const AnswerForm>(find_answer_form(chat_template, tokenizer));
  return *form_;
}

Answer<std::shared_ptr<const text::TokenGrammar>> Grammars::find(const GrammarRequest& request,
                                                                 const text::Tokenizer& tokenizer) {
  if (is_free(request)) return nullptr;
  std::string key = key_of(request);
  {
    const std::lock_guard lock(mutex_);
    const auto found = std::ranges::find(kept_, key, &Entry::key);
    if (found != kept_.end()) {
      kept_.splice(kept_.begin(), kept_, found);
      return kept_.front().grammar;
    }
  }
  LAMINA_ASSIGN(std::shared_ptr<const text::TokenBytes> vocabulary, bytes(tokenizer));
  auto grammar = Maker(request).run();
  const auto refused = [&](const core::Error& error) {
    const std::string place =
        error.place.starts_with("grammar") || error.place.starts_with("pattern") || error.place.empty()
            ? request.rule.place
            : error.place;
    const std::string text = place == error.place ? error.text() : fmt::format("{}: {}", place, error.text());
    return std::unexpected(Refusal(400, text, place));
  };
  if (!grammar) return refused(grammar.error());
  const std::vector<int32_t> shown = request.form == nullptr ? std::vector<int32_t>() : request.form->shown;
  auto made = text::TokenGrammar::create(*grammar, std::move(vocabulary), shown);
  if (!made) return refused(made.error());
  (*made)->prepare(kPrepareMilliseconds);
  const std::lock_guard lock(mutex_);
  kept_.push_front({.key = std::move(key), .grammar = *made});
  if (kept_.size() > kKept) kept_.pop_back();
  return std::move(*made);
}

}  // namespace lamina::serve
