#pragma once

// CUDA C++ for the software device: the toolkit's types and runtime API, and what nvcc would add to the language.
#include <cuda_runtime_api.h>
#include <vector_functions.h>
#include <vector_types.h>

#include "emulation/block.h"
#include "emulation/intrinsics.h"
#include "emulation/launch.h"

#undef __shared__
#define __shared__ static
