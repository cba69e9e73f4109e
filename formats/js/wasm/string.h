/* The four functions of string.h that qac.c uses, for a target without a C library. */
#ifndef STRING_H
#define STRING_H

#include <stddef.h>

void *memcpy(void *into, const void *from, size_t bytes);
void *memset(void *into, int byte, size_t bytes);
int memcmp(const void *a, const void *b, size_t bytes);
size_t strlen(const char *text);

#endif
