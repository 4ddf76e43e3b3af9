/* The log as columns: the lines of a capture, and the records in Kafka's batches. _packs.pyi says what they give. */

#include "_packs.h"

/* Columns of 64-bit integers that grow together, row by row. */
typedef struct {
    int64_t *cells;
    Py_ssize_t count, room;
} Columns;

static int
append(Columns *columns, const int64_t *row, int width)
{
    if (columns->count == columns->room) {
        Py_ssize_t room = columns->room ? 2 * columns->room : 256;
        int64_t *cells = PyMem_RawRealloc(columns->cells, (size_t)room * (size_t)width * 8);
        if (cells == NULL)
            return 0;
        columns->cells = cells;
        columns->room = room;
    }
    memcpy(columns->cells + columns->count++ * width, row, (size_t)width * 8);
    return 1;
}

/* Kafka's hash of a key. */
static uint32_t
murmur2(const byte *at, Py_ssize_t size)
{
    const uint32_t m = 0x5bd1e995;
    uint32_t h = 0x9747b28cu ^ (uint32_t)size;
    for (; size >= 4; at += 4, size -= 4) {
        uint32_t k = at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
        k *= m;
        k ^= k >> 24;
        h = h * m ^ k * m;
    }
    if (size >= 3)
        h ^= (uint32_t)at[2] << 16;
    if (size >= 2)
        h ^= (uint32_t)at[1] << 8;
    if (size >= 1)
        h = (h ^ at[0]) * m;
    h ^= h >> 13;
    h *= m;
    return h ^ h >> 15;
}

static const byte *
literal(const byte *p, const byte *end, const char *text)
{
    size_t size = strlen(text);
    return p != NULL && (size_t)(end - p) >= size && memcmp(p, text, size) == 0 ? p + size : NULL;
}

/* A whole number of up to 15 digits. */
static const byte *
whole(const byte *p, const byte *end, int64_t *result)
{
    const byte *first = p;
    *result = 0;
    for (; p < end && *p >= '0' && *p <= '9' && p - first < 16; p++)
        *result = *result * 10 + (*p - '0');
    return p == first || p - first > 15 || (*first == '0' && p - first > 1) ? NULL : p;
}

enum { TOPIC, PARTITION, STAMP, TIME, KEY_AT, KEY_SIZE, VALUE_AT, VALUE_SIZE, LINE_WIDTH };

/* A line of a capture as capture.Writer writes it, with a clean pack; gives where it ends, NULL: it is another. */
static const byte *
capture_line(const byte *text, const byte *p, const byte *end, PyObject *topics, uint32_t partitions, Rows *rows,
             int64_t *row)
{
    Span name, key;
    int64_t unused;
    if ((p = literal(p, end, "{\"topic\":\"")) == NULL || (p = string(p, end, &name)) == NULL)
        return NULL;
    Py_ssize_t topic = 0;
    for (; topic < PyTuple_GET_SIZE(topics); topic++) {
        PyObject *known = PyTuple_GET_ITEM(topics, topic);
        if (PyBytes_GET_SIZE(known) == name.size && memcmp(PyBytes_AS_STRING(known), name.at, (size_t)name.size) == 0)
            break;
    }
    if (topic == PyTuple_GET_SIZE(topics))
        return NULL;
    if ((p = literal(p, end, ",\"key\":\"")) == NULL || (p = string(p, end, &key)) == NULL)
        return NULL;
    if (key.size && key.at[0] == '@') /* of the clock, or of another kind that is no zone's */
        return NULL;
    const byte *value = literal(p, end, ",\"value\":");
    rows->count = 0;
    if (value == NULL || *value != '[' || (p = scan_pack(NULL, 0, value, end, rows)) == NULL)
        return NULL;
    row[VALUE_SIZE] = p - value;
    row[STAMP] = -1;
    const byte *next = literal(p, end, ",\"timestamp\":");
    if (next != NULL && (p = whole(next, end, row + STAMP)) == NULL)
        return NULL;
    if ((next = literal(p, end, ",\"partition\":")) != NULL && (p = whole(next, end, &unused)) == NULL)
        return NULL;
    if ((next = literal(p, end, ",\"offset\":")) != NULL && (p = whole(next, end, &unused)) == NULL)
        return NULL;
    if ((p = literal(p, end, "}\n")) == NULL)
        return NULL;
    row[TOPIC] = topic;
    row[PARTITION] = (murmur2(key.at, key.size) & 0x7fffffff) % partitions;
    row[TIME] = row[STAMP] >= 0 ? row[STAMP] : latest_of(rows);
    row[KEY_AT] = key.at - text;
    row[KEY_SIZE] = key.size;
    row[VALUE_AT] = value - text;
    return p;
}

PyObject *
capture_lines(PyObject *module, PyObject *args)
{
    PyObject *text, *topics;
    Py_ssize_t start;
    unsigned int partitions;
    if (!PyArg_ParseTuple(args, "SnO!I", &text, &start, &PyTuple_Type, &topics, &partitions))
        return NULL;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(topics); i++)
        if (!PyBytes_Check(PyTuple_GET_ITEM(topics, i))) {
            PyErr_SetString(PyExc_TypeError, "topics are bytes");
            return NULL;
        }
    if (start < 0 || start > PyBytes_GET_SIZE(text) || partitions < 1) {
        PyErr_SetString(PyExc_ValueError, "start is to be in the text, and partitions 1 or more");
        return NULL;
    }
    const byte *first = (const byte *)PyBytes_AS_STRING(text), *p = first + start, *next;
    const byte *end = first + PyBytes_GET_SIZE(text);
    Columns lines = {NULL, 0, 0};
    Rows rows = {NULL, NULL, NULL, 0};
    size_t room = 0;
    int64_t row[LINE_WIDTH];
    PyObject *result = NULL;
    Py_BEGIN_ALLOW_THREADS;
    while (p < end && (next = memchr(p, '\n', (size_t)(end - p))) != NULL) {
        size_t most = (size_t)(next - p) / SHORTEST_READING + 1;
        if (most > room) {
            PyMem_RawFree(rows.time);
            rows.time = PyMem_RawMalloc((room = 2 * most) * 8);
        }
        if (rows.time == NULL)
            break;
        next = capture_line(first, p, next + 1, topics, partitions, &rows, row);
        if (next == NULL || !append(&lines, row, LINE_WIDTH))
            break;
        p = next;
    }
    Py_END_ALLOW_THREADS;
    result = Py_BuildValue("ny#", (Py_ssize_t)(p - first), lines.cells ? (char *)lines.cells : "",
                           lines.count * LINE_WIDTH * 8);
    PyMem_RawFree(lines.cells);
    PyMem_RawFree(rows.time);
    return result;
}

/* A big-endian number of so many bytes. */
static int64_t
big_endian(const byte *at, int bytes)
{
    uint64_t x = at[0] & 0x80 ? ~0ull : 0;
    for (int i = 0; i < bytes; i++)
        x = x << 8 | at[i];
    return (int64_t)x;
}

/* A zigzag varint. */
static const byte *
varint(const byte *p, const byte *end, int64_t *result)
{
    uint64_t x = 0;
    for (int shift = 0; p != NULL && p < end && shift < 70; shift += 7) {
        x |= (uint64_t)(*p & 0x7f) << (shift < 63 ? shift : 63);
        if (!(*p++ & 0x80)) {
            *result = (int64_t)(x >> 1 ^ (0 - (x & 1)));
            return p;
        }
    }
    return NULL;
}

/* Bytes whose size comes before them, as a span of `text`. */
static const byte *
sized(const byte *text, const byte *p, const byte *end, int64_t *span)
{
    if ((p = varint(p, end, span + 1)) == NULL || span[1] > end - p)
        return NULL;
    span[0] = p - text;
    span[1] = span[1] < 0 ? -1 : span[1];
    return span[1] < 0 ? p : p + span[1];
}

enum { BATCH_HEADER = 61, OFFSET_WIDTH = 6 };

/* The records from offset `from` on of a Kafka batch (magic 2, neither compressed nor control); 0: it is broken. */
static int
kafka_batch(const byte *text, const byte *p, const byte *end, int64_t from, Columns *records)
{
    int64_t base = big_endian(p, 8), first_ms = big_endian(p + 27, 8), last_ms = big_endian(p + 35, 8);
    int64_t count = big_endian(p + 57, 4);
    int by_broker = p[22] & 8; /* LogAppendTime */
    p += BATCH_HEADER;
    for (; count > 0; count--) {
        int64_t size, stamp, offset, row[OFFSET_WIDTH];
        if ((p = varint(p, end, &size)) == NULL || size < 1 || size > end - p)
            return 0;
        const byte *next = p + size;
        p = varint(p + 1, next, &stamp); /* after attributes that say nothing */
        p = varint(p, next, &offset);
        if (p == NULL || (p = sized(text, p, next, row + 2)) == NULL || sized(text, p, next, row + 4) == NULL)
            return 0;
        row[0] = base + offset;
        row[1] = by_broker ? last_ms : first_ms + stamp;
        if (row[0] >= from && !append(records, row, OFFSET_WIDTH))
            return 0;
        p = next;
    }
    return p == end;
}

PyObject *
kafka_records(PyObject *module, PyObject *args)
{
    PyObject *text;
    Py_ssize_t start, stop;
    long long from;
    if (!PyArg_ParseTuple(args, "SnnL", &text, &start, &stop, &from))
        return NULL;
    if (start < 0 || start > stop || stop > PyBytes_GET_SIZE(text)) {
        PyErr_SetString(PyExc_ValueError, "start and stop are to be in the text");
        return NULL;
    }
    const byte *first = (const byte *)PyBytes_AS_STRING(text), *p = first + start, *end = first + stop;
    Columns records = {NULL, 0, 0};
    int fine = 1;
    Py_BEGIN_ALLOW_THREADS;
    while (fine && p < end) {
        int64_t size = end - p < BATCH_HEADER ? 0 : 12 + big_endian(p + 8, 4);
        fine = size >= BATCH_HEADER && size <= end - p && crc32c(p + 21, size - 21) == (uint32_t)big_endian(p + 17, 4) &&
               kafka_batch(first, p, p + size, from, &records);
        p += fine ? size : 0;
    }
    Py_END_ALLOW_THREADS;
    PyObject *result = fine ? PyBytes_FromStringAndSize((char *)records.cells, records.count * OFFSET_WIDTH * 8)
                            : Py_NewRef(Py_None);
    PyMem_RawFree(records.cells);
    return result;
}
