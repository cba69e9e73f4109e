/* qac_root.h: the root of a container of the format .qac, a hash that binds all its bytes (SPEC.md, section 13).
 *
 * A CRC-32 finds damage, the root finds a file that somebody changed on purpose. Compile qac_root.c in place of qac.c, which it
 * includes; or include it behind qac_delta.c. It takes no memory but some 1,200 bytes of stack, and reads the file once.
 */
#ifndef QAC_ROOT_H
#define QAC_ROOT_H

#include "qac.h"

#ifdef __cplusplus
extern "C" {
#endif

#define QAC_ROOT_BYTES 32

/* Compute the root of a whole file that is open. Compare it with one from a place that you trust: the program, or a
 * signature that was verified. Whatever is read afterwards is what the root binds, unless the bytes change meanwhile. */
qac_error qac_root(const qac_file *file, uint8_t root[QAC_ROOT_BYTES]);

#ifdef __cplusplus
}
#endif
#endif
