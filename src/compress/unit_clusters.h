#pragma once

#include <cstdint>
#include <vector>

#include "compress/edit.h"

namespace lamina::compress {

/// Puts rows into `clusters` clusters of one size, such that the rows of a cluster point into one direction: k-means on
/// the sphere, in which those that would lose most by their second choice choose first. Returns the cluster of each
/// row; the number of rows must be a multiple. The same rows give the same clusters.
std::vector<int> balanced_clusters(const Matrix& rows, int64_t clusters);

}  // namespace lamina::compress
