#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "serve/served_model.h"

namespace lamina::serve {

/// Knows which models are loaded and who needs them. Models that nobody has needed for a while can be unloaded, if they
/// know how to be loaded again; the next request that names one loads it, on its own thread, while others are served.
class ModelKeeper {
 public:
  /// The models, all loaded, must outlive the keeper and all pins.
  explicit ModelKeeper(std::vector<std::unique_ptr<ServedModel>>& models);

  /// While it lives, the model stays loaded. An error of ServedModel::load when it cannot be loaded again.
  core::Result<std::shared_ptr<void>> pin(size_t index);
  /// The same for a model that is loaded; null when it is not.
  std::shared_ptr<void> pin_if_loaded(size_t index);
  bool loaded(size_t index) const { return states_[index]->loaded; }
  /// Whether it may ever be unloaded.
  bool can_unload(size_t index) const { return models_[index]->load != nullptr; }
  /// Unloads a model that nobody needs and has needed since `idle`, after `before`, which must let go of it and may
  /// refuse by false. False when it stays.
  bool unload(size_t index, std::chrono::milliseconds idle, const std::function<bool()>& before);

 private:
  using Clock = std::chrono::steady_clock;
  struct State {
    std::mutex mutex;
    int64_t pins = 0;
    Clock::time_point used = Clock::now();
    std::atomic<bool> loaded = true;
  };

  /// Under the state's mutex.
  static std::shared_ptr<void> make_pin(State& state);

  std::vector<std::unique_ptr<ServedModel>>& models_;
  std::vector<std::unique_ptr<State>> states_;
};

}  // namespace lamina::serve
