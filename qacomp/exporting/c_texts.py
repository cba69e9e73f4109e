"""The texts of the C sources that `decode --c` writes, besides the decoder itself."""

HEADER_START = """\
/* model.h: the container {name}, written by qacomp. Include it in one file. */
#ifndef MODEL_H
#define MODEL_H

#include <stdint.h>

#define MODEL_BYTES {bytes}u
#define MODEL_LARGEST_BYTES {largest}u /* of the largest tensor, decoded */
"""

HEADER_END = """\
};

#endif
"""

MAIN = """\
/* main.c: decode the tensors of model.h one after the other, and print what they are. Replace it by your own. */
#include "model.h"
#include "qac.h"

#include <stdio.h>
#include <stdlib.h>

static uint64_t buffer[MODEL_LARGEST_BYTES / 8 + 1]; /* of words, so that values of every type are aligned */

/* Open the container; the arena must stay as long as the file is used. */
static qac_error open_model(qac_file *file) {
    qac_source source = {0};
    source.data = model_data;
    source.size = MODEL_BYTES;
#ifdef MODEL_ARENA_BYTES
    static uint64_t arena[MODEL_ARENA_BYTES / 8 + 1];
    return qac_open(file, &source, QAC_STRICT, arena, sizeof arena);
#else
    size_t bytes = 4096;
    void *arena = malloc(bytes);
    qac_error error = arena ? qac_open(file, &source, QAC_STRICT, arena, bytes) : QAC_BAD_ARGUMENT;
    for (int measured = 0; error == QAC_ARENA_TOO_SMALL || (!error && !measured);) {
        uint64_t need = file->need;
        if (!error) error = qac_arena_bytes(file, QAC_LEAN, QAC_FINEST, &need);
        measured = !error;
        free(arena);
        bytes = (size_t)(error ? file->need : need);
        arena = malloc(bytes);
        error = arena ? qac_open(file, &source, QAC_STRICT, arena, bytes) : QAC_BAD_ARGUMENT;
    }
    return error;
#endif
}

int main(void) {
    static qac_file file;
    qac_error error = open_model(&file);
    for (uint32_t number = 0; !error && number < file.tensors; number++) {
        qac_tensor tensor;
        error = qac_tensor_info(&file, number, &tensor);
        if (!error) error = qac_read(&file, number, QAC_FINEST, buffer, sizeof buffer);
        if (!error) printf("%s: %lu values\\n", tensor.name, (unsigned long)tensor.count);
    }
    if (error) printf("%s\\n", qac_error_text(error));
    return error ? 1 : 0;
}
"""

CMAKE = """\
cmake_minimum_required(VERSION 3.10)
project(model C)
set(CMAKE_C_STANDARD 99)
add_library(qac qac.c)
add_executable(model main.c)
target_link_libraries(model qac)
"""
