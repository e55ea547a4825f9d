#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "format/packed_file.h"
#include "models/model.h"

namespace lamina::app {

/// Where `lamina pack` keeps packed weights: $LAMINA_HOME/packed.
std::filesystem::path packed_folder();
/// The file for a model with the number formats that its recipe asks for and its kind of activations.
std::filesystem::path packed_path(const models::Model& model, bool exact);
/// The packed weights of that file, or an error that says why the model cannot use them: kNotFound when there are none.
core::Status use_packed(models::Model& model, const std::filesystem::path& path);
/// Loads what `lamina pack` made of the model, if there is any, it fits and $LAMINA_PACKED is not "off"; a note on
/// standard error says why not. Whether the model is loaded now.
bool load_packed(models::Model& model, bool exact);
/// Every file of the folder, in order.
std::vector<std::filesystem::path> packed_files();

}  // namespace lamina::app
