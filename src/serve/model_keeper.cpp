#include "serve/model_keeper.h"

namespace lamina::serve {

using core::Result;

ModelKeeper::ModelKeeper(std::vector<std::unique_ptr<ServedModel>>& models) : models_(models) {
  for (const auto& model : models) {
    note_facts(*model);
    states_.push_back(std::make_unique<State>());
  }
}

Result<std::shared_ptr<void>> ModelKeeper::pin(size_t index) {
  State& state = *states_[index];
  const std::lock_guard lock(state.mutex);
  if (!state.loaded) {
    LAMINA_CHECK_OK(models_[index]->load(*models_[index]));
    state.loaded = true;
  }
  return make_pin(state);
}

std::shared_ptr<void> ModelKeeper::pin_if_loaded(size_t index) {
  State& state = *states_[index];
  const std::unique_lock lock(state.mutex, std::try_to_lock);  // held for long only while it is loaded or unloaded
  return lock.owns_lock() && state.loaded ? make_pin(state) : nullptr;
}

std::shared_ptr<void> ModelKeeper::make_pin(State& state) {
  ++state.pins;
  return std::shared_ptr<void>(&state, [](State* one) {
    const std::lock_guard last(one->mutex);
    --one->pins;
    one->used = Clock::now();
  });
}

bool ModelKeeper::unload(size_t index, std::chrono::milliseconds idle, const std::function<bool()>& before) {
  State& state = *states_[index];
  const std::unique_lock lock(state.mutex, std::try_to_lock);
  if (!lock.owns_lock() || !state.loaded || !can_unload(index)) return false;
  if (state.pins > 0 || Clock::now() - state.used < idle || !before()) return false;
  models_[index]->speculation.reset();
  models_[index]->reader.reset();
  models_[index]->runner.reset();
  models_[index]->model.reset();
  state.loaded = false;
  return true;
}

}  // namespace lamina::serve
