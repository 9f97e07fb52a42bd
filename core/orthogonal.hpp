// Random orthogonal matrices.
#pragma once

#include "core/cpu.hpp"
#include "core/matrix.hpp"
#include "core/random.hpp"

namespace olab {

/// A Haar-distributed random orthogonal n × n matrix by the subgroup algorithm (Stewart 1980, SIAM J. Numer.
/// Anal. 17:403; Mezzadri 2007, arXiv:math-ph/0609050): Q_k = H_k · diag(1, Q_{k−1}), where H_k is the
/// Householder reflection, signed, that sends the first unit vector to a uniform point of the sphere. In
/// double, rounded to float. Draws k normals for k = 1, 2, …, n in this order, so a smaller matrix draws a
/// prefix of a larger one's numbers. Same bits at every level and for any number of threads.
Matrix random_orthogonal(Index n, RandomStream& random, CpuLevel level = cpu_level());

}  // namespace olab
