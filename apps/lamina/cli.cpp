#include "lamina/cli.h"

#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <iostream>
#include <sstream>

namespace lamina::app {

using core::ErrorCode;
using core::fail;

namespace {

constexpr std::streamsize kMaxTextBytes = std::streamsize{1} << 30;

}  // namespace

void add_model_options(CLI::App& command, CommonOptions& options) {
  command
      .add_option("MODEL", options.model, "a .gguf file, a folder in the Hugging Face layout, or a name in the store")
      ->required();
  command.add_option("--recipe", options.recipe,
                     "techniques to apply, such as \"L9.attn:drop\"; see `lamina techniques`");
  add_run_options(command, options);
}

void add_run_options(CLI::App& command, CommonOptions& options) {
  command.add_option("--threads", options.threads, "threads; as many as this process may use by default")
      ->check(CLI::Range(1, 256));
  command.add_option("--ctx", options.context, "positions that a sequence may have")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
  command.add_option("--activations", options.activations, "int8 (fast; bfloat16 meets bfloat16) or f32 (exact, slow)")
      ->check(CLI::IsMember({"int8", "f32"}));
  add_json_option(command, options.json);
}

void add_json_option(CLI::App& command, bool& json) {
  command.add_flag("--json", json, "print one JSON object");
}

int report(const core::Error& error) {
  std::cout.flush();
  fmt::print(stderr, "lamina: {}\n", error.text());
  return error.code == ErrorCode::kInvalid ? 2 : 1;
}

int exit_status_of(const core::Status& status) {
  return status ? 0 : report(status.error());
}

void print_json(const nlohmann::ordered_json& value) {
  fmt::print("{}\n", value.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

core::Result<std::string> read_file(const std::string& path) {
  std::string text;
  std::ifstream file;
  if (path != "-") {
    file.open(path, std::ios::binary);
    if (!file) return fail(ErrorCode::kNotFound, path, "cannot be opened");
  }
  std::istream& stream = path == "-" ? std::cin : file;
  std::string block(1 << 16, '\0');
  while (stream.read(block.data(), static_cast<std::streamsize>(block.size())) || stream.gcount() > 0) {
    text.append(block, 0, static_cast<size_t>(stream.gcount()));
    if (static_cast<std::streamsize>(text.size()) > kMaxTextBytes)
      return fail(ErrorCode::kLimit, path, "has more than 1 GiB of text");
  }
  if (stream.bad() || (path != "-" && std::filesystem::is_directory(path)))
    return fail(ErrorCode::kIo, path, "cannot be read");
  return text;
}

CLI::App* add_command(CLI::App& app, const std::string& name, const std::string& summary, const std::string& examples) {
  CLI::App* command = app.add_subcommand(name, summary);
  command->footer("Examples:\n" + examples);
  return command;
}

}  // namespace lamina::app
