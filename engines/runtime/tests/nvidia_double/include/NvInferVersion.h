/* Not NVIDIA's file: see NvInferRuntime.h beside it. */
#pragma once

#define DOUBLE_MAJOR 10
#define NV_TENSORRT_MAJOR DOUBLE_MAJOR /* through another macro, as in newer releases */
#define NV_TENSORRT_MINOR 13
#define NV_TENSORRT_PATCH 3
