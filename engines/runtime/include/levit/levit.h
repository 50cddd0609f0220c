/* The LeViT edge runtime: the classes of images, from a bundle that levit-export wrote, without
 * Python.
 *
 *     levit_options options;
 *     levit_options_init(&options, sizeof options);
 *     levit_classifier* classifier;
 *     if (levit_open("levit-384-fp32", &options, &classifier) != LEVIT_OK)
 * puts(levit_last_error());
 *
 * Threads: every function may be called from any thread at any time, with the same classifier as
 * well: calls share the network and nothing else. Only levit_close must be the last call on its
 * classifier, and levit_open may set two environment variables, as is said below.
 *
 * Ownership: the caller owns all memory that it hands in, and the library keeps none of it after
 * the call, with the classifier as the one exception: levit_open makes it, levit_close frees it.
 * Texts of a classifier live as long as it does; the text of levit_last_error until the next call
 * of the same thread.
 *
 * Errors: a function that returns a status either does all that it says and returns LEVIT_OK, or
 * writes nothing but what is said of it and leaves one line for levit_last_error. No C++ exception
 * leaves the library. It prints nothing.
 *
 * Versions: structs that begin with struct_size may grow at their end, all others never do. A
 * program that was compiled with an older and so smaller one is served; one with a newer and so
 * larger one finds zeros in what this library does not know to write, and is refused where it asks
 * for what this library does not know. The values of enumerations are never given another meaning.
 *
 * Memory: a classifier keeps the working memory of every call that ever ran at the same time, up to
 * 64 MiB each: what larger images take is given back when the call ends. To that
 * LEVIT_PROVIDER_NATIVE adds the activations of the largest batch, those of eight images at most.
 *
 * Trust: every file of a bundle is read once into memory that no other process can change, checked
 * there against its sha256 in manifest.json, and used from there; a graph that refers to any other
 * file is refused. So whoever changes the folder while it is opened can make opening fail, and
 * nothing else. Whoever may write manifest.json decides what is computed, and whoever may write the
 * library of ONNX Runtime or of NVIDIA what is executed; a plan of TensorRT is code as well. Leave
 * all of them to those whose programs you would run.
 *
 * Environment: LEVIT_ONNXRUNTIME names the library of ONNX Runtime where the options do not;
 * LEVIT_TENSORRT_LIBRARY and LEVIT_CUDA_LIBRARY name libnvinfer.so and libcudart.so for
 * LEVIT_PROVIDER_TENSORRT_PLAN. None is read in a program that runs with more rights than its user.
 * levit_open sets ORT_DISABLE_TELEMETRY to 1, because the Linux builds of ONNX Runtime otherwise
 * write below the home directory and call home, and with LEVIT_PROVIDER_TENSORRT
 * NVIDIA_TF32_OVERRIDE to 0, each only where it is not set. Setting a variable is a race with every
 * thread that reads any: set both before you start threads, or call levit_open first, and nothing
 * is written later. A GPU provider is refused where NVIDIA_TF32_OVERRIDE asks for TF32.
 */
#ifndef LEVIT_LEVIT_H
#define LEVIT_LEVIT_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define LEVIT_EXPORT
#else
#define LEVIT_EXPORT __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Version of this interface. It changes when a program would have to be compiled again, and then so
 * does the soname. */
#define LEVIT_ABI_VERSION 1u

typedef int32_t levit_status;

enum {
  LEVIT_OK = 0,
  LEVIT_FAILED = 1,      /* a check or the engine failed, as the self-test */
  LEVIT_ARGUMENT = 2,    /* what the caller handed in contradicts itself or is out of range */
  LEVIT_INPUT = 3,       /* a bundle or an image is not what it should be */
  LEVIT_ENVIRONMENT = 4, /* a library, a provider or a driver is missing here */
  LEVIT_MEMORY = 5       /* not enough of it */
};

/* A bundle that is opened: the network, ready to run. */
typedef struct levit_classifier levit_classifier;

LEVIT_EXPORT uint32_t levit_abi_version(void);

/* Of the library, as in "0.1.0". */
LEVIT_EXPORT const char* levit_version(void);

/* What went wrong in the last call of this thread that failed, in one line; "" when none has. Never
 * NULL. */
LEVIT_EXPORT const char* levit_last_error(void);

/* ---- Opening
 * ----------------------------------------------------------------------------------------------------
 */

typedef int32_t levit_provider;

/* What runs the network. The one asked for runs all of it, or opening fails: nothing ever falls
 * back to another. */
enum {
  LEVIT_PROVIDER_CPU = 0, /* in ONNX Runtime, as the next two */
  LEVIT_PROVIDER_CUDA = 1,
  LEVIT_PROVIDER_TENSORRT = 2, /* which builds an engine while it opens */
  /* The plan that levit-build put into the bundle, in TensorRT itself: no ONNX Runtime is needed.
   * LEVIT_ENVIRONMENT where the bundle has none for this machine, or this library was built without
   * -DLEVIT_TENSORRT=ON. Calls from several threads take turns on the GPU. */
  LEVIT_PROVIDER_TENSORRT_PLAN = 3,
  /* Kernels of this library itself, on the CPU, in the best instruction set that it has: no ONNX
   * Runtime is needed. They take fp32 bundles and int8 ones for CPUs; LEVIT_ARGUMENT for others.
   * Calls from several threads run at the same time where `threads` is 1, else they take turns. */
  LEVIT_PROVIDER_NATIVE = 4,
  /* On the CPU, what was measured to be the fastest: LEVIT_PROVIDER_NATIVE for bundles that it
   * takes where the CPU has AVX-512 or AMX, or where there is no ONNX Runtime; else, and where
   * `onnxruntime_library` names one, LEVIT_PROVIDER_CPU. levit_info says which it was. */
  LEVIT_PROVIDER_FASTEST = 5
};

typedef struct levit_options {
  size_t struct_size;
  levit_provider provider; /* LEVIT_PROVIDER_FASTEST */
  uint32_t device;         /* index of the GPU: 0 */
  uint32_t threads; /* that one call keeps busy on the CPU: 1. They never spin while they wait, but
                       those of LEVIT_PROVIDER_NATIVE for each other while a call runs, and for
                       0.2 ms after it */
  uint32_t self_test; /* 1: replay the golden images of the bundle, and refuse to open when they
                         differ */
  uint32_t use_built_graph; /* 1: load the graph that levit-build optimised, where it was made for
                               this machine and ONNX Runtime takes it; else model.onnx, and `note`
                               of levit_info says why */
  const char* onnxruntime_library; /* path of libonnxruntime.so, or NULL: LEVIT_ONNXRUNTIME, else
                                      the folder of this library, else what the system's loader
                                      finds. LEVIT_ARGUMENT with a provider that does not use it */
} levit_options;

/* Fills `options`, which has `struct_size` bytes, with the defaults named above. */
LEVIT_EXPORT void levit_options_init(levit_options* options, size_t struct_size);

/* Opens the bundle in the folder `bundle`; every file of it is checked against its sha256 before it
 * is used. `options` may be NULL. On failure `*classifier` is NULL. */
LEVIT_EXPORT levit_status levit_open(const char* bundle, const levit_options* options,
                                     levit_classifier** classifier);

/* Frees it; NULL is allowed. */
LEVIT_EXPORT void levit_close(levit_classifier* classifier);

/* ---- What was opened
 * -------------------------------------------------------------------------------------------- */

typedef struct levit_info {
  size_t struct_size;         /* the caller sets it */
  const char* name;           /* what the bundle calls itself, as in "levit-384-fp32" */
  const char* arch;           /* "384" */
  const char* precision;      /* "fp32" */
  const char* weights_origin; /* "untrained": the classes mean nothing */
  const char* provider; /* "CPUExecutionProvider", "TensorRT" where it runs its plan, or "native" */
  const char* graph;    /* the file that was loaded, "model.onnx" or one below engines/ */
  const char* note;     /* what a user should be told of how it was opened, in one line, or "" */
  const char* onnxruntime_version; /* "1.31.1"; "" where ONNX Runtime does not run it */
  const char* onnxruntime_library; /* path of the file, or "" likewise */
  uint32_t image_size;             /* side of the square that the network sees, in pixels */
  uint32_t classes;
  uint32_t batch_minimum; /* of what was loaded; calls take any number of images */
  uint32_t batch_maximum;
  uint32_t
      takes_pixels; /* 1: tensors are uint8 (n, side, side, 3); 0: float32 (n, 3, side, side) */
  uint32_t golden_images;       /* that the self-test replayed; 0 when it was not asked for */
  double golden_share;          /* its largest error, as a share of what rounding explains */
  const char* tensorrt_version; /* "10.13.3.9" where TensorRT runs its plan, else "" */
  const char* tensorrt_library; /* path of the file, or "" likewise */
  const char* instruction_set;  /* that LEVIT_PROVIDER_NATIVE uses: "amx", "avx512-vnni", "avx512",
                                   "avx2" or "portable"; "" with the others */
} levit_info;

LEVIT_EXPORT levit_status levit_get_info(const levit_classifier* classifier, levit_info* info);

/* Name of a class, or NULL when there is no such class. */
LEVIT_EXPORT const char* levit_label(const levit_classifier* classifier, uint32_t class_index);

/* Runs the golden images at every batch size that the bundle verified and that what was loaded
 * takes; opening does so at the smallest. LEVIT_FAILED when a logit is further from float64 than
 * the bundle allows. `*images` is how many there are and `*share` the largest error, as a share of
 * what rounding explains; either may be NULL. */
LEVIT_EXPORT levit_status levit_self_test(const levit_classifier* classifier, uint32_t* images,
                                          double* share);

/* ---- Running
 * ----------------------------------------------------------------------------------------------------
 */

/* A JPEG or PNG file in memory. */
typedef struct levit_encoded {
  const uint8_t* data;
  size_t size;
} levit_encoded;

/* Pixels of three bytes. `stride` is the distance of two rows in bytes; negative where the first
 * row is the last one in memory, and `data` always points to the first. */
typedef struct levit_pixels {
  const uint8_t* data;
  uint32_t width;
  uint32_t height;
  ptrdiff_t stride;
  uint32_t bgr; /* 1: blue comes first, as OpenCV has it; 0: red */
} levit_pixels;

typedef struct levit_guess {
  uint32_t class_index;
  float logit;
  double probability; /* softmax of the logits */
} levit_guess;

/* Time that a call spent, in milliseconds of a steady clock, over all of its images. Of this size
 * for ever: what may be measured besides one day will stand at the end of levit_result. */
typedef struct levit_timings {
  double decode_ms;
  double resize_ms;    /* and crop */
  double normalize_ms; /* 0 where the graph normalises */
  double inference_ms;
  double rank_ms; /* softmax and the best classes */
} levit_timings;

typedef struct levit_result {
  size_t struct_size; /* the caller sets it, and all up to `logits` */
  uint32_t
      top_k; /* guesses wanted for each image, at most as many as there are classes; may be 0 */
  levit_guess*
      guesses; /* images * top_k, best first, the lower index first where two are equal; or NULL */
  float* logits;         /* images * classes, or NULL */
  levit_timings timings; /* written */
  size_t failed_image;   /* written: the image at fault when the call fails, or SIZE_MAX */
} levit_result;

/* Classifies `count` images. Any number is taken: what the graph cannot take at once is run one
 * group after another, and a group that is too small is filled up. On failure guesses and logits
 * may be partly written. */
LEVIT_EXPORT levit_status levit_run_encoded(const levit_classifier* classifier,
                                            const levit_encoded* images, size_t count,
                                            levit_result* result);

/* The same from decoded pixels. */
LEVIT_EXPORT levit_status levit_run_pixels(const levit_classifier* classifier,
                                           const levit_pixels* images, size_t count,
                                           levit_result* result);

/* The same from the network's own input, images without gaps: float32 (count, 3, side, side), which
 * must be finite, or uint8 (count, side, side, 3), as `takes_pixels` says. `size_bytes` is checked.
 */
LEVIT_EXPORT levit_status levit_run_tensor(const levit_classifier* classifier, const void* tensor,
                                           size_t size_bytes, size_t count, levit_result* result);

/* What the network sees of an image: RGB (side, side, 3), into `rgb` of `size_bytes`, which is
 * checked. */
LEVIT_EXPORT levit_status levit_preprocess_encoded(const levit_classifier* classifier,
                                                   const levit_encoded* image, uint8_t* rgb,
                                                   size_t size_bytes);
LEVIT_EXPORT levit_status levit_preprocess_pixels(const levit_classifier* classifier,
                                                  const levit_pixels* image, uint8_t* rgb,
                                                  size_t size_bytes);

#ifdef __cplusplus
}
#endif

#endif
