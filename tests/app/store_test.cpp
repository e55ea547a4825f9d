#include "lamina/store.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "app/temporary_folder.h"
#include "lamina/catalog.h"
#include "lamina/digest.h"
#include "lamina/process.h"

namespace lamina::app {
namespace {

namespace fs = std::filesystem;
using core::ErrorCode;

class Store : public ::testing::Test {
 protected:
  void write(const fs::path& name, const std::string& text) {
    fs::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name) << text;
  }
  TemporaryFolder folder_;
  fs::path root_ = folder_.path();
};

TEST_F(Store, ResolvesPathsBeforeNames) {
  write("somewhere/model.gguf", "x");
  EXPECT_EQ(*resolve_model((root_ / "somewhere/model.gguf").string(), root_), root_ / "somewhere/model.gguf");
  EXPECT_EQ(*resolve_model((root_ / "somewhere").string(), root_), root_ / "somewhere");
}

TEST_F(Store, ResolvesNames) {
  write("models/one/a.gguf", "x");
  write("models/folder/config.json", "{}");
  write("models/owner/name/q4.gguf", "x");
  write("models/owner/name/q8.gguf", "x");
  write("models/.partial/half/a.gguf", "x");
  EXPECT_EQ(*resolve_model("one", root_), root_ / "models/one/a.gguf");
  EXPECT_EQ(*resolve_model("folder", root_), root_ / "models/folder");
  EXPECT_EQ(*resolve_model("owner/name:q8.gguf", root_), root_ / "models/owner/name/q8.gguf");
  EXPECT_EQ(*resolve_model("hf:owner/name:q8.gguf", root_), root_ / "models/owner/name/q8.gguf");
  EXPECT_EQ(stored_models(root_), (std::vector<std::string>{"folder", "one", "owner/name"}));

  const auto several = resolve_model("owner/name", root_);
  ASSERT_FALSE(several);
  EXPECT_EQ(several.error().code, ErrorCode::kInvalid);
  EXPECT_NE(several.error().message.find("q4.gguf, q8.gguf"), std::string::npos) << several.error().message;
}

TEST_F(Store, UnknownNameListsWhatThereIs) {
  write("models/one/a.gguf", "x");
  const auto missing = resolve_model("two", root_);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  EXPECT_NE(missing.error().message.find("which has one;"), std::string::npos) << missing.error().message;
  EXPECT_NE(missing.error().message.find("smollm2-135m"), std::string::npos) << missing.error().message;
  EXPECT_FALSE(resolve_model("../models/one", root_ / "models"));
  EXPECT_FALSE(resolve_model("owner/name:../../one/a.gguf", root_));
  EXPECT_FALSE(resolve_model("", root_));
}

TEST(StoreRoot, FollowsTheEnvironment) {
  const char* old = std::getenv("LAMINA_HOME");
  const std::string kept = old == nullptr ? "" : old;
  setenv("LAMINA_HOME", "/somewhere/else", 1);
  EXPECT_EQ(store_root(), "/somewhere/else");
  unsetenv("LAMINA_HOME");
  EXPECT_TRUE(store_root().string().ends_with("/.cache/lamina"));
  if (old != nullptr) setenv("LAMINA_HOME", kept.c_str(), 1);
}

TEST(FileNames, UnsafeOnesAreRefused) {
  for (const char* good : {"model.gguf", "1_Pooling/config.json", "a/b/c d.bin"}) {
    EXPECT_TRUE(check_file_name(good)) << good;
  }
  for (const char* bad : {"", "/etc/passwd", "../x", "a/../x", "a//b", "a/", "./a", ".hidden", "a/.git/x", "a\\b",
                          "a\nb", "c:x", "a/.."}) {
    EXPECT_FALSE(check_file_name(bad)) << bad;
  }
  EXPECT_FALSE(check_file_name(std::string_view("a\0b", 3)));
}

// Expected values: sha256sum and git hash-object.
TEST_F(Store, Digests) {
  write("f", "lamina\n");
  EXPECT_EQ(*file_digest(root_ / "f", DigestKind::kSha256),
            "91d58f410715c31eed3a799980dc4d8647b4695d3f8870f36a28b13f9fcb5de5");
  EXPECT_EQ(*file_digest(root_ / "f", DigestKind::kGitBlob), "96f8588f080e8eb408ebe6c889c165b7b3ba4182");
  EXPECT_FALSE(file_digest(root_ / "absent", DigestKind::kSha256));
}

TEST_F(Store, PublishesANewModelAtOnceAndAddsToAnOldOne) {
  const Manifest first{"test", "MIT", {{"a.gguf", 1, ""}}};
  {
    auto stage = Stage::open(root_, "owner/name", nullptr);
    ASSERT_TRUE(stage);
    std::ofstream(stage->folder() / "a.gguf") << "a";
    EXPECT_TRUE(stored_models(root_).empty());
    ASSERT_TRUE(stage->publish(first));
  }
  {
    auto stage = Stage::open(root_, "owner/name", nullptr);
    ASSERT_TRUE(stage);
    std::ofstream(stage->folder() / "b.gguf") << "b";
    ASSERT_TRUE(stage->publish({"test", "MIT", {{"b.gguf", 1, ""}}}));
    EXPECT_FALSE(fs::exists(stage->folder()));
  }
  const Manifest both = read_manifest(model_folder(root_, "owner/name"));
  EXPECT_EQ(both.licence, "MIT");
  EXPECT_EQ(both.files, (std::vector<StoredFile>{{"b.gguf", 1, ""}, {"a.gguf", 1, ""}}));
  EXPECT_TRUE(has_file(model_folder(root_, "owner/name"), both, {"a.gguf", 1, ""}));
  EXPECT_FALSE(has_file(model_folder(root_, "owner/name"), both, {"a.gguf", 2, ""}));
}

TEST_F(Store, OneProcessAtATimeHoldsAStage) {
  auto stage = Stage::open(root_, "m", nullptr);
  ASSERT_TRUE(stage);
  const pid_t child = fork();
  if (child == 0) {
    // Waiting is told at once; the child then leaves instead of waiting.
    (void)Stage::open(root_, "m", [] { _exit(7); });
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 7);
}

TEST(Catalog, IsSoundAndHoldsTheDefaultModel) {
  ASSERT_TRUE(parse_catalog(catalog_text()));
  ASSERT_NE(find_in_catalog("smollm2-135m"), nullptr);
  EXPECT_EQ(find_in_catalog("smollm2-135m")->bytes(), 98362432);
  EXPECT_EQ(find_in_catalog("smollm2"), nullptr);
}

TEST(RealCatalog, StoredModelsAreWhatTheCatalogueSays) {
  int checked = 0;
  for (const CatalogModel& model : catalog()) {
    const fs::path folder = model_folder(store_root(), model.name);
    if (!fs::exists(folder)) continue;
    for (const CatalogFile& file : model.files) {
      const auto digest = file_digest(folder / file.name, DigestKind::kSha256);
      ASSERT_TRUE(digest) << digest.error().text();
      EXPECT_EQ(*digest, file.sha256) << folder / file.name;
      ++checked;
    }
  }
  if (checked == 0) GTEST_SKIP() << "no model of the catalogue is in the store";
}

TEST(Catalog, RefusesBrokenEntries) {
  const std::string hash(64, 'a');
  const auto model = [&](const std::string& file, const std::string& digest, int bytes) {
    return fmt::format(R"({{"name":"m","about":"","licence":"MIT","files":[{{"name":"{}","bytes":{},"sha256":"{}",)"
                       R"("parts":[{{"package":"p","version":"1","member":"x"}}]}}]}})",
                       file, bytes, digest);
  };
  const auto parse = [](const std::string& models) { return parse_catalog("{\"models\":[" + models + "]}"); };
  EXPECT_TRUE(parse(model("a", hash, 1)));
  EXPECT_FALSE(parse(model("../a", hash, 1)));
  EXPECT_FALSE(parse(model("a", "xyz", 1)));
  EXPECT_FALSE(parse(model("a", hash, 0)));
  EXPECT_FALSE(parse(model("a", hash, 1) + "," + model("a", hash, 1)));
  const auto converted = [&](const std::string& script, const std::string& source) {
    return fmt::format(R"({{"name":"m","about":"","licence":"MIT","convert":["{}"],"sources":[{}],)"
                       R"("files":[{{"name":"made","bytes":1,"sha256":"{}"}}]}})",
                       script, source, hash);
  };
  const std::string source = fmt::format(
      R"({{"name":"s","bytes":1,"sha256":"{}","parts":[{{"package":"p","version":"1","member":"x"}}]}})", hash);
  EXPECT_TRUE(parse(converted("convert_whisper.py", source)));
  EXPECT_FALSE(parse(converted("convert_nothing.py", source)));
  EXPECT_FALSE(parse(converted("convert_whisper.py", R"({"name":"s","bytes":1,"sha256":")" + hash + "\"}")));
  EXPECT_FALSE(parse_catalog("{"));
  EXPECT_FALSE(parse_catalog("{}"));
}

TEST_F(Store, ProcessesReportTheirEnd) {
  ProcessRequest request;
  request.folder = root_;
  request.output = root_ / "out";
  request.log = root_ / "log";
  request.environment = {{"LAMINA_TEST_WORD", "good day"}};
  request.command = {"sh", "-c", "printf %s \"$LAMINA_TEST_WORD\"; pwd >&2"};
  ASSERT_TRUE(run_process(request));
  std::ifstream in(root_ / "out");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(in), {}), "good day");

  request.command = {"sh", "-c", "echo first >&2; echo last words >&2; exit 3"};
  const auto failed = run_process(request);
  ASSERT_FALSE(failed);
  EXPECT_NE(failed.error().message.find("status 3: last words"), std::string::npos) << failed.error().message;

  request.command = {"no-such-program-anywhere"};
  const auto absent = run_process(request);
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace lamina::app
