#pragma once

#include <CLI/CLI.hpp>

namespace lamina::app {

/// Each declares its subcommand; when the user calls it, `exit_status` becomes 0, 1 (it failed) or 2 (the call was
/// wrong).
void add_run(CLI::App& app, int& exit_status);
void add_tokenize(CLI::App& app, int& exit_status);
void add_template(CLI::App& app, int& exit_status);
void add_logits(CLI::App& app, int& exit_status);
void add_show(CLI::App& app, int& exit_status);
void add_eval(CLI::App& app, int& exit_status);
void add_bench(CLI::App& app, int& exit_status);
void add_compress(CLI::App& app, int& exit_status);
void add_merge(CLI::App& app, int& exit_status);
void add_stats(CLI::App& app, int& exit_status);
void add_pack(CLI::App& app, int& exit_status);
void add_embed(CLI::App& app, int& exit_status);
void add_rerank(CLI::App& app, int& exit_status);
void add_serve(CLI::App& app, int& exit_status);
void add_routes(CLI::App& app, int& exit_status);
void add_route_fit(CLI::App& app, int& exit_status);
void add_route_search(CLI::App& app, int& exit_status);
void add_load(CLI::App& app, int& exit_status);
void add_grammar(CLI::App& app, int& exit_status);
void add_doctor(CLI::App& app, int& exit_status);
void add_techniques(CLI::App& app, int& exit_status);
void add_architectures(CLI::App& app, int& exit_status);
void add_codecs(CLI::App& app, int& exit_status);

}  // namespace lamina::app
