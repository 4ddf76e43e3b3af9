/* JSON numbers as Python reads them: digits that fit into 64 bits, rounded once, half to even. */

#include "_packs.h"

#include <float.h>
#include <math.h>

#if FLT_EVAL_METHOD != 0 || !defined(__SIZEOF_INT128__)
#error "needs doubles that are computed as doubles, and integers of 128 bits: the Python path does without"
#endif

static const double TENS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                              1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
#define MOST_FIVES 27 /* 5^27 < 2^63 */
static uint64_t FIVES[MOST_FIVES + 1];

/* digits / 10^places, rounded once, half to even; 0 < digits, places <= MOST_FIVES. */
static double
quotient(uint64_t digits, int places)
{
    int up = __builtin_clzll(digits);
    unsigned __int128 dividend = (unsigned __int128)(digits << up) << 64;
    unsigned __int128 q = dividend / FIVES[places]; /* at least 2^64 */
    int inexact = dividend % FIVES[places] != 0;
    int down = 128 - __builtin_clzll((uint64_t)(q >> 64)) - 53;
    uint64_t mantissa = (uint64_t)(q >> down);
    unsigned __int128 rest = q & (((unsigned __int128)1 << down) - 1), half = (unsigned __int128)1 << (down - 1);
    if (rest > half || (rest == half && (inexact || (mantissa & 1))))
        mantissa++;
    return ldexp((double)mantissa, down - 64 - up - places);
}

/* A JSON number; NULL where it is none, or not one that this can compute exactly. */
const byte *
number(const byte *p, const byte *end, double *result)
{
    int negative = p < end && *p == '-', figures = 0, places = 0, exponent = 0, whole = 1;
    uint64_t digits = 0;
    p += negative;
    if (p == end || *p < '0' || *p > '9')
        return NULL;
    if (*p == '0')
        p++;
    else
        for (; p < end && *p >= '0' && *p <= '9'; p++, figures++)
            digits = digits * 10 + (*p - '0');
    if (p < end && *p == '.') {
        const byte *point = p++;
        for (; p < end && *p >= '0' && *p <= '9'; p++) {
            digits = digits * 10 + (*p - '0');
            figures += digits != 0;
        }
        if (p - point - 1 < 1 || p - point - 1 > 40)
            return NULL;
        places = (int)(p - point - 1);
        whole = 0;
    }
    if (figures > 19) /* the digits may have overflowed */
        return NULL;
    if (p < end && (*p == 'e' || *p == 'E')) {
        int below = 0, read = 0;
        p++;
        if (p < end && (*p == '-' || *p == '+'))
            below = *p++ == '-';
        for (; p < end && *p >= '0' && *p <= '9'; p++, read++)
            if (read < 4)
                exponent = exponent * 10 + (*p - '0');
        if (read < 1 || read > 4)
            return NULL;
        exponent = below ? -exponent : exponent;
        whole = 0;
    }
    exponent -= places;
    double x;
    if (digits == 0)
        x = 0.0;
    else if (exponent == 0)
        x = (double)digits;
    else if (digits < (1ull << 53) && exponent > 0 && exponent <= 22)
        x = (double)digits * TENS[exponent];
    else if (digits < (1ull << 53) && exponent < 0 && exponent >= -22)
        x = (double)digits / TENS[-exponent];
    else if (exponent < 0 && exponent >= -MOST_FIVES)
        x = quotient(digits, -exponent);
    else
        return NULL;
    *result = negative && !(whole && digits == 0) ? -x : x; /* -0 is the integer 0 */
    return p;
}

void
prepare_numbers(void)
{
    FIVES[0] = 1;
    for (int i = 1; i <= MOST_FIVES; i++)
        FIVES[i] = FIVES[i - 1] * 5;
}
