#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>

#include "core/cpu.h"
#include "core/log.h"
#include "lamina/cli.h"
#include "lamina/commands.h"
#include "lamina/pull.h"

namespace {

using AddCommand = void (*)(CLI::App& app, int& exit_status);
constexpr std::array<AddCommand, 14> kCommands{
    lamina::app::add_run,    lamina::app::add_tokenize,   lamina::app::add_template,      lamina::app::add_logits,
    lamina::app::add_show,   lamina::app::add_eval,       lamina::app::add_bench,         lamina::app::add_pull,
    lamina::app::add_doctor, lamina::app::add_techniques, lamina::app::add_architectures, lamina::app::add_codecs,
    lamina::app::add_embed,  lamina::app::add_rerank,
};

/// CLI11's message as one line in the form of all errors.
int report_usage(const CLI::ParseError& error) {
  std::string message = error.what();
  std::ranges::replace(message, '\n', ' ');
  return lamina::app::report({lamina::core::ErrorCode::kInvalid, "call", message + "; see `lamina --help`"});
}

}  // namespace

int main(int argc, char** argv) {
  lamina::core::setup_log();
  CLI::App app("Lamina runs transformer models, layer by layer", "lamina");
  app.require_subcommand(1);
  int exit_status = 0;
  for (const AddCommand add : kCommands) add(app, exit_status);
  if (const auto status = lamina::core::check_forced_isa(); !status) return lamina::app::report(status.error());
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    return report_usage(error);
  }
  return exit_status;
}
