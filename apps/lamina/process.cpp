#include "lamina/process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <thread>

namespace lamina::app {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

namespace {

std::string last_line(const std::filesystem::path& log) {
  std::ifstream in(log);
  std::string line;
  std::string last = "no message";
  while (std::getline(in, line)) {
    if (line.find_first_not_of(" \t\r") != std::string::npos) last = line;
  }
  return last;
}

/// Pointers to the strings, with the null at the end that exec wants.
std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (std::string& string : strings) result.push_back(string.data());
  result.push_back(nullptr);
  return result;
}

std::vector<std::string> full_environment(const ProcessRequest& request) {
  std::vector<std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    bool replaced = false;
    for (const auto& [name, value] : request.environment) replaced |= text.starts_with(name + "=");
    if (!replaced) all.emplace_back(text);
  }
  for (const auto& [name, value] : request.environment) all.push_back(name + "=" + value);
  return all;
}

Result<pid_t> spawn(const ProcessRequest& request) {
  constexpr int kFlags = O_WRONLY | O_CREAT | O_APPEND;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, request.output.c_str(), kFlags, 0644);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, request.log.c_str(), kFlags, 0644);
  posix_spawn_file_actions_addchdir_np(&actions, request.folder.c_str());

  std::vector<std::string> arguments = request.command;
  std::vector<std::string> environment = full_environment(request);
  pid_t child = 0;
  const int error = posix_spawnp(&child, arguments.front().c_str(), &actions, nullptr, pointers(arguments).data(),
                                 pointers(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  if (error == ENOENT) return fail(ErrorCode::kNotFound, arguments.front(), "no such program; it must be installed");
  if (error != 0) return fail(ErrorCode::kIo, arguments.front(), "cannot be started: {}", std::strerror(error));
  return child;
}

}  // namespace

Status run_process(const ProcessRequest& request) {
  LAMINA_ASSIGN(const pid_t child, spawn(request));
  int status = 0;
  constexpr auto kPause = std::chrono::milliseconds(50);
  while (true) {
    const pid_t ended = waitpid(child, &status, request.meanwhile ? WNOHANG : 0);
    if (ended == child) break;
    if (ended < 0 && errno != EINTR) return fail(ErrorCode::kIo, request.command.front(), "was lost");
    if (ended == 0) {
      request.meanwhile();
      std::this_thread::sleep_for(kPause);
    }
  }
  if (WIFSIGNALED(status)) {
    return fail(ErrorCode::kCancelled, request.command.front(), "was ended by signal {}", WTERMSIG(status));
  }
  if (WEXITSTATUS(status) != 0) {
    return fail(ErrorCode::kIo, request.command.front(), "failed with status {}: {}", WEXITSTATUS(status),
                last_line(request.log));
  }
  return {};
}

}  // namespace lamina::app
