#include <fmt/ranges.h>

#include <memory>

#include "lamina/cli.h"
#include "lamina/commands.h"
#include "lamina/table.h"
#include "models/architecture.h"

namespace lamina::app {

namespace {

void list_architectures(bool json) {
  if (!json) {
    Table table({"NAME", "GGUF", "CLASS", "WHAT IT COVERS"});
    for (const models::Architecture& one : models::architectures()) {
      table.add({one.name, fmt::format("{}", fmt::join(one.gguf, ", ")),
                 fmt::format("{}", fmt::join(one.huggingface, ", ")), one.summary});
    }
    fmt::print("{}", table.text());
    return;
  }
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const models::Architecture& one : models::architectures()) {
    all.push_back({{"name", one.name}, {"summary", one.summary}, {"gguf", one.gguf}, {"class", one.huggingface}});
  }
  print_json({{"architectures", std::move(all)}});
}

}  // namespace

void add_architectures(CLI::App& app, int& exit_status) {
  auto json = std::make_shared<bool>(false);
  CLI::App* command = add_command(app, "architectures", "list the model families that can run",
                                  "  lamina architectures\n"
                                  "  lamina architectures --json");
  add_json_option(*command, *json);
  command->callback([json, &exit_status] {
    list_architectures(*json);
    exit_status = 0;
  });
}

}  // namespace lamina::app
