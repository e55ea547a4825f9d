#include <fmt/ranges.h>

#include <memory>
#include <string>
#include <vector>

#include "lamina/cli.h"
#include "lamina/commands.h"
#include "lamina/store.h"
#include "models/vocabulary.h"

namespace lamina::app {

namespace {

using core::ErrorCode;
using core::fail;
using core::Status;

struct TokenizeOptions {
  std::string model;
  std::string text;
  std::string file;
  std::vector<int32_t> decode;
  bool lines = false;
  bool null = false;
  bool no_special = false;
  bool parse_special = false;
  bool json = false;
};

Status print_decoded(const TokenizeOptions& options, const text::Tokenizer& tokenizer) {
  for (const int32_t id : options.decode) {
    if (id < 0 || id >= tokenizer.vocabulary()) {
      return fail(ErrorCode::kInvalid, "--decode", "token {} is outside the vocabulary of {}", id,
                  tokenizer.vocabulary());
    }
  }
  const std::string text = tokenizer.decode(options.decode, options.no_special);
  if (options.json) {
    print_json({{"text", text}});
  } else {
    fmt::print("{}\n", text);
  }
  return {};
}

Status print_lines(const std::string& text, char ending, const text::Tokenizer& tokenizer,
                   const text::EncodeOptions& encode) {
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(ending, begin), text.size());
    LAMINA_ASSIGN(const std::vector<int32_t> ids,
                  tokenizer.encode(std::string_view(text).substr(begin, end - begin), encode));
    fmt::print("[{}]\n", fmt::join(ids, ","));
    begin = end + 1;
  }
  return {};
}

Status tokenize(const TokenizeOptions& options, bool has_text) {
  LAMINA_ASSIGN(const std::filesystem::path path, resolve_model(options.model));
  LAMINA_ASSIGN(const text::Tokenizer tokenizer, models::load_tokenizer(path));
  if (!options.decode.empty()) return print_decoded(options, tokenizer);
  std::string text = options.text;
  if (!has_text) {
    LAMINA_ASSIGN(text, read_file(options.file.empty() ? "-" : options.file));
  }
  const text::EncodeOptions encode{.add_special = !options.no_special, .parse_special = options.parse_special};
  if (options.lines || options.null) return print_lines(text, options.null ? '\0' : '\n', tokenizer, encode);
  LAMINA_ASSIGN(const std::vector<int32_t> ids, tokenizer.encode(text, encode));
  if (options.json) {
    std::vector<std::string> pieces;
    for (const int32_t id : ids) pieces.push_back(tokenizer.piece(id));
    print_json({{"tokens", ids}, {"pieces", pieces}});
    return {};
  }
  for (const int32_t id : ids)
    fmt::print("{:>8}  {}\n", id,
               nlohmann::json(tokenizer.piece(id)).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  return {};
}

}  // namespace

void add_tokenize(CLI::App& app, int& exit_status) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App* command = add_command(app, "tokenize", "text to token ids, and back",
                                  "  lamina tokenize smollm2-135m \"Hello, world\"\n"
                                  "  lamina tokenize model.gguf --file lines.txt --lines\n"
                                  "  lamina tokenize folder-with-tokenizer.json --decode 1,2,3");
  command->add_option("MODEL", options->model, "a model, or a folder with tokenizer files")->required();
  CLI::Option* text = command->add_option("TEXT", options->text, "the text; without it --file or standard input");
  command->add_option("--file", options->file, "read the text from a file, - for standard input");
  command->add_flag("--lines", options->lines, "each line is a text of its own; prints one JSON array per line");
  command->add_flag("--null", options->null, "as --lines, but texts end at zero bytes and may hold line ends");
  command->add_flag("--no-special", options->no_special,
                    "add no special tokens (BOS, CLS, ...); with --decode, leave them out");
  command->add_flag("--parse-special", options->parse_special,
                    "special tokens written in the text become those tokens");
  command->add_option("--decode", options->decode, "ids to turn into text, 1,2,3")->delimiter(',');
  add_json_option(*command, options->json);
  command->callback(
      [options, text, &exit_status] { exit_status = exit_status_of(tokenize(*options, text->count() > 0)); });
}

}  // namespace lamina::app
