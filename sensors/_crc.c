/* CRC-32C (Castagnoli), by which Kafka's batches are checked: by the processor's own instruction where it has one. */

#include "_packs.h"

#define POLYNOMIAL 0x82f63b78u /* reflected */

static uint32_t table[8][256];

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define BY_INSTRUCTION 1
__attribute__((target("sse4.2"))) static uint32_t
by_instruction(uint32_t crc, const byte *at, Py_ssize_t size)
{
    uint64_t wide = crc, word;
    for (; size >= 8; at += 8, size -= 8) {
        memcpy(&word, at, 8);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    crc = (uint32_t)wide;
    for (; size > 0; at++, size--)
        crc = __builtin_ia32_crc32qi(crc, *at);
    return crc;
}
#else
#define BY_INSTRUCTION 0
#endif

static int instruction;

void
prepare_crc(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
        table[0][i] = crc;
    }
    for (int row = 1; row < 8; row++)
        for (int i = 0; i < 256; i++)
            table[row][i] = table[row - 1][i] >> 8 ^ table[0][table[row - 1][i] & 255];
#if BY_INSTRUCTION
    instruction = __builtin_cpu_supports("sse4.2");
#endif
}

static uint32_t
by_table(uint32_t crc, const byte *at, Py_ssize_t size)
{
    for (; size >= 8; at += 8, size -= 8) {
        uint32_t low = crc ^ ((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24);
        crc = table[7][low & 255] ^ table[6][low >> 8 & 255] ^ table[5][low >> 16 & 255] ^ table[4][low >> 24] ^
              table[3][at[4]] ^ table[2][at[5]] ^ table[1][at[6]] ^ table[0][at[7]];
    }
    for (; size > 0; at++, size--)
        crc = crc >> 8 ^ table[0][(crc ^ *at) & 255];
    return crc;
}

uint32_t
crc32c(const byte *at, Py_ssize_t size)
{
#if BY_INSTRUCTION
    if (instruction)
        return ~by_instruction(~0u, at, size);
#endif
    return ~by_table(~0u, at, size);
}

PyObject *
crc32c_of(PyObject *module, PyObject *args)
{
    Py_buffer text;
    int plainly;
    if (!PyArg_ParseTuple(args, "y*p", &text, &plainly))
        return NULL;
    uint32_t crc = plainly ? ~by_table(~0u, text.buf, text.len) : crc32c(text.buf, text.len);
    PyBuffer_Release(&text);
    return PyLong_FromUnsignedLong(crc);
}
