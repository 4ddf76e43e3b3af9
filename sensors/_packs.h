/* What the parts of the extension sensors._packs share. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <string.h>

typedef unsigned char byte;

typedef struct {
    const byte *at; /* NULL: there is none */
    Py_ssize_t size;
} Span;

/* The readings of packs: channel, time in ms, value. */
typedef struct {
    int64_t *channel, *time;
    double *value;
    Py_ssize_t count;
} Rows;

typedef struct Scanner Scanner;

#define CLOCK_KEY "@clock"
#define SHORTEST_READING 7 /* {"v":1} */

/* _numbers.c */
void prepare_numbers(void);
/* A JSON number; NULL where it is none, or not one that this can compute exactly. */
const byte *number(const byte *p, const byte *end, double *result);

/* _crc.c */
void prepare_crc(void);
uint32_t crc32c(const byte *at, Py_ssize_t size);
PyObject *crc32c_of(PyObject *module, PyObject *args);

/* _packs.c */
/* The text of a string whose opening quote has been read: ASCII, nothing escaped, not too long; NULL: it is another. */
const byte *string(const byte *p, const byte *end, Span *text);
/* Reads a pack from `p` on into `rows` (or, without a scanner, only its times); gives where it ends, NULL: not clean. */
const byte *scan_pack(const Scanner *scanner, Py_ssize_t zone, const byte *p, const byte *end, Rows *rows);
/* The latest time of these rows in ms, -1: none is before the year 10000. */
int64_t latest_of(const Rows *rows);

/* _log.c */
PyObject *capture_lines(PyObject *module, PyObject *args);
PyObject *kafka_records(PyObject *module, PyObject *args);
