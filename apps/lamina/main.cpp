#include <CLI/CLI.hpp>

#include "core/log.h"
#include "lamina/pull.h"

int main(int argc, char** argv) {
  lamina::core::setup_log();
  CLI::App app("Lamina runs transformer models, layer by layer", "lamina");
  app.require_subcommand(1);
  int exit_status = 0;
  lamina::app::add_pull(app, exit_status);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return exit_status;
}
