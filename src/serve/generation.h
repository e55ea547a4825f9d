#pragma once

#include <span>
#include <vector>

#include "serve/events.h"
#include "serve/fields.h"
#include "serve/sequence.h"
#include "serve/service.h"

namespace lamina::serve {

/// The fields of every route that generates: the model, sampling, limits.
std::vector<Field> with_generation_fields(std::span<const Field> own);

/// What a request says about writing, for prompts that are still to be given.
struct GenerationPlan {
  GenerationJob job;
  int64_t choices = 1;
  bool stream = false;
  bool stream_usage = false;
};

/// Reads the fields; `max_tokens` -1: not given.
Answer<GenerationPlan> read_plan(const Json& body, const ServedModel& model);

/// Says whose job it is: for fair shares, and with whom it shares what is kept of texts.
void assign_client(GenerationJob& job, const Call& call);

/// A job for each choice of each prompt, in this order, with its own seed. Fills in max_tokens where it is -1.
/// 400 with both numbers when a prompt and what is asked for do not fit into the context.
Answer<std::vector<GenerationJob>> make_jobs(const GenerationPlan& plan, const ServedModel& model,
                                             const std::vector<std::vector<int32_t>>& prompts);

std::string_view finish_name(run::FinishReason reason);
Json usage_json(const RequestRecord& record);
int64_t now_seconds();
/// As JSON can hold it.
double finite_log_probability(double value);

}  // namespace lamina::serve
