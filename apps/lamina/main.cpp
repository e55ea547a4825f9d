#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdio>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "core/cpu.h"
#include "core/log.h"
#include "lamina/cli.h"
#include "lamina/commands.h"
#include "lamina/pull.h"

namespace {

using AddCommand = void (*)(CLI::App& app, int& exit_status);
constexpr std::array<AddCommand, 24> kCommands{
    lamina::app::add_run,    lamina::app::add_tokenize,   lamina::app::add_template,      lamina::app::add_logits,
    lamina::app::add_show,   lamina::app::add_eval,       lamina::app::add_bench,         lamina::app::add_pull,
    lamina::app::add_doctor, lamina::app::add_techniques, lamina::app::add_architectures, lamina::app::add_codecs,
    lamina::app::add_embed,  lamina::app::add_rerank,     lamina::app::add_compress,      lamina::app::add_merge,
    lamina::app::add_pack,   lamina::app::add_serve,      lamina::app::add_routes,        lamina::app::add_load,
    lamina::app::add_stats,  lamina::app::add_grammar,    lamina::app::add_route_search,  lamina::app::add_route_fit,
};

/// CLI11's message as one line in the form of all errors.
int report_usage(const CLI::App& app, const CLI::ParseError& error, const std::string& first) {
  const auto called = app.get_subcommands();
  std::string message = error.what();
  std::ranges::replace(message, '\n', ' ');
  if (called.empty() && !first.empty() && !first.starts_with('-')) {
    std::string known;
    for (const CLI::App* command : app.get_subcommands({})) known += (known.empty() ? "" : ", ") + command->get_name();
    message = fmt::format("\"{}\" is not a command; one of {} expected", first, known);
  }
  const std::string help =
      called.empty() ? "lamina --help" : fmt::format("lamina {} --help", called.front()->get_name());
  return lamina::app::report({lamina::core::ErrorCode::kInvalid, "call", fmt::format("{}; see `{}`", message, help)});
}

/// The arguments, last one first. CLI11 would take the next argument as the value of "--query=", which is empty.
std::vector<std::string> arguments_of(int argc, char** argv) {
  std::vector<std::string> arguments;
  bool options = true;
  for (int i = 1; i < argc; ++i) {
    std::string argument = argv[i];
    options = options && argument != "--";
    const bool empty = options && argument.starts_with("--") && argument.find('=') == argument.size() - 1;
    if (empty) argument.pop_back();
    arguments.push_back(std::move(argument));
    if (empty) arguments.emplace_back();
  }
  std::ranges::reverse(arguments);
  return arguments;
}

int parse(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(arguments_of(argc, argv));
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    return report_usage(app, error, argc > 1 ? argv[1] : "");
  }
  return 0;
}

/// What was printed and did not arrive is an error too.
int finish_output(int exit_status) {
  const bool arrived = std::cout.flush().good() && std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  if (arrived || exit_status != 0) return exit_status;
  return lamina::app::report({lamina::core::ErrorCode::kIo, "standard output", "cannot be written; is the disk full?"});
}

}  // namespace

int main(int argc, char** argv) {
  lamina::core::setup_log();
  CLI::App app("Lamina runs transformer models, layer by layer", "lamina");
  app.require_subcommand(1);
  app.set_version_flag("--version", "lamina " LAMINA_VERSION);
  int exit_status = 0;
  for (const AddCommand add : kCommands) add(app, exit_status);
  if (const auto status = lamina::core::check_forced_isa(); !status) return lamina::app::report(status.error());
  try {
    const int usage = parse(app, argc, argv);
    return finish_output(usage != 0 ? usage : exit_status);
  } catch (const std::exception& error) {
    // fmt throws when standard output refuses; the libraries below may run out of memory.
    return lamina::app::report({lamina::core::ErrorCode::kIo, "lamina", error.what()});
  }
}
