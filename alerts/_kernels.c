/* Steps of the fold that look at every reading, one after another: alerts/kernels.py says what they do. Each does what
   the numpy code beside its call does, and gives the same bytes. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define FINE 1048576.0 /* 2^20: below it x * 1e6 is off by less than 1e-4 */
#define SURE 0.4999
#define MANY 2000          /* readings for which it pays to let other threads work meanwhile */

enum { GOOD, HELD, LATE, DUPLICATE };

/* x rounded to 6 decimals, by its own digits where x * 1e6 does not tell which way to go: alerts/levels.py. */
static double
round6(double x)
{
    double scaled = x * 1e6, rounded = rint(scaled);
    if (fabs(scaled - rounded) < SURE && fabs(rounded) < FINE * 1e6)
        return rounded / 1e6;
    if (!(fabs(x) < 1e17)) /* a whole number, or none */
        return x;
    char digits[32];
    snprintf(digits, sizeof digits, "%.6f", x);
    return strtod(digits, NULL);
}

/* ---- arguments: contiguous arrays ---- */

#define MOST 16

typedef struct {
    Py_buffer views[MOST];
    int count;
} Arrays;

static void
release(Arrays *arrays)
{
    while (arrays->count)
        PyBuffer_Release(&arrays->views[--arrays->count]);
}

/* The data of an array of `size` items of `width` bytes (size -1: any number, which is put there); NULL: it is not. */
static void *
array(Arrays *arrays, PyObject *object, Py_ssize_t width, Py_ssize_t *size, int writable)
{
    Py_buffer *view = &arrays->views[arrays->count];
    if (PyObject_GetBuffer(object, view, writable ? PyBUF_CONTIG : PyBUF_CONTIG_RO) < 0)
        return NULL;
    arrays->count++;
    if (*size < 0)
        *size = view->len / width;
    if (view->len != *size * width) {
        PyErr_Format(PyExc_ValueError, "an array has %zd bytes, not %zd of %zd", view->len, *size, width);
        return NULL;
    }
    return view->buf;
}

static int
within(const int64_t *index, Py_ssize_t count, Py_ssize_t size)
{
    for (Py_ssize_t i = 0; i < count; i++)
        if (index[i] < 0 || index[i] >= size) {
            PyErr_SetString(PyExc_IndexError, "there is no such channel");
            return 0;
        }
    return 1;
}

#define WITHOUT_GIL(count, work)                                    \
    do {                                                            \
        PyThreadState *state = (count) > MANY ? PyEval_SaveThread() : NULL; \
        work;                                                       \
        if (state != NULL)                                          \
            PyEval_RestoreThread(state);                            \
    } while (0)

/* ---- sift ---- */

typedef struct {
    const int64_t *channel, *time, *sizes, *stamps, *clocks;
    const double *value, *lows, *highs;
    int64_t *record;
    Py_ssize_t count, records, quantities;
    long long clock, ahead, end;
} Sifting;

static int
sift_all(const Sifting *s)
{
    int fine = 1;
    Py_ssize_t row = 0;
    for (Py_ssize_t number = 0; number < s->records; number++) {
        int64_t now = s->clocks == NULL ? s->clock : s->clocks[number], latest = s->end - 1, before = INT64_MIN;
        if (s->stamps[number] > now)
            now = s->stamps[number];
        if (now >= 0 && now < latest - s->ahead)
            latest = now + s->ahead;
        for (int64_t left = s->sizes[number]; left > 0 && row < s->count; left--, row++) {
            double x = round6(s->value[row]);
            Py_ssize_t quantity = s->quantities == 1 ? 0 : s->channel[row] % s->quantities;
            fine &= (x >= s->lows[quantity]) & (x <= s->highs[quantity]) & (fabs(s->value[row]) <= 1.7976931348623157e308);
            fine &= (s->time[row] <= latest) & (s->time[row] >= before);
            before = s->time[row];
            s->record[row] = number;
        }
    }
    return fine && row == s->count;
}

static PyObject *
sift(PyObject *module, PyObject *args)
{
    PyObject *channel, *time, *value, *sizes, *stamps, *clock, *lows, *highs, *record;
    Sifting s = {0};
    if (!PyArg_ParseTuple(args, "OOOOOOOOOLL", &channel, &time, &value, &sizes, &stamps, &clock, &lows, &highs, &record,
                          &s.ahead, &s.end))
        return NULL;
    Arrays arrays = {.count = 0};
    s.count = s.records = s.quantities = -1;
    PyObject *result = NULL;
    if ((s.channel = array(&arrays, channel, 8, &s.count, 0)) == NULL ||
        (s.time = array(&arrays, time, 8, &s.count, 0)) == NULL ||
        (s.value = array(&arrays, value, 8, &s.count, 0)) == NULL ||
        (s.record = array(&arrays, record, 8, &s.count, 1)) == NULL ||
        (s.sizes = array(&arrays, sizes, 8, &s.records, 0)) == NULL ||
        (s.stamps = array(&arrays, stamps, 8, &s.records, 0)) == NULL ||
        (s.lows = array(&arrays, lows, 8, &s.quantities, 0)) == NULL ||
        (s.highs = array(&arrays, highs, 8, &s.quantities, 0)) == NULL)
        goto done;
    if (PyLong_Check(clock)) {
        s.clock = PyLong_AsLongLong(clock);
        if (s.clock == -1 && PyErr_Occurred())
            goto done;
    } else if ((s.clocks = array(&arrays, clock, 8, &s.records, 0)) == NULL)
        goto done;
    int fine;
    WITHOUT_GIL(s.count, fine = sift_all(&s));
    result = PyBool_FromLong(fine);
done:
    release(&arrays);
    return result;
}

/* ---- grade ---- */

typedef struct {
    const int64_t *channel, *time;
    const double *value, *max_step;
    int64_t *last, *lateness;
    double *good, *held;
    int8_t *grades;
    Py_ssize_t count;
    int steps;
    long long counts[4];
} Grading;

static void
grade_all(Grading *g)
{
    for (Py_ssize_t row = 0; row < g->count; row++) {
        int64_t channel = g->channel[row], time = g->time[row], last = g->last[channel];
        int grade = GOOD;
        if (time <= last) {
            grade = time == last ? DUPLICATE : LATE;
            if (grade == LATE)
                g->lateness[row] = last - time;
        } else {
            g->last[channel] = time;
            if (g->steps) {
                double value = g->value[row], good = g->good[channel], held = g->held[channel];
                double step = g->max_step[channel];
                int fine = !(round6(fabs(value - good)) > step); /* none yet: NaN, and the first is good */
                if (!fine && held == held)
                    fine = round6(fabs(value - held)) <= step || (held - good) * (value - held) > 0;
                if (fine) {
                    g->good[channel] = value;
                    g->held[channel] = NAN;
                } else {
                    g->held[channel] = value;
                    grade = HELD;
                }
            }
        }
        g->grades[row] = (int8_t)grade;
        g->counts[grade]++;
    }
}

static PyObject *
grade(PyObject *module, PyObject *args)
{
    PyObject *channel, *time, *value, *last, *good, *held, *max_step, *grades, *lateness;
    Grading g = {0};
    if (!PyArg_ParseTuple(args, "OOOOOOOOOp", &channel, &time, &value, &last, &good, &held, &max_step, &grades,
                          &lateness, &g.steps))
        return NULL;
    Arrays arrays = {.count = 0};
    Py_ssize_t channels = -1;
    g.count = -1;
    PyObject *result = NULL;
    if ((g.channel = array(&arrays, channel, 8, &g.count, 0)) == NULL ||
        (g.time = array(&arrays, time, 8, &g.count, 0)) == NULL ||
        (g.value = array(&arrays, value, 8, &g.count, 0)) == NULL ||
        (g.grades = array(&arrays, grades, 1, &g.count, 1)) == NULL ||
        (g.lateness = array(&arrays, lateness, 8, &g.count, 1)) == NULL ||
        (g.last = array(&arrays, last, 8, &channels, 1)) == NULL ||
        (g.good = array(&arrays, good, 8, &channels, 1)) == NULL ||
        (g.held = array(&arrays, held, 8, &channels, 1)) == NULL ||
        (g.max_step = array(&arrays, max_step, 8, &channels, 0)) == NULL || !within(g.channel, g.count, channels))
        goto done;
    WITHOUT_GIL(g.count, grade_all(&g));
    result = Py_BuildValue("[LLLL]", g.counts[GOOD], g.counts[HELD], g.counts[LATE], g.counts[DUPLICATE]);
done:
    release(&arrays);
    return result;
}

/* ---- level_steps ---- */

typedef struct {
    int64_t row;
    int8_t before, after;
    double x;
} Step;

typedef struct {
    const int64_t *channel;
    const double *value, *up_from, *down_from, *lowest;
    const int8_t *grades, *levels;
    int8_t *level;
    Py_ssize_t count, sites, steps;
    long long quantities, quantity;
    Step *found;
    Py_ssize_t changes, room;
} Stepping;

static int
step_all(Stepping *s)
{
    for (Py_ssize_t row = 0; row < s->count; row++) {
        int64_t site = s->channel[row];
        if (s->grades[row] != GOOD)
            continue;
        if (s->quantities != 1) {
            if (site % s->quantities != s->quantity)
                continue;
            site /= s->quantities;
        }
        double x = round6(s->value[row]);
        int8_t before = s->level[site], after = before, up = 0, down = 0;
        if (before == 0 && !(x >= s->lowest[site]))
            continue;
        for (Py_ssize_t i = 0; i < s->steps; i++) {
            if (x >= s->up_from[i * s->sites + site])
                up = s->levels[i];
            if (x >= s->down_from[i * s->sites + site])
                down = s->levels[i];
        }
        if (up > after)
            after = up;
        if (down < after)
            after = down;
        if (after == before)
            continue;
        if (s->changes == s->room) {
            Py_ssize_t room = s->room ? 2 * s->room : 64;
            Step *found = PyMem_RawRealloc(s->found, (size_t)room * sizeof(Step));
            if (found == NULL)
                return 0;
            s->found = found;
            s->room = room;
        }
        s->found[s->changes++] = (Step){row, before, after, x};
        s->level[site] = after;
    }
    for (Py_ssize_t i = s->changes; i-- > 0;) /* the caller makes the changes */
        s->level[s->channel[s->found[i].row] / s->quantities] = s->found[i].before;
    return 1;
}

static PyObject *
level_steps(PyObject *module, PyObject *args)
{
    PyObject *channel, *value, *grades, *levels, *up_from, *down_from, *lowest, *level;
    Stepping s = {0};
    if (!PyArg_ParseTuple(args, "OOOLLOOOOO", &channel, &value, &grades, &s.quantities, &s.quantity, &levels, &up_from,
                          &down_from, &lowest, &level))
        return NULL;
    Arrays arrays = {.count = 0};
    s.count = s.sites = s.steps = -1;
    PyObject *result = NULL;
    if ((s.channel = array(&arrays, channel, 8, &s.count, 0)) == NULL ||
        (s.value = array(&arrays, value, 8, &s.count, 0)) == NULL ||
        (s.grades = array(&arrays, grades, 1, &s.count, 0)) == NULL ||
        (s.levels = array(&arrays, levels, 1, &s.steps, 0)) == NULL ||
        (s.level = array(&arrays, level, 1, &s.sites, 1)) == NULL ||
        (s.lowest = array(&arrays, lowest, 8, &s.sites, 0)) == NULL)
        goto done;
    Py_ssize_t cells = s.steps * s.sites;
    if ((s.up_from = array(&arrays, up_from, 8, &cells, 0)) == NULL ||
        (s.down_from = array(&arrays, down_from, 8, &cells, 0)) == NULL ||
        !within(s.channel, s.count, s.sites * (Py_ssize_t)s.quantities))
        goto done;
    int fine;
    WITHOUT_GIL(s.count, fine = step_all(&s));
    if (!fine) {
        PyErr_NoMemory();
        goto done;
    }
    result = PyList_New(s.changes);
    for (Py_ssize_t i = 0; result != NULL && i < s.changes; i++) {
        Step *one = &s.found[i];
        PyObject *told = Py_BuildValue("(Liid)", (long long)one->row, one->before, one->after, one->x);
        if (told == NULL)
            Py_CLEAR(result);
        else
            PyList_SET_ITEM(result, i, told);
    }
done:
    PyMem_RawFree(s.found);
    release(&arrays);
    return result;
}

/* ---- mark_used ---- */

static PyObject *
mark_used(PyObject *module, PyObject *args)
{
    PyObject *channel, *time, *grades, *used;
    long long quantities, quantity;
    if (!PyArg_ParseTuple(args, "OOOLLO", &channel, &time, &grades, &quantities, &quantity, &used))
        return NULL;
    Arrays arrays = {.count = 0};
    Py_ssize_t count = -1, sites = -1;
    const int64_t *channels, *times;
    const int8_t *grade_of;
    int64_t *last;
    PyObject *result = NULL;
    if ((channels = array(&arrays, channel, 8, &count, 0)) != NULL &&
        (times = array(&arrays, time, 8, &count, 0)) != NULL &&
        (grade_of = array(&arrays, grades, 1, &count, 0)) != NULL &&
        (last = array(&arrays, used, 8, &sites, 1)) != NULL &&
        within(channels, count, sites * (Py_ssize_t)quantities)) {
        for (Py_ssize_t row = 0; row < count; row++)
            if (grade_of[row] == GOOD && (quantities == 1 || channels[row] % quantities == quantity))
                last[quantities == 1 ? channels[row] : channels[row] / quantities] = times[row];
        result = Py_NewRef(Py_None);
    }
    release(&arrays);
    return result;
}

/* ---- hear ---- */

#define NEVER (-((int64_t)1 << 62)) /* as in alerts/levels.py */
#define FOREVER ((int64_t)1 << 62)

typedef struct {
    const int64_t *channel, *time, *first;
    const int8_t *grades, *level;
    int64_t *since, *due, *used, soonest;
    Py_ssize_t count, sites, row;
    long long quantities;
} Hearing;

static void
hear_all(Hearing *h)
{
    for (; h->row < h->count; h->row++) {
        int8_t grade = h->grades[h->row];
        if (grade == LATE || grade == DUPLICATE)
            continue;
        int64_t site = h->channel[h->row], time = h->time[h->row];
        if (h->quantities != 1)
            site /= h->quantities;
        int64_t since = h->since[site];
        if (since != NEVER && (h->level[site] > 0 || time - since >= h->first[site]))
            return;
        if (time > since)
            h->since[site] = since = time;
        if (time > h->used[site])
            h->used[site] = time;
        h->due[site] = since + h->first[site];
        if (h->due[site] < h->soonest)
            h->soonest = h->due[site];
    }
}

static PyObject *
hear(PyObject *module, PyObject *args)
{
    PyObject *channel, *time, *grades, *since, *level, *first, *due, *used;
    Hearing h = {.soonest = FOREVER};
    if (!PyArg_ParseTuple(args, "OOOLnOOOOO", &channel, &time, &grades, &h.quantities, &h.row, &since, &level, &first,
                          &due, &used))
        return NULL;
    Arrays arrays = {.count = 0};
    h.count = h.sites = -1;
    PyObject *result = NULL;
    if ((h.channel = array(&arrays, channel, 8, &h.count, 0)) != NULL &&
        (h.time = array(&arrays, time, 8, &h.count, 0)) != NULL &&
        (h.grades = array(&arrays, grades, 1, &h.count, 0)) != NULL &&
        (h.since = array(&arrays, since, 8, &h.sites, 1)) != NULL &&
        (h.level = array(&arrays, level, 1, &h.sites, 0)) != NULL &&
        (h.first = array(&arrays, first, 8, &h.sites, 0)) != NULL &&
        (h.due = array(&arrays, due, 8, &h.sites, 1)) != NULL &&
        (h.used = array(&arrays, used, 8, &h.sites, 1)) != NULL && within(&(int64_t){h.row}, 1, h.count + 1) &&
        within(h.channel, h.count, h.sites * (Py_ssize_t)h.quantities)) {
        WITHOUT_GIL(h.count - h.row, hear_all(&h));
        result = Py_BuildValue("(nL)", h.row, (long long)h.soonest);
    }
    release(&arrays);
    return result;
}

static PyMethodDef methods[] = {
    {"sift", sift, METH_VARARGS, NULL},
    {"grade", grade, METH_VARARGS, NULL},
    {"level_steps", level_steps, METH_VARARGS, NULL},
    {"mark_used", mark_used, METH_VARARGS, NULL},
    {"hear", hear, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "alerts._kernels",
    .m_size = -1,
    .m_methods = methods,
};

PyMODINIT_FUNC
PyInit__kernels(void)
{
    return PyModule_Create(&module);
}
