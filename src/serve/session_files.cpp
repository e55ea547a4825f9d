#include "serve/session_files.h"

#include <algorithm>
#include <cstring>

#include "core/checksum.h"
#include "format/packed_file.h"

namespace lamina::serve {

namespace {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

constexpr std::string_view kTokens = "tokens";

/// All that changes keys and values, and whose they are. The family has an API key in it: its checksum is written.
std::string stamp_of(const ServedModel& model, const std::string& layout, const std::string& family) {
  return fmt::format("session\n{}\n{}\n{}\n{:016x}", model.model->files().stamp(), model.recipe, layout,
                     core::checksum(std::as_bytes(std::span(family))));
}

/// A sequence of a runner that is closed in the end.
class Opened {
 public:
  static Result<Opened> open(run::Runner& runner) {
    LAMINA_ASSIGN(const cache::SequenceId id, runner.open());
    return Opened(runner, id);
  }
  Opened(Opened&& other) noexcept : runner_(other.runner_), id_(std::exchange(other.id_, {})) {}
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;
  Opened& operator=(Opened&&) = delete;
  ~Opened() {
    if (id_ != cache::SequenceId{}) runner_.close(id_);
  }
  cache::SequenceId id() const { return id_; }

 private:
  Opened(run::Runner& runner, cache::SequenceId id) : runner_(runner), id_(id) {}

  run::Runner& runner_;
  cache::SequenceId id_;
};

}  // namespace

Result<int64_t> save_session(Scheduler& scheduler, const ServedModel& model, const SessionText& text,
                             const std::filesystem::path& path) {
  std::vector<std::vector<std::byte>> pieces;
  int64_t length = 0;
  std::string layout;
  const Status copied = scheduler.run_between(text.model, [&](run::Runner& runner) -> Status {
    LAMINA_ASSIGN(const Opened sequence, Opened::open(runner));
    std::vector<int32_t> tokens = text.tokens;
    tokens.push_back(-1);  // resume() leaves the last one to be computed
    length = runner.resume(sequence.id(), tokens, text.family);
    layout = runner.kept().describe();
    for (const auto& bytes : runner.kept().contents(sequence.id())) pieces.emplace_back(bytes.begin(), bytes.end());
    return {};
  });
  LAMINA_CHECK_OK(copied);
  if (length == 0) return fail(ErrorCode::kNotFound, "session", "nothing is kept of this text");
  LAMINA_ASSIGN(format::PackedWriter writer, format::PackedWriter::create(path));
  const auto tokens = std::span(text.tokens).first(static_cast<size_t>(length));
  LAMINA_CHECK_OK(writer.add(std::string(kTokens), std::as_bytes(tokens)));
  for (size_t i = 0; i < pieces.size(); ++i) LAMINA_CHECK_OK(writer.add(fmt::format("{}", i), pieces[i]));
  LAMINA_CHECK_OK(writer.commit(stamp_of(model, layout, text.family), 0));
  return length;
}

Result<int64_t> restore_session(Scheduler& scheduler, const ServedModel& model, const SessionText& text,
                                const std::filesystem::path& path) {
  LAMINA_ASSIGN(const format::PackedFile file, format::PackedFile::open(path));
  const std::string place = path.filename().string();
  if (file.pieces().empty() || file.pieces().front().key != kTokens || file.pieces().front().bytes.size() % 4 != 0)
    return fail(ErrorCode::kCorrupt, place, "it is no session");
  core::ThreadPool pool(1);
  LAMINA_CHECK_OK(file.verify(pool));
  std::vector<int32_t> tokens(file.pieces().front().bytes.size() / sizeof(int32_t));
  std::memcpy(tokens.data(), file.pieces().front().bytes.data(), file.pieces().front().bytes.size());
  const Status filled = scheduler.run_between(text.model, [&](run::Runner& runner) -> Status {
    cache::KvCache& cache = runner.kept();
    if (file.stamp() != stamp_of(model, cache.describe(), text.family))
      return fail(ErrorCode::kInvalid, place, "it was saved by another model, recipe or API key");
    LAMINA_ASSIGN(const Opened sequence, Opened::open(runner));
    LAMINA_CHECK_OK(cache.make_room(sequence.id(), std::ssize(tokens)));
    const auto contents = cache.contents(sequence.id());
    const auto saved = file.pieces().subspan(1);
    bool fits = contents.size() == saved.size();
    for (size_t i = 0; fits && i < saved.size(); ++i) fits = contents[i].size() == saved[i].bytes.size();
    if (!fits) return fail(ErrorCode::kCorrupt, place, "its pieces are not those of {} tokens", tokens.size());
    for (size_t i = 0; i < saved.size(); ++i) std::ranges::copy(saved[i].bytes, contents[i].begin());
    runner.keep(sequence.id(), tokens, text.family, false);
    return {};
  });
  LAMINA_CHECK_OK(filled);
  return std::ssize(tokens);
}

}  // namespace lamina::serve
