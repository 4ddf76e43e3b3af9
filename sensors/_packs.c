/* Clean SenML packs, read in one pass: sensors/scanner.py says what a Scanner is, and does the same in Python.

   Only the plain subset of SenML is taken: ASCII without backslashes, no field but those in FIELDS and none of them
   twice, names, units and zones that are known, numbers that come out exact. Whatever else a pack holds, it is "not
   clean", and Python judges it. So nothing here has to be right about the odd cases, only to leave them alone. */

#include "_packs.h"

#include <math.h>

/* ---- tables of texts ---- */

typedef struct {
    byte *text;      /* all of them, one after the other: they are looked at in their order, more often than not */
    size_t *starts;  /* of each in `text`, and where the last one ends */
    Py_ssize_t count;
    uint32_t *slots; /* number + 1, 0: free */
    uint64_t mask;
    Py_ssize_t longest;
} Table;

static uint64_t
hash(const byte *at, Py_ssize_t size)
{
    uint64_t h = 0x9e3779b97f4a7c15ull ^ (uint64_t)size, word;
    for (; size >= 8; at += 8, size -= 8) {
        memcpy(&word, at, 8);
        h = (h ^ word) * 0xff51afd7ed558ccdull;
        h ^= h >> 32;
    }
    word = 0;
    for (Py_ssize_t i = 0; i < size; i++)
        word = word << 8 | at[i];
    h = (h ^ word) * 0xc4ceb9fe1a85ec53ull;
    return h ^ h >> 29;
}

static Span
text_of(const Table *table, Py_ssize_t number)
{
    return (Span){table->text + table->starts[number],
                  (Py_ssize_t)(table->starts[number + 1] - table->starts[number])};
}

static int
same(const Table *table, Py_ssize_t number, const byte *at, Py_ssize_t size)
{
    Span text = text_of(table, number);
    return text.size == size && memcmp(text.at, at, (size_t)size) == 0;
}

/* The number of a text, -1: it is not in the table. */
static Py_ssize_t
find(const Table *table, const byte *at, Py_ssize_t size)
{
    if (size > table->longest)
        return -1;
    for (uint64_t slot = hash(at, size) & table->mask; table->slots[slot]; slot = (slot + 1) & table->mask)
        if (same(table, table->slots[slot] - 1, at, size))
            return table->slots[slot] - 1;
    return -1;
}

static int
make_table(Table *table, PyObject *sequence)
{
    PyObject *texts = PySequence_Tuple(sequence);
    if (texts == NULL)
        return -1;
    Py_ssize_t count = table->count = PyTuple_GET_SIZE(texts);
    size_t length = 0;
    int result = -1;
    if (count > (1 << 30)) {
        PyErr_SetString(PyExc_ValueError, "too many texts");
        goto done;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        if (!PyBytes_Check(PyTuple_GET_ITEM(texts, i))) {
            PyErr_SetString(PyExc_TypeError, "texts are bytes");
            goto done;
        }
        length += (size_t)PyBytes_GET_SIZE(PyTuple_GET_ITEM(texts, i));
    }
    for (table->mask = 8; table->mask < 3 * (uint64_t)count; table->mask *= 2)
        ;
    table->slots = PyMem_Calloc(table->mask, sizeof(uint32_t));
    table->starts = PyMem_Calloc((size_t)count + 1, sizeof(size_t));
    table->text = PyMem_Malloc(length + 1);
    if (table->slots == NULL || table->starts == NULL || table->text == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    table->mask--;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *text = PyTuple_GET_ITEM(texts, i);
        Py_ssize_t size = PyBytes_GET_SIZE(text);
        const byte *at = memcpy(table->text + table->starts[i], PyBytes_AS_STRING(text), (size_t)size);
        table->starts[i + 1] = table->starts[i] + (size_t)size;
        uint64_t slot = hash(at, size) & table->mask;
        while (table->slots[slot])
            slot = (slot + 1) & table->mask;
        table->slots[slot] = (uint32_t)i + 1;
        table->longest = size > table->longest ? size : table->longest;
    }
    result = 0;
done:
    Py_DECREF(texts);
    return result;
}

static void
free_table(Table *table)
{
    PyMem_Free(table->text);
    PyMem_Free(table->starts);
    PyMem_Free(table->slots);
    table->text = NULL;
    table->starts = NULL;
    table->slots = NULL;
}

/* ---- packs ---- */

enum { BN = 1, BT = 2, BU = 4, N = 8, T = 16, U = 32, V = 64, VB = 128 };

#define ABSOLUTE_FROM 268435456.0 /* s; sensors/senml.py has both */
#define END_OF_TIME 253402300800000 /* ms */

struct Scanner {
    PyObject_HEAD
    Table names, zones;
    int64_t *zone_of; /* of each name */
    PyObject *unit;   /* bytes, or None: any will do */
    int truths;
};

static const byte *
spaces(const byte *p, const byte *end)
{
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    return p;
}

#define LONGEST 256 /* of a text; sensors/senml.py cuts what is longer */

const byte *
string(const byte *p, const byte *end, Span *text)
{
    text->at = p;
    while (p < end && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\')
        p++;
    text->size = p - text->at;
    return p < end && *p == '"' && text->size <= LONGEST ? p + 1 : NULL;
}

/* The field whose opening quote has been read, 0: it is not one of those taken here. */
static int
field(const byte **at, const byte *end)
{
    const byte *p = *at;
    int found = 0;
    if (end - p >= 2 && p[1] == '"') {
        found = *p == 'n' ? N : *p == 'v' ? V : *p == 't' ? T : *p == 'u' ? U : 0;
        *at = p + 2;
    } else if (end - p >= 3 && p[2] == '"') {
        if (p[0] == 'b')
            found = p[1] == 'n' ? BN : p[1] == 't' ? BT : p[1] == 'u' ? BU : 0;
        else if (p[0] == 'v' && p[1] == 'b')
            found = VB;
        *at = p + 3;
    }
    return found;
}

/* The channel of the name bn + n, -1: unknown. The one after the last is tried first: gateways keep an order. */
static Py_ssize_t
channel_of(const Table *names, Span bn, Span n, Py_ssize_t last)
{
    byte joined[LONGEST];
    if (bn.size) {
        if (bn.size + n.size > (Py_ssize_t)sizeof joined)
            return -1;
        memcpy(joined, bn.at, (size_t)bn.size);
        if (n.size)
            memcpy(joined + bn.size, n.at, (size_t)n.size);
        n = (Span){joined, bn.size + n.size};
    }
    if (n.at == NULL)
        return -1;
    if (last + 1 < names->count && same(names, last + 1, n.at, n.size))
        return last + 1;
    return find(names, n.at, n.size);
}

/* Whether the text is there, eight bytes at a time; so many can be read. */
static int
begins(const byte *p, const byte *text, Py_ssize_t size)
{
    uint64_t one, other;
    if (size < 8)
        return memcmp(p, text, (size_t)size) == 0;
    for (Py_ssize_t i = 0;; i = i + 16 <= size ? i + 8 : size - 8) { /* the last eight overlap those before them */
        memcpy(&one, p + i, 8);
        memcpy(&other, text + i, 8);
        if (one != other)
            return 0;
        if (i == size - 8)
            return 1;
    }
}

#define HEAD "{\"n\":\""
#define TIME "\",\"t\":"
#define VALUE "\",\"v\":"
#define LEAST (sizeof HEAD + sizeof VALUE + 1) /* bytes of an entry with what follows it, its name left out: {"n":"","v":1}] */

/* What a gateway writes more often than not: the entry of this name, with nothing in it but time and value or the value
   alone, and no spaces. Gives where it ends; NULL: it is another. */
static const byte *
usual(Span name, const byte *p, const byte *end, double *t, double *v)
{
    if (end - p < (Py_ssize_t)LEAST + name.size || memcmp(p, HEAD, sizeof HEAD - 1) != 0)
        return NULL;
    p += sizeof HEAD - 1;
    if (!begins(p, name.at, name.size))
        return NULL;
    p += name.size;
    if (memcmp(p, VALUE, sizeof VALUE - 1) == 0) {
        p += sizeof VALUE - 1;
    } else {
        if (memcmp(p, TIME, sizeof TIME - 1) != 0)
            return NULL;
        p = number(p + sizeof TIME - 1, end, t);
        if (p == NULL || end - p < (Py_ssize_t)sizeof VALUE - 2 || memcmp(p, VALUE + 1, sizeof VALUE - 2) != 0)
            return NULL;
        p += sizeof VALUE - 2;
    }
    p = number(p, end, v);
    return p != NULL && p < end && *p == '}' ? p + 1 : NULL;
}

/* Whether an entry of this time, in s, is absolute and finite; its time in ms. */
static int
in_ms(double seconds, int64_t *time)
{
    if (!(seconds >= ABSOLUTE_FROM) || !isfinite(seconds))
        return 0;
    double ms = seconds * 1000.0;
    *time = ms >= END_OF_TIME ? END_OF_TIME : (int64_t)rint(ms);
    return 1;
}

const byte *
scan_pack(const Scanner *scanner, Py_ssize_t zone, const byte *p, const byte *end, Rows *rows)
{
    Span bn = {NULL, 0}, bu = {NULL, 0};
    double bt = 0.0;
    Py_ssize_t channel = -1;
    p = spaces(p, end);
    if (p == end || *p++ != '[')
        return NULL;
    p = spaces(p, end);
    if (p < end && *p == ']')
        return p + 1;
    for (;;) {
        Span n = {NULL, 0}, u = {NULL, 0};
        double t = 0.0, v = 0.0;
        int seen = 0;
        const byte *after = NULL;
        if (scanner != NULL && channel >= 0 && channel + 1 < scanner->names.count && !bn.size && bu.at == NULL)
            after = usual(text_of(&scanner->names, channel + 1), p, end, &t, &v);
        if (after != NULL) {
            channel++;
            if (!in_ms(bt + t, &rows->time[rows->count]) || scanner->zone_of[channel] != zone)
                return NULL;
            rows->channel[rows->count] = channel;
            rows->value[rows->count++] = v;
            p = after;
            goto next;
        }
        t = v = 0.0;
        if (p == end || *p++ != '{')
            return NULL;
        do {
            p = spaces(p, end);
            if (p == end || *p++ != '"')
                return NULL;
            int which = field(&p, end);
            if (which == 0 || seen & which)
                return NULL;
            seen |= which;
            p = spaces(p, end);
            if (p == end || *p++ != ':')
                return NULL;
            p = spaces(p, end);
            if (p == end)
                return NULL;
            if (which & (BN | N | BU | U)) {
                if (*p++ != '"')
                    return NULL;
                p = string(p, end, which == N ? &n : which == BN ? &bn : which == U ? &u : &bu);
            } else if (which == VB) {
                v = *p == 't';
                if (end - p >= 4 && memcmp(p, "true", 4) == 0)
                    p += 4;
                else if (end - p >= 5 && memcmp(p, "false", 5) == 0)
                    p += 5;
                else
                    return NULL;
            } else {
                p = number(p, end, which == V ? &v : which == T ? &t : &bt);
            }
            if (p == NULL)
                return NULL;
            p = spaces(p, end);
            if (p == end)
                return NULL;
        } while (*p++ == ',');
        if (p[-1] != '}')
            return NULL;
        if (seen & (N | T | U | V | VB)) { /* else it only sets base fields */
            if (!(seen & V) == !(seen & VB))
                return NULL;
            if (!in_ms(bt + t, &rows->time[rows->count]))
                return NULL;
            if (scanner != NULL) {
                Span unit = u.at != NULL ? u : bu;
                if (seen & VB && !scanner->truths)
                    return NULL;
                if (unit.at != NULL && scanner->unit != Py_None &&
                    (unit.size != PyBytes_GET_SIZE(scanner->unit) ||
                     memcmp(unit.at, PyBytes_AS_STRING(scanner->unit), (size_t)unit.size) != 0))
                    return NULL;
                channel = channel_of(&scanner->names, bn, n, channel);
                if (channel < 0 || scanner->zone_of[channel] != zone)
                    return NULL;
                rows->channel[rows->count] = channel;
                rows->value[rows->count] = v;
            } else if (!(bn.size && memchr(bn.at, '/', (size_t)bn.size)) &&
                       !(n.size && memchr(n.at, '/', (size_t)n.size))) {
                return NULL;
            }
            rows->count++;
        }
    next:
        p = spaces(p, end);
        if (p == end)
            return NULL;
        if (*p == ']')
            return p + 1;
        if (*p++ != ',')
            return NULL;
        p = spaces(p, end);
    }
}

/* ---- Scanner ---- */

static PyObject *
scanner_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"names", "zone_of", "zones", "unit", "truths", NULL};
    PyObject *texts, *zone_of, *zones, *unit;
    int truths;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOOp", names, &texts, &zone_of, &zones, &unit, &truths))
        return NULL;
    if (unit != Py_None && !PyBytes_Check(unit)) {
        PyErr_SetString(PyExc_TypeError, "unit is bytes or None");
        return NULL;
    }
    Scanner *self = (Scanner *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->unit = Py_NewRef(unit);
    self->truths = truths;
    PyObject *numbers = NULL;
    if (make_table(&self->names, texts) < 0 || make_table(&self->zones, zones) < 0)
        goto failed;
    numbers = PySequence_Tuple(zone_of);
    if (numbers == NULL)
        goto failed;
    Py_ssize_t count = self->names.count;
    if (PyTuple_GET_SIZE(numbers) != count) {
        PyErr_SetString(PyExc_ValueError, "a zone for each name is needed");
        goto failed;
    }
    self->zone_of = PyMem_Calloc((size_t)count + 1, sizeof(int64_t));
    if (self->zone_of == NULL) {
        PyErr_NoMemory();
        goto failed;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        self->zone_of[i] = PyLong_AsLongLong(PyTuple_GET_ITEM(numbers, i));
        if (self->zone_of[i] == -1 && PyErr_Occurred())
            goto failed;
    }
    Py_DECREF(numbers);
    return (PyObject *)self;
failed:
    Py_XDECREF(numbers);
    Py_DECREF(self);
    return NULL;
}

static void
scanner_dealloc(Scanner *self)
{
    free_table(&self->names);
    free_table(&self->zones);
    PyMem_Free(self->zone_of);
    Py_CLEAR(self->unit);
    Py_TYPE(self)->tp_free(self);
}

#define NOT_CLEAN -1
#define OF_THE_CLOCK -2
#define RELEASE_FROM 32768 /* bytes; for less, giving other threads a turn costs more than it is worth */

/* Scans `count` records, whose keys and packs `spans` has in turn: (stamps, sizes, channel, time, value) as bytes. */
static PyObject *
scan_spans(const Scanner *self, const Span *spans, Py_ssize_t count, PyObject *stamps)
{
    Py_ssize_t text = 0;
    for (Py_ssize_t i = 0; i < count; i++)
        text += spans[2 * i + 1].size;
    Py_ssize_t most = (text / SHORTEST_READING + 1) * 8;
    PyObject *result = NULL, *sizes = PyBytes_FromStringAndSize(NULL, count * 8);
    PyObject *channels = PyBytes_FromStringAndSize(NULL, most), *times = PyBytes_FromStringAndSize(NULL, most),
             *values = PyBytes_FromStringAndSize(NULL, most);
    if (sizes == NULL || channels == NULL || times == NULL || values == NULL)
        goto done;
    int64_t *size_of = (int64_t *)PyBytes_AS_STRING(sizes);
    Rows rows = {(int64_t *)PyBytes_AS_STRING(channels), (int64_t *)PyBytes_AS_STRING(times),
                 (double *)PyBytes_AS_STRING(values), 0};
    PyThreadState *state = text >= RELEASE_FROM ? PyEval_SaveThread() : NULL;
    Py_ssize_t zone = -1;
    for (Py_ssize_t i = 0; i < count; i++) {
        Span key = spans[2 * i], pack = spans[2 * i + 1];
        Py_ssize_t before = rows.count;
        size_of[i] = NOT_CLEAN;
        if (key.at == NULL)
            continue;
        if (zone < 0 || !same(&self->zones, zone, key.at, key.size))
            zone = find(&self->zones, key.at, key.size);
        if (zone < 0 && key.size == sizeof CLOCK_KEY - 1 && memcmp(key.at, CLOCK_KEY, sizeof CLOCK_KEY - 1) == 0)
            size_of[i] = OF_THE_CLOCK;
        if (zone < 0 || pack.at == NULL)
            continue;
        const byte *end = pack.at + pack.size, *read = scan_pack(self, zone, pack.at, end, &rows);
        if (read != NULL && spaces(read, end) == end)
            size_of[i] = rows.count - before;
        else
            rows.count = before;
    }
    if (state != NULL)
        PyEval_RestoreThread(state);
    if (_PyBytes_Resize(&channels, rows.count * 8) == 0 && _PyBytes_Resize(&times, rows.count * 8) == 0 &&
        _PyBytes_Resize(&values, rows.count * 8) == 0)
        result = PyTuple_Pack(5, stamps, sizes, channels, times, values);
done:
    Py_XDECREF(sizes);
    Py_XDECREF(channels);
    Py_XDECREF(times);
    Py_XDECREF(values);
    return result;
}

static int64_t
stamp_of(PyObject *timestamp)
{
    int overflow;
    if (!PyLong_Check(timestamp))
        return -1;
    long long stamp = PyLong_AsLongLongAndOverflow(timestamp, &overflow);
    return overflow > 0 || stamp > END_OF_TIME ? END_OF_TIME : overflow < 0 || stamp < 0 ? -1 : stamp;
}

static PyObject *
scanner_scan(Scanner *self, PyObject *sequence)
{
    PyObject *records = PySequence_Tuple(sequence); /* holds what the spans point into, whatever others do */
    if (records == NULL)
        return NULL;
    Py_ssize_t count = PyTuple_GET_SIZE(records);
    PyObject *result = NULL, *stamps = PyBytes_FromStringAndSize(NULL, count * 8);
    Span *spans = PyMem_Calloc((size_t)count * 2 + 1, sizeof(Span));
    if (stamps == NULL || spans == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    int64_t *stamp = (int64_t *)PyBytes_AS_STRING(stamps);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *record = PyTuple_GET_ITEM(records, i);
        if (!PyTuple_Check(record) || PyTuple_GET_SIZE(record) < 6) {
            PyErr_SetString(PyExc_TypeError, "not a Record");
            goto done;
        }
        PyObject *key = PyTuple_GET_ITEM(record, 4), *value = PyTuple_GET_ITEM(record, 5);
        stamp[i] = stamp_of(PyTuple_GET_ITEM(record, 3));
        if (PyBytes_Check(key))
            spans[2 * i] = (Span){(const byte *)PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key)};
        if (PyBytes_Check(value))
            spans[2 * i + 1] = (Span){(const byte *)PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)};
    }
    result = scan_spans(self, spans, count, stamps);
done:
    PyMem_Free(spans);
    Py_XDECREF(stamps);
    Py_DECREF(records);
    return result;
}

static PyObject *
scanner_scan_text(Scanner *self, PyObject *args)
{
    PyObject *text, *stamps;
    Py_buffer places;
    if (!PyArg_ParseTuple(args, "Sy*O", &text, &places, &stamps))
        return NULL;
    const byte *at = (const byte *)PyBytes_AS_STRING(text);
    const int64_t *place = places.buf;
    Py_ssize_t count = places.len / (4 * 8);
    int64_t size = PyBytes_GET_SIZE(text);
    PyObject *result = NULL;
    Span *spans = PyMem_Calloc((size_t)count * 2 + 1, sizeof(Span));
    if (spans == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    for (Py_ssize_t i = 0; i < 2 * count; i++, place += 2) {
        if (place[1] < 0)
            continue;
        if (place[0] < 0 || place[0] > size || place[1] > size - place[0]) {
            PyErr_SetString(PyExc_ValueError, "a place outside the text");
            goto done;
        }
        spans[i] = (Span){at + place[0], place[1]};
    }
    result = scan_spans(self, spans, count, stamps);
done:
    PyMem_Free(spans);
    PyBuffer_Release(&places);
    return result;
}

static PyMethodDef scanner_methods[] = {
    {"scan", (PyCFunction)scanner_scan, METH_O, NULL},
    {"scan_text", (PyCFunction)scanner_scan_text, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject ScannerType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "sensors._packs.Scanner",
    .tp_basicsize = sizeof(Scanner),
    .tp_dealloc = (destructor)scanner_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_methods = scanner_methods,
    .tp_new = scanner_new,
};

/* ---- module ---- */

int64_t
latest_of(const Rows *rows)
{
    int64_t latest = -1;
    for (Py_ssize_t i = 0; i < rows->count; i++)
        if (rows->time[i] < END_OF_TIME && rows->time[i] > latest)
            latest = rows->time[i];
    return latest;
}

static PyObject *
latest_time(PyObject *module, PyObject *pack)
{
    if (!PyBytes_Check(pack))
        Py_RETURN_NONE;
    const byte *at = (const byte *)PyBytes_AS_STRING(pack), *end = at + PyBytes_GET_SIZE(pack);
    Rows rows = {NULL, PyMem_Malloc(((size_t)(end - at) / SHORTEST_READING + 1) * 8), NULL, 0};
    if (rows.time == NULL)
        return PyErr_NoMemory();
    const byte *read = scan_pack(NULL, 0, at, end, &rows);
    int64_t latest = read != NULL && spaces(read, end) == end ? latest_of(&rows) : -1;
    PyMem_Free(rows.time);
    if (latest < 0)
        Py_RETURN_NONE;
    return PyLong_FromLongLong(latest);
}

static PyMethodDef methods[] = {
    {"latest_time", latest_time, METH_O, NULL},
    {"capture_lines", capture_lines, METH_VARARGS, NULL},
    {"kafka_records", kafka_records, METH_VARARGS, NULL},
    {"crc32c", crc32c_of, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "sensors._packs",
    .m_size = -1,
    .m_methods = methods,
};

PyMODINIT_FUNC
PyInit__packs(void)
{
    prepare_numbers();
    prepare_crc();
    PyObject *made = PyModule_Create(&module);
    if (made == NULL || PyModule_AddType(made, &ScannerType) < 0) {
        Py_XDECREF(made);
        return NULL;
    }
    return made;
}
