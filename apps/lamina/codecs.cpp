#include <memory>

#include "codec/codec.h"
#include "lamina/cli.h"
#include "lamina/commands.h"
#include "lamina/table.h"

namespace lamina::app {

namespace {

double bits_per_weight(const codec::Codec& codec) {
  return 8.0 * static_cast<double>(codec.format.block_bytes) / static_cast<double>(codec.format.block_elements);
}

void list_codecs(bool json) {
  if (!json) {
    Table table(
        {"NAME", ">BITS PER WEIGHT", ">WEIGHTS PER BLOCK", ">BYTES PER BLOCK", ">GGUF TYPE", "READ AND WRITTEN"});
    for (const codec::Codec& one : codec::codecs()) {
      table.add({std::string(one.format.name), fmt::format("{:.4g}", bits_per_weight(one)),
                 std::to_string(one.format.block_elements), std::to_string(one.format.block_bytes),
                 one.gguf_type < 0 ? "none" : std::to_string(one.gguf_type),
                 one.encode == nullptr ? "read" : "read, written"});
    }
    fmt::print("{}", table.text());
    return;
  }
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const codec::Codec& one : codec::codecs()) {
    nlohmann::ordered_json row{{"name", one.format.name},
                               {"bits_per_weight", bits_per_weight(one)},
                               {"block_elements", one.format.block_elements},
                               {"block_bytes", one.format.block_bytes}};
    if (one.gguf_type >= 0) row["gguf_type"] = one.gguf_type;
    row["decodes"] = one.decode != nullptr;
    row["encodes"] = one.encode != nullptr;
    all.push_back(std::move(row));
  }
  print_json({{"codecs", std::move(all)}});
}

}  // namespace

void add_codecs(CLI::App& app, int& exit_status) {
  auto json = std::make_shared<bool>(false);
  CLI::App* command = add_command(app, "codecs", "list the number formats of weights",
                                  "  lamina codecs\n"
                                  "  lamina codecs --json");
  add_json_option(*command, *json);
  command->callback([json, &exit_status] {
    list_codecs(*json);
    exit_status = 0;
  });
}

}  // namespace lamina::app
