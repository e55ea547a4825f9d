#include "embed/rerank.h"

#include <memory>

#include "embed/encode.h"
#include "lamina/commands.h"
#include "lamina/session.h"
#include "lamina/text_needs.h"

namespace lamina::app {

namespace {

using core::Status;

struct RerankCommand {
  CommonOptions common;
  std::string query;
  std::vector<std::string> documents;
  bool truncate = false;
};

Status rerank_command(const RerankCommand& command) {
  LAMINA_ASSIGN(Session session, prepare_session(command.common, true));
  LAMINA_ASSIGN(const embed::Settings settings, embed::read_settings(*session.model));
  LAMINA_ASSIGN(const int64_t limit, text_limit(command.common, settings.limit, *session.model));
  LAMINA_ASSIGN(const text::PairTemplate pair, embed::load_pair_template(*session.model, *session.tokenizer));
  const bool typed = settings.types && session.model->embedding().types() > 1;
  const std::string query = embed::prepare_text(settings, "", command.query);
  std::vector<embed::Input> inputs;
  for (size_t i = 0; i < command.documents.size(); ++i) {
    LAMINA_ASSIGN(embed::Input input, embed::encode_pair(*session.tokenizer, pair, query,
                                                         embed::prepare_text(settings, "", command.documents[i]),
                                                         {.index = i, .limit = limit, .truncate = command.truncate}));
    if (!typed) input.types.clear();
    inputs.push_back(std::move(input));
  }
  LAMINA_CHECK_OK(start_session(session, command.common, encoder_needs(limit, *session.model)));
  LAMINA_ASSIGN(const std::vector<float> scores, embed::rerank(*session.runner, inputs));
  if (command.common.json) {
    print_json({{"scores", scores}});
    return {};
  }
  for (size_t i = 0; i < scores.size(); ++i) fmt::print("{:12.6f}  {}\n", scores[i], command.documents[i]);
  return {};
}

}  // namespace

void add_rerank(CLI::App& app, int& exit_status) {
  auto options = std::make_shared<RerankCommand>();
  CLI::App* command = add_command(
      app, "rerank", "score documents for a query",
      "  lamina rerank model-folder --query \"capital of France\" \"Paris is ...\" \"Bread is ...\" --json");
  add_model_options(*command, options->common);
  command->add_option("--query", options->query, "what the documents are scored for")->required();
  command->add_option("DOC", options->documents, "the documents")->required();
  command->add_flag("--truncate", options->truncate, "cut pairs that are too long instead of refusing them");
  command->callback([options, &exit_status] { exit_status = exit_status_of(rerank_command(*options)); });
}

}  // namespace lamina::app
